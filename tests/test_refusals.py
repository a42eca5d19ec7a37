"""What settings and shapes alone tell to be impossible is refused before the first step, in one line that names it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.plugins import CLOSED, CPU, DENSE, LABELS, PICTURES, RANDOM, write
from rich.console import Console

from maebench.runs.config import Config
from maebench.runs.plan import make
from maebench.runs.progress import Progress
from maebench.runs.runner import Runner

VIT = {"width": 16, "depth": 1, "heads": 2, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
GOOD = {
    "tracks": [{"dataset": "toy_pictures", "tasks": ["linear_probe", "fine_tune", "gabor_frequency", "latents"]}],
    "variants": [{"vit_mae": VIT}, "raw_pixels"],
    "masks": {"strategy": ["uniform", "block"], "ratio": 0.5},
    "pretrain": {"steps": 2, "batch": 4},
    "seeds": [0, 1],
}


def check(folder: Path, changes: Mapping[str, Any]) -> Path:
    """Plan a config and have the runner check it; gives the results folder."""
    write(folder, "datasets", "toy_pictures", PICTURES)
    specs = make(Config.model_validate({**GOOD, **changes}), "my.yaml", folder)
    runner = Runner(folder / "r", folder, folder, CPU, Progress(Console(quiet=True)), "")
    runner.check(specs, "my.yaml")
    return runner.out


def refusal(folder: Path, changes: Mapping[str, Any]) -> str:
    """What the runner's check says, on one line, of a config that cannot be; nothing is written or drawn."""
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"^my\.yaml: toy_pictures, ") as caught:
        check(folder, changes)
    assert torch.equal(torch.get_rng_state(), before)
    assert not (folder / "r").exists()
    said = str(caught.value)
    assert "\n" not in said
    return said.removeprefix("my.yaml: toy_pictures, ")


def tasks(*named: Any, dataset: Any = "toy_pictures") -> dict[str, Any]:
    return {"tracks": [{"dataset": dataset, "tasks": list(named)}]}


def test_what_can_be_is_let_through_and_leaves_no_trace(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    assert not check(tmp_path, {}).exists()
    assert torch.equal(torch.get_rng_state(), before)


TASKS = [
    ({"linear_probe": {"fit_images": 0}}, "fit_images is 0, but a read-out needs at least one image to be fitted on"),
    ({"fine_tune": {"tune": "last", "blocks": 9}}, "blocks is 9; set it to 1 to 2, the stages of the variant"),
    ({"fine_tune": {"randaugment": 99}}, "randaugment is 99; set it to 0 to 30"),
    ({"fine_tune": {"epochs": 0}}, "epochs is 0; set it to 1 or more"),
    ({"fine_tune": {"batch": 0}}, "batch is 0; set it to 1 or more"),
    ({"gabor_frequency": {"stride": 40}}, "stride 40 finds no pixel"),
    ({"gabor_frequency": {"sigmas": [0]}}, "needs frequencies of 0 or more and sigmas above 0"),
    ({"gabor_frequency": {"frequencies": []}}, "needs frequencies of 0 or more and sigmas above 0"),
    ({"monocular_depth": {"fit_images": -1}}, "fit_images is -1, but a read-out needs at least one image"),
    ({"latents": {"k": 0}}, "k is 0 and axis"),
    ({"latents": {"fit_images": 0}}, "fit_images is 0, but a read-out needs at least one image"),
]


@pytest.mark.parametrize(("task", "message"), TASKS, ids=lambda one: str(one)[:40])
def test_a_task_that_cannot_be_done_is_refused(tmp_path: Path, task: dict[str, Any], message: str) -> None:
    said = refusal(tmp_path, tasks("linear_probe", task))
    assert said.startswith(f"task {next(iter(task))}: {message}")
    assert said.endswith(" (with variant vit_mae)")


def test_randaugment_knows_grey_and_rgb_alone(tmp_path: Path) -> None:
    augmented = {"fine_tune": {"randaugment": 9}}
    check(tmp_path, tasks(augmented))
    assert "1 or 3 channels, not 4" in refusal(tmp_path, tasks(augmented, dataset={"toy_pictures": {"channels": 4}}))


SIZES = [
    ({"width": 0}, "the encoder needs a width of 1 or more and a depth of 0 or more, not 0 and 1"),
    ({"width": -4}, "the encoder needs a width of 1 or more and a depth of 0 or more, not -4 and 1"),
    ({"depth": -1}, "the encoder needs a width of 1 or more and a depth of 0 or more, not 16 and -1"),
    ({"decoder_width": 0}, "the decoder needs a width of 1 or more and a depth of 0 or more, not 0 and 1"),
    ({"decoder_depth": -1}, "the decoder needs a width of 1 or more and a depth of 0 or more, not 16 and -1"),
    ({"heads": 0}, "0 heads do not divide a width of 16"),
    ({"heads": -2}, "-2 heads do not divide a width of 16"),
    ({"patch": 0}, "patch 0 does not divide an image of 16 x 16 pixels"),
    ({"patch": 32}, "patch 32 does not divide an image of 16 x 16 pixels"),
]


@pytest.mark.parametrize("name", ["vit_mae", "vit_ae", "vit_dae"])
@pytest.mark.parametrize(("sizes", "message"), SIZES, ids=lambda one: str(one)[:30])
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, name: str, sizes: dict[str, int], message: str) -> None:
    assert refusal(tmp_path, {"variants": {name: {**VIT, **sizes}}}) == f"variant {name}: {message}"


@pytest.mark.parametrize("name", ["vit_mae", "vit_ae", "vit_dae"])
def test_the_sd_of_one_value_is_no_target(tmp_path: Path, name: str) -> None:
    one_value = {**VIT, "patch": 1, "target": "normalised"}
    for channels, settings in ((3, one_value), (1, {**one_value, "patch": 2}), (1, {**one_value, "target": "pixels"})):
        grey = {"toy_pictures": {"channels": channels, "size": 4}}
        check(tmp_path, {**tasks(dataset=grey), "variants": {name: settings}})
    grey = {"toy_pictures": {"channels": 1, "size": 4}}
    said = refusal(tmp_path, {**tasks(dataset=grey), "variants": {name: one_value}})
    assert said.startswith(f"variant {name}: target normalised divides each patch by the sd of its values, but a patch")
    assert said.endswith("set a larger patch, or target to pixels")


@pytest.mark.parametrize(
    ("masking", "message"),
    [
        ({"block": {"min_area": 0.9, "max_area": 0.1}}, "block needs 0 < min_area <= max_area <= 1 and 0 < aspect"),
        ({"block": {"aspect": 0}}, "block needs 0 < min_area <= max_area <= 1 and 0 < aspect <= 1"),
        ({"coarse": {"unit": 0}}, "coarse needs a unit of at least 1 patch a side, not 0"),
    ],
)
def test_masks_that_cannot_be_are_refused(tmp_path: Path, masking: dict[str, Any], message: str) -> None:
    masks = {"strategy": ["uniform", masking], "ratio": 0.5}
    assert refusal(tmp_path, {"masks": masks}).startswith(f"masking {next(iter(masking))}: {message}")


def test_a_strategy_is_asked_with_the_grid_of_the_variant(tmp_path: Path) -> None:
    code = RANDOM.replace("    return", "    if grid != (8, 8):\n        raise ValueError(f'no {grid}')\n    return")
    write(tmp_path, "maskings", "toy_eight", code)
    masks = {"strategy": "toy_eight", "ratio": 0.5}
    check(tmp_path, {"masks": masks, "variants": {"vit_mae": {**VIT, "patch": 2}}})
    assert refusal(tmp_path, {"masks": masks}) == "masking toy_eight: no (4, 4)"


@pytest.mark.parametrize("trouble", ["raise RuntimeError('boom')", "return torch.zeros(3)", "return None"])
def test_a_strategy_that_is_broken_spoils_its_own_rows_and_no_plan(tmp_path: Path, trouble: str) -> None:
    write(tmp_path, "maskings", "toy_bad", RANDOM.replace("    return", f"    {trouble}\n    return"))
    check(tmp_path, {"masks": {"strategy": ["toy_bad", "uniform"], "ratio": 0.5}})


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("1 / 0", "build raised ZeroDivisionError: division by zero"),
        ("raise KeyError('depth')", "build raised KeyError: 'depth'"),
        ("raise ValueError('too wide')", "too wide"),
    ],
)
def test_a_build_that_fails_is_one_line_whatever_it_raises(tmp_path: Path, trouble: str, message: str) -> None:
    write(tmp_path, "variants", "toy_bad", DENSE.replace("    return Dense", f"    {trouble}\n    return Dense"))
    assert refusal(tmp_path, {"variants": ["raw_pixels", "toy_bad"]}) == f"variant toy_bad: {message}"


def toy_task(folder: Path, check: str) -> None:
    write(folder, "tasks", "toy_task", LABELS + f"\ndef check({check}\n")


def test_a_task_is_asked_with_what_is_known_of_each_encoder(tmp_path: Path) -> None:
    """Its settings, the image, the feature map and the number of stages."""
    toy_task(tmp_path, "shape, stages, grid, penalty):\n    raise ValueError(f'{shape} {stages} {grid} {penalty}')")
    for variant, facts in {"vit_mae": "(3, 16, 16) 2 (4, 4)", "raw_pixels": "(3, 16, 16) None (1, 1)"}.items():
        settings = {"vit_mae": VIT} if variant == "vit_mae" else variant
        said = refusal(tmp_path, {**tasks({"toy_task": {"penalty": 2}}), "variants": settings})
        assert said == f"task toy_task: {facts} 2.0 (with variant {variant})"


LATE = CLOSED.replace("return images - self.mean", "return images - self.best").replace(
    "self.mean.copy_(", "self.best = self.mean.copy_("
)


def test_where_the_map_is_not_known_yet_a_task_that_needs_it_is_not_asked(tmp_path: Path) -> None:
    write(tmp_path, "variants", "toy_late", LATE)
    late = {**tasks("toy_task"), "variants": "toy_late"}
    toy_task(tmp_path, "grid):\n    raise ValueError('asked')")
    check(tmp_path, late)
    toy_task(tmp_path, "grid=None):\n    raise ValueError(f'asked with {grid}')")
    assert refusal(tmp_path, late).startswith("task toy_task: asked with None")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("penalty):\n    1 / 0", "check raised ZeroDivisionError: division by zero"),
        (
            "test):\n    pass",
            "check asks for 'test', which nobody offers (there are: shape, stages, grid, layers, mask_grid, penalty)",
        ),
    ],
)
def test_a_check_that_is_broken_says_so(tmp_path: Path, code: str, message: str) -> None:
    toy_task(tmp_path, code)
    assert refusal(tmp_path, tasks("toy_task")).startswith(f"task toy_task: {message} (with variant ")


def test_a_task_that_cannot_be_imported_is_found_before_the_first_step(tmp_path: Path) -> None:
    write(tmp_path, "tasks", "toy_task", "import toy_dependency\n" + LABELS)
    assert "ModuleNotFoundError: No module named 'toy_dependency'" in refusal(tmp_path, tasks("toy_task"))
