"""How archives and whole data sets are read and checked, and what was made of them kept."""
