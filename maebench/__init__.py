"""maebench: the reference benchmark for masked autoencoders at small scale."""

__version__ = "0.2.0"
