"""Configs: a good one, and one clear line for every mistake."""

import math
from datetime import date
from pathlib import Path

import pytest
from builders.plugins import write, write_all

from maebench.plugins import find
from maebench.runs.config import Config, full_settings, read_config
from maebench.runs.plan import make

GOOD = """
tracks:
  - {dataset: toy_shapes, tasks: [toy_labels: {penalty: 2}]}
variants: [toy_dense: {width: 8}, toy_masked]
masks: {strategy: [toy_random], ratio: [0.5, 0.75]}
pretrain: {steps: 7, base_lr: 1e-3}
seeds: [0, 2]
"""


def message(tmp_path: Path, text: str | bytes) -> str:
    """What the user is told about a config, by reading or planning; always one line that starts with the file."""
    path = tmp_path / "my.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the callers look at the message
        make(read_config(path), str(path), write_all(tmp_path / "plugins"))
    said = str(caught.value)
    assert said.startswith(str(path))
    assert said == said.strip()
    assert len(said.splitlines()) == 1
    return said.removeprefix(str(path))


def test_a_good_config_is_read(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(GOOD)
    config = read_config(path)
    assert [named.name for named in config.variants] == ["toy_dense", "toy_masked"]
    assert config.variants[0].settings == {"width": 8}
    assert config.tracks[0].tasks[0].settings == {"penalty": 2}
    assert config.masks is not None
    assert config.masks.ratio == (0.5, 0.75)
    assert (config.pretrain.steps, config.pretrain.base_lr, config.pretrain.batch) == (7, 1e-3, 128)
    assert config.seeds == (0, 2)
    assert config.device == "auto"


def test_one_plugin_or_ratio_may_stand_without_brackets() -> None:
    config = Config.model_validate(
        {
            "tracks": [{"dataset": "a", "tasks": "b"}],
            "variants": {"c": {"width": 2}},
            "masks": {"strategy": "d", "ratio": 0},
        }
    )
    assert config.variants[0].name == "c"
    assert config.masks is not None
    assert config.masks.ratio == (0.0,)


MISTAKES = {
    "pretrain:": ("pretrian:", ": pretrian: unknown key; did you mean 'pretrain'?"),
    "steps:": ("stpes:", ": pretrain.stpes: unknown key; did you mean 'steps'?"),
    "ratio:": ("ratoi:", ": masks.ratoi: unknown key; did you mean 'ratio'?"),
    "tasks:": ("taks:", ": tracks.0.taks: unknown key; did you mean 'tasks'?"),
    "steps: 7": ("steps: many", ": pretrain.steps: Input should be a valid integer"),
    "{steps: 7": ("{epochs: 2, steps: 7", ": pretrain: give one budget, not steps and epochs"),
    "steps: 7,": ("steps: 7, batch: 4, micro_batch: 8,", ": pretrain: micro_batch 8 is more than the batch of 4"),
    "base_lr: 1e-3": ("base_lr: [1]", ": pretrain.base_lr: Input should be a valid number"),
    "[0.5, 0.75]": ("1.5", ": masks.ratio.0: Input should be less than 1 (found: 1.5)"),
    "0.75]": ("-0.1]", ": masks.ratio.1: Input should be greater than or equal to 0 (found: -0.1)"),
    "seeds: [0, 2]": ("seeds: [1, 1]", ": seeds: each seed may stand there once (found: "),
    "[0, 2]": ("[]", ": seeds: "),
    "0, 2]": (f"0, {2**53}]", f": seeds.1: Input should be less than or equal to {2**53 - 1} (found: {2**53})"),
    ", 2]": (f", {2**64}]", f": seeds.1: Input should be less than or equal to {2**53 - 1} (found: {2**64})"),
    "width: 8": ("widht: 8", ": toy_dense has no setting 'widht'; did you mean 'width'?"),
    "{width: 8}": ("{width: wide}", ": toy_dense.width: Input should be a valid integer"),
    "{penalty: 2}": ("{penalti: 2}", ": toy_labels has no setting 'penalti'; did you mean 'penalty'?"),
    "toy_shapes,": ("{toy_shapes: {cuont: 3}},", ": toy_shapes has no setting 'cuont'; did you mean 'count'?"),
    "[toy_random]": ("[toy_random: {tlit: 1}]", ": toy_random has no setting 'tlit'; did you mean 'tilt'?"),
    "toy_masked]": ("3]", ": variants.1: write a name, or `name: {setting: value}` (found: 3)"),
    "toy_masked": ("{a: {}, b: {}}", ": variants.1: write a name, or `name: {setting: value}` (found: "),
    "{width: 8}, toy_masked": ("8", ": variants.0: write a name, or `name: {setting: value}` (found: "),
    "seeds:": ("device: tpu\nseeds:", ": device: Input should be 'auto', 'cpu' or 'cuda' (found: 'tpu')"),
}


@pytest.mark.parametrize("right", MISTAKES)
def test_a_mistake_is_one_line_that_names_it(tmp_path: Path, right: str) -> None:
    wrong, expected = MISTAKES[right]
    assert right in GOOD
    assert message(tmp_path, GOOD.replace(right, wrong, 1)).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tracks: []\nvariants: [a\nseeds: [0]\n", ":3: is not YAML: "),
        ("tracks:\n\t- a\n", ":2: is not YAML: "),
        ("tracks: []\nseeds: [0]\nseeds: [1]\n", ":3: is not YAML: 'seeds' is given twice"),
        ("tracks:\n- {width: 64, depth: 4, width: 32}\n", ":2: is not YAML: 'width' is given twice"),
        ("a: !!python/name:os.system\n", ":1: is not YAML: "),
        ("", ": holds no settings; a config has at least `tracks` and `variants`"),
        ("# only a comment\n", ": holds no settings"),
        ("- a\n- b\n", ": holds no settings"),
        ("variants: [a]\n", ": tracks: Field required"),
        (GOOD.replace("masks:", "# masks:"), ": toy_masked hides patches, so the config needs `masks`"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", ": is not a text file; name a YAML file"),
        (b"PK\x03\x04 a zip of ASCII\x00\x00", ": is not YAML"),
        ("seeds: [2024-13-45]\n", ": is not YAML"),
    ],
    ids=[
        *("bracket", "tab", "twice", "nested", "object", "empty", "comment"),
        *("list", "required", "masks", "binary", "nul", "date"),
    ],
)
def test_a_file_that_is_no_config_is_one_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert message(tmp_path, text).startswith(expected)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ValueError, match=r"^/[^\n]*: cannot be read \(.*\); name a YAML file") as caught:
            read_config(path)
        assert str(caught.value).startswith(str(path))


TYPED = '''"""Settings of every plain type."""
from typing import Literal, Optional

def scores(grid, *, need: int, many: tuple[float, ...] = (1, 2), way: Literal["a", "b"] = "a", top: int | None = None,
           low: "int" = 3, flag: bool = False, maybe: Optional[bool] = None, loose: list = [], size: float = 1.0):
    return None
'''


def test_settings_are_typed_by_the_signature(tmp_path: Path) -> None:
    write(tmp_path, "maskings", "toy_typed", TYPED)
    found = find("maskings", "toy_typed", tmp_path)
    full = full_settings(found, {"need": 4, "many": [3, 0.5], "way": "b", "top": 9, "loose": [1, ["x", None]]}, "here")
    expected = {"need": 4, "many": (3.0, 0.5), "way": "b", "top": 9, "low": 3, "flag": False, "maybe": None}
    assert full == {**expected, "loose": [1, ["x", None]], "size": 1.0}
    assert full_settings(found, {"need": 4}, "here")["top"] is None
    for given, expected in {
        "way": r"here: toy_typed.way: Input should be 'a' or 'b' \(found: 'c'\)",
        "top": r"here: toy_typed.top: Input should be a valid integer",
        "many": r"here: toy_typed.many: Input should be a valid tuple",
        "flag": r"here: toy_typed.flag: Input should be a valid boolean",
    }.items():
        with pytest.raises(ValueError, match=f"^{expected}"):
            full_settings(found, {"need": 4, given: "c"}, "here")
    with pytest.raises(ValueError, match=r"^here: toy_typed needs the setting 'need' \(int\)$"):
        full_settings(found, {}, "here")


@pytest.mark.parametrize("name", ["flag", "maybe"])
def test_a_setting_may_be_true_or_false(tmp_path: Path, name: str) -> None:
    write(tmp_path, "maskings", "toy_typed", TYPED)
    found = find("maskings", "toy_typed", tmp_path)
    for given, meant in {True: True, False: False, "true": True, "false": False}.items():  # text: from --set
        assert full_settings(found, {"need": 1, name: given}, "here")[name] is meant


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", math.inf),
        ("size", -math.inf),
        ("size", math.nan),
        ("size", "1e999"),
        ("need", math.inf),
        ("many", [1.0, math.nan]),
        ("loose", [math.inf]),
        ("loose", [1, ["x", {"y": math.nan}]]),
        ("loose", [date(2024, 1, 2)]),
    ],
)
def test_what_a_record_cannot_hold_is_refused(tmp_path: Path, key: str, value: object) -> None:
    write(tmp_path, "maskings", "toy_typed", TYPED)
    found = find("maskings", "toy_typed", tmp_path)
    with pytest.raises(
        ValueError, match=rf"^here: toy_typed\.{key}: Input should .*finite number.*\(found: "
    ) as caught:
        full_settings(found, {"need": 1, key: value}, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan", "1.0e+999"])
@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        ("base_lr: 1e-3", "base_lr: {}", "pretrain.base_lr"),
        ("base_lr: 1e-3", "weight_decay: {}", "pretrain.weight_decay"),
        ("base_lr: 1e-3", "checkpoint_every: {}", "pretrain.checkpoint_every"),
        ("steps: 7", "epochs: {}", "pretrain.epochs"),
        ("0.75]", "{}]", "masks.ratio.1"),
        ("penalty: 2", "penalty: {}", "toy_labels.penalty"),
        ("[toy_random]", "[toy_random: {{tilt: {}}}]", "toy_random.tilt"),
    ],
)
def test_no_number_of_a_config_is_infinite(tmp_path: Path, right: str, wrong: str, where: str, number: str) -> None:
    assert right in GOOD
    said = message(tmp_path, GOOD.replace(right, wrong.format(number)))
    assert said.startswith(f": {where}: Input should be a finite number (found: ")


def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(GOOD)
    plain = read_config(path)
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert read_config(path) == plain


@pytest.mark.parametrize(
    ("ratio", "wanted"),
    [
        ("{from: 0.5, to: 0.9}", "0.5 to 0.9"),
        ("{from: 0.9, to: 0}", "0.9 to 0"),
        ("[{between: [0.1, 0.9]}]", "0.1 to 0.9 at random"),
        ("{from: 0.5, to: 1}", ": masks.ratio.0: Input should be less than 1 (found: 1)"),
        ("{from: 0.5}", ": masks.ratio.0: write a number, {from: a, to: b} or {between: [a, b]} (found: "),
        ("{between: [0.5, 0.5]}", ": masks.ratio.0: does not change; write 0.5 (found: "),
        ("{between: [0.5, half]}", ": masks.ratio.0: Input should be a valid number"),
    ],
)
def test_a_ratio_may_change(tmp_path: Path, ratio: str, wanted: str) -> None:
    text = GOOD.replace("[0.5, 0.75]", ratio)
    if wanted.startswith(":"):
        assert message(tmp_path, text).startswith(wanted)
    else:
        (tmp_path / "c.yaml").write_text(text)
        masks = read_config(tmp_path / "c.yaml").masks
        assert masks
        assert masks.ratio == (wanted,)
