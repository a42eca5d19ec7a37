"""The figures of the papers, each claim with a verdict."""
