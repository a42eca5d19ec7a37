"""How archives are read, and what was made of them kept."""
