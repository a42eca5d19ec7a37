"""The figures that there are: one module each in figures/, found by its file name."""

from pathlib import Path

NAMES = tuple(sorted(path.stem for path in (Path(__file__).parent / "figures").glob("[!_]*.py")))
