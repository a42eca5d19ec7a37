"""The built-in data sets: one file each, whose name is the data set's name."""
