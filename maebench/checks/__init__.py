"""The contracts of plug-ins, as checks."""
