"""What several test files are built of: tiny real plug-ins, archives, result files, trainings."""
