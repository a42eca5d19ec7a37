"""Every plug-in that is discovered passes every contract check of its kind."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.archives import scenes, tree, unzipped, whole

from maebench.checks import contract
from maebench.plugins import names
from maebench.runs.build import seeded

# Data sets of one's own archive, and a generator small enough for seconds; any other plug-in is met with its defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "scenes": {"train": 64, "val": 32, "test": 32},
    "image_folder": {"path": "images", "size": 4},
    "rgbd": {"path": "depths", "size": 4, "stride": 4, "valid": 0.5},
    "cityscapes": {"size": 4},
    "pretrained": {"path": "encoder.pt", "format": "maebench", "heads": 2},
}
WITHOUT_FILES = {contract.can_be_loaded.__name__, "declaration_is_valid", "a_missing_archive_is_one_line"}
PLUGINS = [found for kind in contract.CHECKS for found in names(kind).values()]
BOTH_WAYS = [found for found in PLUGINS if "gradient" in found.settings.get("fit", [""])[0]]
CASES = [(found, one) for found in PLUGINS for one in contract.CHECKS[found.kind]]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a small archive of each data set that can have one, and the weights of an encoder."""
    root = tmp_path_factory.mktemp("data")
    unzipped(root / "images", tree("", {"ant": 90, "bee": 80}))
    variant = seeded(names("variants")["vit_ae"], {"shape": (3, 16, 16), "width": 16, "heads": 2, "depth": 1}, 0)
    torch.save(variant.state_dict(), root / "encoder.pt")
    unzipped(root / "depths", scenes({"attic": 3, "barn": 2, "cellar": 1}))
    return unzipped(root, {f"cityscapes/{name}": data for name, data in whole().items()})


def test_there_are_plugins_of_every_kind():
    assert {found.kind for found in PLUGINS} == set(contract.CHECKS)
    assert BOTH_WAYS
    assert not [found.error for found in PLUGINS if found.error]


@pytest.mark.parametrize(("found", "one"), CASES, ids=[f"{found.name}-{one.__name__}" for found, one in CASES])
def test_it_keeps_its_contract(found, one, archives, monkeypatch):
    if own := found.name in SETTINGS:
        monkeypatch.chdir(archives)
    needs_files = "root" in found.asks and not own and one.__name__ not in WITHOUT_FILES
    if needs_files and "MAEBENCH_DATA" not in os.environ:
        pytest.skip(f"MAEBENCH_DATA names no folder with the files of {found.name}")
    root = archives if own else Path(os.environ.get("MAEBENCH_DATA", "data"))
    line = contract.problem(one, found, root, SETTINGS.get(found.name))
    assert line is None


@pytest.mark.parametrize("one", contract.CHECKS["variants"], ids=lambda one: one.__name__)
@pytest.mark.parametrize("found", BOTH_WAYS, ids=lambda found: found.name)
def test_a_closed_form_keeps_its_contract_by_gradient_too(found, one):
    assert contract.problem(one, found, Path("data"), {"fit": "gradient"}) is None
