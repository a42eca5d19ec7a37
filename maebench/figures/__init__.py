"""One module a figure of the papers; `maebench reproduce` finds them by their file names."""

from pathlib import Path

NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))
