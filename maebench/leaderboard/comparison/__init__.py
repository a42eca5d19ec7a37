"""How sure scores are, and how two rows compare."""
