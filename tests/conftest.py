"""What holds for every test: one thread, no file outside its folders is written, and it leaves no trace behind."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported; tests run on all cores at once

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the session's own, which parallel workers share, and figures without a screen."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAEBENCH_CACHE", str(folder / "cache"))
        patch.setenv("MPLBACKEND", "Agg")
        yield


@pytest.fixture(autouse=True)
def _no_trace(_elsewhere: None) -> Iterator[None]:
    """torch's global generator and the working folder are as they were, once the test's other fixtures are undone."""
    folder, state = Path.cwd(), torch.get_rng_state()
    yield
    assert Path.cwd() == folder, "the test left another working folder behind; use monkeypatch.chdir"
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was drawn from or seeded"
