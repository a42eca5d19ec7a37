"""Built-in tasks: each file is one, and its name is the file's."""
