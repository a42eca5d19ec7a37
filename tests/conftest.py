"""What holds for every test: no file outside its folders is written, and it leaves no trace behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the session's own, and figures without a screen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MPLBACKEND", "Agg")
        yield


@pytest.fixture(autouse=True)
def _no_trace(_elsewhere: None) -> Iterator[None]:
    """torch's global generator and the working folder are as they were, once the test's other fixtures are undone."""
    folder, state = Path.cwd(), torch.get_rng_state()
    yield
    assert Path.cwd() == folder, "the test left another working folder behind; use monkeypatch.chdir"
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was drawn from or seeded"
