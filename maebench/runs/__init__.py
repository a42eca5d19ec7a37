"""A config -> result files: the plan, its runs, their records."""
