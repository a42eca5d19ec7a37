"""The command line, called in this process."""

from pathlib import Path

import pytest

from maebench.cli.main import main

ROOT = Path(__file__).parents[2]
VIT = "{width: 16, depth: 1, heads: 2, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}"


def call(*words: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)
