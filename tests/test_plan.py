"""Config -> runs: how many, which, and what makes an encoder another one."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from builders.plugins import CLOSED, DEEP, DENSE, LABELS, MASKED, RANDOM, SHAPES, config, write, write_all

from maebench import __version__
from maebench.declaration import Kind
from maebench.runs.plan import TRAINING, Plugin, RunSpec, cell_name, digest, make
from maebench.training.budget import FITTED, UNTRAINED

DEPTH = [{"dataset": "toy_deep", "tasks": ["toy_depths", "toy_labels"]}]


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    return write_all(tmp_path)


def ids(plugins: Path, changes: dict[str, Any]) -> list[str]:
    return [spec.run_id for spec in make(config(changes), "my.yaml", plugins)]


def one(plugins: Path, changes: dict[str, Any]) -> RunSpec:
    """The trained run of the one variant, mask and seed that the changes leave over."""
    few = {"variants": "toy_masked", "masks": {"strategy": "toy_random", "ratio": 0.5}, "seeds": [0]}
    (spec,) = [spec for spec in make(config({**few, **changes}), "my.yaml", plugins) if not spec.floor]
    return spec


def test_runs_are_tracks_x_variants_x_masks_x_seeds_and_floors(plugins: Path) -> None:
    tracks = [{"dataset": "toy_shapes", "tasks": "toy_labels"}, *DEPTH]
    ratios = {"strategy": ["toy_random", {"toy_random": {"tilt": 1.0}}], "ratio": [0.25, 0.5, 0.75]}
    specs = make(config({"tracks": tracks, "masks": ratios, "seeds": [0, 1]}), "my.yaml", plugins)
    counts = Counter((spec.encoder.variant.name, spec.floor) for spec in specs)
    tracks_x_seeds = 2 * 2
    assert counts == {
        ("toy_dense", False): tracks_x_seeds,
        ("toy_dense", True): tracks_x_seeds,
        ("toy_masked", False): tracks_x_seeds * 2 * 3,
        ("toy_masked", True): tracks_x_seeds,
        ("toy_closed", False): 2,
    }
    assert len({spec.run_id for spec in specs}) == len(specs)
    assert all(len(spec.run_id) == 12 for spec in specs)
    assert {len(spec.tasks) for spec in specs} == {1, 2}


def test_a_floor_is_untrained_and_unmasked_and_every_seed_has_one(plugins: Path) -> None:
    floors = [spec for spec in make(config({}), "my.yaml", plugins) if spec.floor]
    assert {spec.encoder.seed for spec in floors} == {0, 1}
    for spec in floors:
        assert spec.encoder.budget == UNTRAINED
        assert spec.encoder.masking is spec.encoder.ratio is None


def test_a_closed_form_is_planned_once_whatever_the_seeds_and_budget(plugins: Path) -> None:
    few = ids(plugins, {"variants": "toy_closed", "seeds": [0]})
    assert len(few) == 1
    assert few == ids(plugins, {"variants": "toy_closed", "seeds": [3, 4, 5], "pretrain": {"steps": 9}})


EITHER = CLOSED.replace('"""\nimport', '"""\nfrom typing import Literal\nimport').replace(
    "rank: int = 3", 'rank: int = 3, fit: Literal["closed_form", "gradient"] = "closed_form"'
)


def test_a_closed_form_by_gradient_is_planned_as_any_trained_variant(plugins: Path) -> None:
    write(plugins, "variants", "toy_either", EITHER)
    changes = {"variants": {"toy_either": {"fit": "gradient"}}, "pretrain": {"steps": 9, "probe_every": 3}}
    specs = make(config(changes), "my.yaml", plugins)
    found = {(spec.encoder.seed, spec.floor, spec.encoder.budget.amount) for spec in specs}
    assert found == {(seed, floor, 0 if floor else 9) for seed in (0, 1) for floor in (True, False)}
    assert len(specs) == 4  # of the two masks none, since it asks for no `hide`
    assert all(spec.encoder.masking is spec.encoder.ratio is None for spec in specs)
    assert {spec.encoder.probe_every for spec in specs if not spec.floor} == {3}


def test_a_closed_form_that_could_be_trained_is_fitted_unless_told_otherwise(plugins: Path) -> None:
    write(plugins, "variants", "toy_either", EITHER)
    left_out, written = (
        ids(plugins, {"variants": one}) for one in ("toy_either", {"toy_either": {"fit": "closed_form"}})
    )
    assert left_out == written
    (spec,) = make(config({"variants": "toy_either"}), "my.yaml", plugins)
    assert (spec.encoder.budget, spec.encoder.seed, spec.floor) == (FITTED, None, False)


def test_a_closed_form_may_call_itself_a_floor(plugins: Path) -> None:
    write(plugins, "variants", "toy_low", "FLOOR = True\n" + CLOSED)
    (spec,) = make(config({"variants": "toy_low"}), "my.yaml", plugins)
    assert spec.floor


@pytest.mark.parametrize(
    "changes",
    [
        {"variants": {"toy_masked": {"patch": 4}}},
        {"masks": {"strategy": "toy_random", "ratio": 0.75}},
        {"masks": {"strategy": {"toy_random": {"tilt": 1}}, "ratio": 0.5}},
        {"pretrain": {"steps": 6, "batch": 4}},
        {"pretrain": {"steps": 5, "batch": 4, "base_lr": 0.1}},
        {"pretrain": {"epochs": 5, "batch": 4}},
        {"pretrain": {"steps": 5, "batch": 4, "precision": "bfloat16"}},
        {"pretrain": {"steps": 5, "batch": 4, "compile": "default"}},
        {"pretrain": {"steps": 5, "batch": 4, "augment": "crop_flip"}},
        {"pretrain": {"steps": 5, "batch": 4, "micro_batch": 2}},
        {"pretrain": {"steps": 5, "batch": 4, "probe_every": 2}},
        {"seeds": [1]},
        {"tracks": [{"dataset": {"toy_shapes": {"count": 9}}, "tasks": "toy_labels"}]},
        {"tracks": [{"dataset": "toy_deep", "tasks": "toy_labels"}]},
    ],
)
def test_what_makes_the_encoder_changes_the_run(plugins: Path, changes: dict[str, Any]) -> None:
    assert one(plugins, changes).run_id != one(plugins, {}).run_id


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        ("maskings", "toy_random", RANDOM.replace("torch.rand(", "torch.randn(")),
        ("variants", "toy_dense", DENSE.replace("* self.gain", "+ self.gain")),
        ("datasets", "toy_shapes", SHAPES.replace("VERSION = 1", "VERSION = 2")),
    ],
)
def test_another_code_or_version_is_another_run(plugins: Path, kind: Kind, name: str, code: str) -> None:
    changes = {"variants": ["toy_dense", "toy_masked"], "seeds": [0]}
    before = ids(plugins, changes)
    write(plugins, kind, name, code)
    assert ids(plugins, changes) != before


@pytest.mark.parametrize(
    "changes",
    [
        {"tracks": [{"dataset": "toy_shapes", "tasks": {"toy_labels": {"penalty": 3.0}}}]},
        {"tracks": [{"tasks": "toy_labels", "dataset": {"toy_shapes": {"count": 8}}}]},
        {"variants": {"toy_masked": {"patch": 2}}},
        {"masks": {"ratio": 0.5, "strategy": {"toy_random": {"tilt": 0.0}}}},
        {"pretrain": {"batch": 4, "steps": 5, "base_lr": 2e-3, "warmup": 0.1, "weight_decay": 0.05}},
        {"pretrain": {"batch": 4, "steps": 5, "checkpoint_every": 5}},
        {"device": "cpu"},
    ],
    ids=["tasks", "dataset default", "variant default", "masking default", "budget default", "checkpoints", "device"],
)
def test_what_does_not_make_the_encoder_leaves_the_run(plugins: Path, changes: dict[str, Any]) -> None:
    assert one(plugins, changes).run_id == one(plugins, {}).run_id


def test_a_whole_number_as_default_of_a_float_may_be_written_out(plugins: Path) -> None:
    write(plugins, "variants", "toy_whole", DENSE.replace("gain: float = 1.0", "gain: float = 1"))
    left_out, written = (ids(plugins, {"variants": variant}) for variant in ("toy_whole", {"toy_whole": {"gain": 1}}))
    assert left_out == written


@pytest.mark.parametrize(
    "code",
    [
        RANDOM.replace("import torch\n", "import torch  # a comment\n\n\n"),
        RANDOM.replace("import torch\n", "import math\nfrom torch import Tensor\nimport torch\n"),
        RANDOM.replace('"""', '"""Other words. ', 1),
    ],
    ids=["comments and layout", "imports", "docstring"],
)
def test_what_computes_nothing_leaves_the_run(plugins: Path, code: str) -> None:
    before = one(plugins, {}).run_id
    write(plugins, "maskings", "toy_random", code)
    assert one(plugins, {}).run_id == before


def test_another_version_of_the_core_is_another_run_and_another_release_is_not(plugins: Path) -> None:
    spec = one(plugins, {})
    raised = replace(spec, encoder=replace(spec.encoder, training=TRAINING + 1))
    assert raised.run_id != spec.run_id
    assert __version__ not in json.dumps(asdict(spec.encoder))


READS = CLOSED.replace("*, rank: int = 3", "*, path: File, other: File | None = None").replace(
    "import Reconstruction", "import File, Reconstruction"
)


def test_the_content_of_a_file_that_a_setting_names_makes_the_encoder(plugins: Path, tmp_path: Path) -> None:
    write(plugins, "variants", "toy_reads", READS)
    first, second = tmp_path / "first.bin", tmp_path / "second.bin"
    first.write_bytes(b"one")
    second.write_bytes(b"two")

    def run(**settings: Path) -> str:
        variant = {"toy_reads": {name: str(path) for name, path in settings.items()}}
        (spec,) = make(config({"variants": [variant]}), "my.yaml", plugins)
        assert spec.encoder.variant.settings["path"] == str(first)
        return spec.run_id

    before = {run(path=first), run(path=first, other=second)}
    assert len(before) == 2
    first.touch()
    assert {run(path=first), run(path=first, other=second)} == before
    second.write_bytes(b"three")
    assert len(before & {run(path=first), run(path=first, other=second)}) == 1, "the one without the second file"
    first.write_bytes(b"four")
    assert not before & {run(path=first), run(path=first, other=second)}
    with pytest.raises(
        ValueError, match=r"^my\.yaml: toy_reads\.path: is no file; a relative path starts at .*found: "
    ):
        run(path=tmp_path)


def test_two_tracks_on_one_data_set_share_encoders_and_keep_all_tasks(plugins: Path) -> None:
    tracks = [{"dataset": "toy_deep", "tasks": task} for task in ("toy_labels", "toy_depths")]
    specs = make(config({"tracks": tracks, "variants": "toy_dense", "seeds": [0]}), "my.yaml", plugins)
    assert len(specs) == 2  # trained and floor
    for spec in specs:
        assert sorted(task.name for task in spec.tasks) == ["toy_depths", "toy_labels"]


def test_a_task_without_its_target_is_told_which_data_sets_have_it(plugins: Path) -> None:
    write(plugins, "datasets", "toy_broken", DEEP.replace("def load", "def read"))
    tracks = [{"dataset": "toy_shapes", "tasks": "toy_depths"}]
    with pytest.raises(
        ValueError, match=r"^my\.yaml: task toy_depths needs the target 'depth', which toy_shapes"
    ) as caught:
        make(config({"tracks": tracks}), "my.yaml", plugins)
    assert "toy_deep" in str(caught.value)
    assert "toy_broken" not in str(caught.value)


def test_no_task_takes_the_name_of_the_costs(plugins: Path) -> None:
    write(plugins, "tasks", "cost", LABELS)
    with pytest.raises(ValueError, match=r"cost\.py: a task cannot be called cost"):
        make(config({"tracks": [{"dataset": "toy_shapes", "tasks": "cost"}]}), "my.yaml", plugins)


def test_a_variant_that_hides_needs_masks(plugins: Path) -> None:
    with pytest.raises(ValueError, match=r"^my\.yaml: toy_masked hides patches, so the config needs `masks`"):
        make(config({"masks": None}), "my.yaml", plugins)
    assert make(config({"masks": None, "variants": ["toy_dense", "toy_closed"]}), "my.yaml", plugins)


@pytest.mark.parametrize(
    ("masking", "line"),
    [
        ("bernoulli", "masking bernoulli hides no fixed number of patches, which toy_dropping counts on"),
        ("attention", "masking attention asks for attention, but toy_dropping has no method `attention`"),
        (
            "adversary",
            "masking adversary learns from the error of each patch, but build of toy_dropping does not ask for",
        ),
    ],
)
def test_a_variant_that_lacks_what_a_strategy_needs_is_refused(plugins: Path, masking: str, line: str) -> None:
    write(plugins, "variants", "toy_dropping", MASKED.replace("*, hide", "*, hide, count"))
    with pytest.raises(ValueError, match=rf"^my\.yaml: {line}"):
        make(config({"variants": "toy_dropping", "masks": {"strategy": masking, "ratio": 0.5}}), "my.yaml", plugins)


def test_a_memory_is_that_of_maskings_with_a_teacher_alone(plugins: Path) -> None:
    def memories(*strategies: str) -> list[float | None]:
        changes = {
            "variants": ["vit_mae"],
            "masks": {"strategy": list(strategies), "ratio": 0.5},
            "pretrain": {"steps": 5, "batch": 8, "memory": 0.1},
            "seeds": [0],
        }
        return [spec.encoder.budget.memory for spec in make(config(changes), "my.yaml", plugins) if not spec.floor]

    assert memories("uniform", "attention", "parts", "adversary") == [None, 0.1, 0.1, None]
    with pytest.raises(ValueError, match=r"^my.yaml: pretrain.memory is that of a masking's teacher, and no masking"):
        memories("uniform", "adversary")


def test_a_changing_ratio_is_in_the_label_and_the_run_and_is_not_compiled(plugins: Path) -> None:
    rising = {"strategy": "uniform", "ratio": [0.5, {"from": 0.5, "to": 0.75}, {"between": [0.5, 0.75]}]}
    specs = make(config({"variants": "toy_masked", "masks": rising, "seeds": [0]}), "my.yaml", plugins)
    labels = [spec.label.rpartition(" (")[0] for spec in specs if not spec.floor]
    ends = ("0.5", "0.5 to 0.75", "0.5 to 0.75 at random")
    assert labels == [f"toy_shapes toy_masked uniform {end} seed 0" for end in ends]
    assert len({spec.run_id for spec in specs}) == 4
    compiled = {"variants": "toy_masked", "masks": rising, "pretrain": {"compile": "default"}}
    with pytest.raises(
        ValueError, match=r"^my\.yaml: a masking ratio that changes \(0\.5 to 0\.75\) cannot be compiled"
    ):
        make(config(compiled), "my.yaml", plugins)


def test_a_label_says_what_the_run_is(plugins: Path) -> None:
    trained = one(plugins, {})
    assert trained.label == f"toy_shapes toy_masked toy_random 0.5 seed 0 ({trained.run_id})"
    labels = [spec.label for spec in make(config({}), "my.yaml", plugins)]
    assert any(" toy_dense untrained seed 1 (" in label for label in labels)


def test_cells_of_different_settings_have_different_files() -> None:
    plain, soft, hard = (Plugin("labels", settings, "2") for settings in ({}, {"penalty": 1.0}, {"penalty": 2.0}))
    assert cell_name(plain) == "labels@2"
    assert len({cell_name(part) for part in (plain, soft, hard)}) == 3
    assert cell_name(soft) == cell_name(Plugin("labels", {"penalty": 1.0}, "2"))


def test_a_digest_depends_on_the_values_and_not_on_the_order_of_the_keys() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest(["a", "b"]) != digest(["b", "a"])
