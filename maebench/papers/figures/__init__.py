"""One module a figure of the papers; `maebench reproduce` finds them by their file names."""
