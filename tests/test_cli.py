"""The whole path through the command line, and the one line that each mistake gives."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from builders.boards import learn, put
from builders.commands import ROOT, VIT, call

from maebench.cli.main import app
from maebench.cli.options import out_console
from maebench.runs import drawing

SCENES = "{scenes: {train: 300, val: 60, test: 60, size: 16}}"
CONFIG = f"""
tracks:
  - dataset: {SCENES}
    tasks: [linear_probe, monocular_depth]
variants: [blank, linear_mae: {{k: 16}}, vit_mae: {VIT}]
masks: {{strategy: uniform, ratio: 0.75}}
pretrain: {{steps: 25, batch: 32}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a small config in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*@*")}


def test_run_gives_a_board_and_the_second_run_does_no_work(here, capsys):
    assert call("run", "c.yaml", "--out", "r") == 0
    first = times(here / "r")
    board = pd.read_csv(here / "r/leaderboard.csv")
    assert set(board.variant) == {"blank", "linear_mae", "vit_mae", "vit_mae (untrained)", "row mean"}
    assert len(board) == 5, "an untrained vit_mae is a row too"
    assert len(first) == 4 * (1 + 2 + 2), "per run a cost file, two task files and their guesses"
    for name in ("leaderboard.md", "leaderboard.html", "accuracy_vs_cost.png"):
        assert (here / "r" / name).stat().st_size > 500
    assert len(list((here / "r").glob("*/reconstruction.png"))) == 2, "one per trained variant"
    assert "vit_mae" in capsys.readouterr().out
    assert call("run", "c.yaml", "--out", "r") == 0
    assert "4 of them complete" in capsys.readouterr().err
    assert times(here / "r") == first
    assert call("report", "r") == 0


def test_a_new_task_reuses_the_weights(here, capsys):
    assert call("run", "c.yaml", "--out", "r") == 0
    weights = {path: path.stat().st_mtime_ns for path in here.glob("r/*/weights.pt")}
    (here / "c.yaml").write_text(CONFIG.replace("monocular_depth]", "monocular_depth, gabor_frequency]"))
    assert call("run", "c.yaml", "--out", "r") == 0
    assert len(list(here.glob("r/*/gabor_frequency@*.jsonl"))) == 4
    assert {path: path.stat().st_mtime_ns for path in here.glob("r/*/weights.pt")} == weights


def test_without_tasks_there_is_a_board_of_costs(here):
    (here / "c.yaml").write_text(CONFIG.replace("[linear_probe, monocular_depth]", "[]"))
    assert call("run", "c.yaml", "--out", "r") == 0
    board = pd.read_csv(here / "r/leaderboard.csv")
    assert board["best rank"].isna().all(), "nothing is scored, so nobody is ranked"
    assert (board.loc[board.variant == "vit_mae", "pretrain s"] > 0).all()


def test_kill_in_the_middle_keeps_finished_cells(here):
    slow = CONFIG.replace("steps: 25", "steps: 200")
    (here / "c.yaml").write_text(slow)
    command = [sys.executable, "-m", "maebench", "run", "c.yaml", "--out", "r"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len([*here.glob("r/*/*.jsonl")]) < 5 and time.monotonic() < deadline:  # not deeper, where folders come and go
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = times(here / "r")
    assert 5 <= len(kept) < 20
    assert call("run", "c.yaml", "--out", "r") == 0
    after = times(here / "r")
    assert len(after) == 20
    assert {path: after[path] for path in kept if path.suffix == ".jsonl"} == {
        path: stamp for path, stamp in kept.items() if path.suffix == ".jsonl"
    }
    assert not list((here / "r").rglob("*.draft"))


def test_ctrl_c_is_one_line(here):
    (here / "c.yaml").write_text(CONFIG.replace("steps: 25", "steps: 100000"))
    command = [sys.executable, "-m", "maebench", "run", "c.yaml", "--out", "r"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a runner may have it ignored
    )
    deadline = time.monotonic() + 120
    while len(times(here / "r")) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "maebench: stopped; finished results are kept" in error.splitlines()[-1]
    assert "Traceback" not in error
    assert len(times(here / "r")) >= 5


def test_two_processes_share_the_work(here):
    command = [sys.executable, "-m", "maebench", "run", "c.yaml", "--out", "r"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # more threads than cores would wait for each other
    pair = [subprocess.Popen(command, env=alone, stderr=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    assert [(one.communicate(timeout=300), one.returncode)[1] for one in pair] == [0, 0]
    assert len(times(here / "r")) == 20


def test_a_strategy_is_one_file(here, capsys):
    readme = (ROOT / "README.md").read_text()
    code, *_ = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (here / "variants/masking").mkdir(parents=True)
    (here / "variants/masking/disc.py").write_text(code)
    assert call("list", "maskings") == 0
    assert "disc" in capsys.readouterr().out
    assert call("check", "disc") == 0
    (here / "c.yaml").write_text(CONFIG.replace("strategy: uniform", "strategy: disc"))
    assert call("run", "c.yaml", "--out", "r") == 0
    assert "disc" in set(pd.read_csv(here / "r/leaderboard.csv").masking)


SCORES = "import torch\n\ndef scores(grid, images):\n    return {}\n"
BAD = {
    "variants: [blank,": ("variants: [blnk,", "no variant is called 'blnk'; did you mean 'blank'?"),
    "k: 16": ("kk: 16", "linear_mae has no setting 'kk'; did you mean 'k'?"),
    "steps: 25": ("stesp: 25", "pretrain.stesp: unknown key; did you mean 'steps'?"),
    "batch: 32": ("batch: many", "pretrain.batch: "),
    "ratio: 0.75": ("ratio: 1.5", "masks.ratio.0: "),
    "width: 16, depth": ("patch: 5, width: 16, depth", "c.yaml: scenes, variant vit_mae: patch 5 does not divide an"),
    "linear_probe,": ("linear_probe: {fit_images: 0},", "c.yaml: scenes, task linear_probe: fit_images is 0, but"),
    "{strategy: uniform,": ("{strategy: {coarse: {unit: 0}},", "c.yaml: scenes, masking coarse: coarse needs a unit"),
    "pretrain: {": ("pretrain: {base_lr: .inf, ", "pretrain.base_lr: Input should be a finite number (found: inf)"),
    SCENES: ("cifar10", "task monocular_depth needs the target 'depth', which cifar10 lacks"),
}


@pytest.mark.parametrize("good", BAD)
def test_a_bad_config_is_one_line_and_no_work(here, capsys, good):
    bad, message = BAD[good]
    assert good in CONFIG
    (here / "c.yaml").write_text(CONFIG.replace(good, bad))
    assert call("run", "c.yaml", "--out", "r") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("maebench: ")
    assert message in error
    assert not times(here / "r")


def test_a_missing_or_truncated_archive_is_one_line(here, capsys):
    (here / "c.yaml").write_text(CONFIG.replace(SCENES, "cifar10").replace(", monocular_depth", ""))
    assert call("run", "c.yaml", "--out", "r", "--data-root", "nowhere") == 2
    assert "maebench data fetch cifar10" in capsys.readouterr().err.splitlines()[-1]
    (here / "nowhere").mkdir()
    (here / "nowhere/cifar10-jpeg.zip").write_bytes(b"PK\x03\x04 and no more")
    assert call("run", "c.yaml", "--out", "r", "--data-root", "nowhere") == 2
    assert "cifar10-jpeg.zip" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("def scores(grid:\n", 2, "bad.py:1"),
        ("import nothing_of_this_name\n\ndef scores(grid): ...\n", 2, "nothing_of_this_name"),
        (
            "import torch\n\ndef scores(grid, images):\n    return torch.full((len(images), *grid), torch.nan)\n",
            1,
            "NaN",
        ),
        (SCORES.format("torch.zeros(grid)"), 1, "scores must be [B, h, w] = "),
        ("def scores(grid):\n    raise RuntimeError('boom')\n", 1, "RuntimeError: boom"),
    ],
)
def test_a_broken_masking_spoils_its_own_rows_only(here, capsys, code, status, message):
    (here / "variants/masking").mkdir(parents=True)
    (here / "variants/masking/bad.py").write_text('"""Broken."""\n' * (status == 1) + code)
    (here / "c.yaml").write_text(CONFIG.replace("strategy: uniform", "strategy: [bad, uniform]"))
    assert call("run", "c.yaml", "--out", "r") == status
    assert message in capsys.readouterr().err.splitlines()[-1]
    if status == 1:
        board = pd.read_csv(here / "r/leaderboard.csv")
        assert "uniform" in set(board.masking)
        (here / "variants/masking/bad.py").write_text(SCORES.format("torch.zeros(len(images), *grid)"))
        assert call("run", "c.yaml", "--out", "r") == 0, "a failure is not kept once the plug-in is mended"


SOUND = '"""Sound."""\ndef scores(grid): ...\n'
BREAKAGES = {  # name -> the code of a file in the plug-ins folder, and what the list says of it
    "no_syntax": ("def scores(grid:\n", "no_syntax.py:1: "),
    "no_function": ("x = 1\n", "does not define scores(...)"),
    "no_type": ("def scores(grid, *, a=1): ...\n", "setting 'a' has no type annotation"),
    "odd_type": ("def scores(grid, *, a: Grid = 1): ...\n", "setting 'a' has the type Grid; use bool, int, float"),
    "no_star": (
        "def scores(grid, a=1): ...\n",
        "scores has 'a' before its `*`, where only images, grid, rng, count,",
    ),
    "no_network": ("def scores(grid, network): ...\n", "asks for network, but does not define network(...)"),
    "no_pair": (
        "def scores(grid, *, a: int = 1): ...\ndef prepare(images, *, a: int = 2): ...\n",
        "setting 'a' of prepare",
    ),
    "odd_count": ("COUNT = 3\ndef scores(grid): ...\n", 'COUNT must be "free", or left out, but is 3'),
    "uniform": (SOUND, "two maskings are called 'uniform': "),
    "twice": (SOUND, "two maskings are called 'twice': "),
}
POINTS = {  # name -> the module of an entry point, and what the list says of it
    "stale": ("gone_package", "names gone_package, which is not installed as a file; mend or uninstall toy"),
    "moved": ("raising_package.gone", "names raising_package.gone, which is not installed as a file"),
    "twice": ("raising_package.twice", ""),
    "registered": ("raising_package.sound", "Sound."),
}


def test_each_broken_plugin_is_listed_alone_from_wherever_it_comes(here, capsys, monkeypatch):
    for name, (code, _) in {**BREAKAGES, "fine": (SOUND, "")}.items():
        (here / "variants/masking").mkdir(parents=True, exist_ok=True)
        (here / f"variants/masking/{name}.py").write_text(code)
    (here / "site/raising_package").mkdir(parents=True)
    (here / "site/raising_package/__init__.py").write_text("raise RuntimeError('nobody imports this')\n")
    (here / "site/raising_package/sound.py").write_text(SOUND + "from . import other\n")
    (here / "site/raising_package/twice.py").write_text(SOUND + "x = 2\n")
    (here / "site/toy-1.dist-info").mkdir()
    (here / "site/toy-1.dist-info/METADATA").write_text("Name: toy\nVersion: 1\n")
    points = "".join(f"{name} = {module}\n" for name, (module, _) in POINTS.items())
    (here / "site/toy-1.dist-info/entry_points.txt").write_text(f"[maebench.maskings]\n{points}")
    monkeypatch.syspath_prepend(here / "site")
    monkeypatch.setattr(out_console, "width", 1000)
    assert call("list") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    for name, (_, said) in {**POINTS, **BREAKAGES}.items():
        assert said in lines[name], name
    broken = {name for name, line in lines.items() if " broken: " in line}
    assert broken == {*BREAKAGES, "stale", "moved"}
    assert {"fine", "registered", "block", "vit_mae", "linear_probe", "scenes"} <= set(lines)
    (here / "c.yaml").write_text(CONFIG.replace("strategy: uniform", "strategy: [block, registered]"))
    assert call("plan", "c.yaml") == 0, "what a config does not name does not stop it"
    assert call("run", "c.yaml", "--out", "r") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "masking 'registered' cannot be imported: " in error
    assert "RuntimeError: nobody imports this" in error
    assert not times(here / "r")


@pytest.mark.parametrize(
    ("words", "code"),
    [(("list",), 0), (("plan", "c.yaml"), 0), (("--help",), 0), (("check", "wrong"), 1), (("check", "nobody"), 2)],
)
def test_a_reader_who_leaves_changes_no_exit_code(here, words, code):
    """As `| head -1` does, which closes the pipe while there is more to say."""
    (here / "variants/masking").mkdir(parents=True)
    (here / "variants/masking/wrong.py").write_text("def scores(grid):\n    raise RuntimeError('boom')\n")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "maebench", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=here)
    os.close(writer)
    assert done.returncode == code
    assert done.stderr == "" if code < 2 else done.stderr.startswith("maebench: check: no plug-in is called 'nobody'")


def test_other_bad_usage_is_one_line(here, capsys, monkeypatch):
    (here / "taken").write_text("a file")
    monkeypatch.setenv("MAEBENCH_CACHE", str(here / "taken"))
    for words, message in {
        ("run", "none.yaml"): "none.yaml: cannot be read",
        ("run", "c.yaml", "--out", "taken"): "--out taken: cannot be written to",
        ("run", "c.yaml"): "set MAEBENCH_CACHE to another folder",
        ("run", "c.yaml", "--device", "tpu"): "tpu",
        ("run", "c.yaml", "--threads", "0"): "--threads",
        ("plan", "c.yaml", "--threads", "1"): "--threads says something with --forecast only",
        ("run", "c.yaml", "--plugins", "none"): "none",
        ("report", "none"): "none",
        ("report", "."): "no results",
        ("check", "unifrm"): "did you mean 'uniform'?",
        ("check", "conv_mae", "--set", "widths=[16"): "--set widths=[16: is no list",
        ("list", "variant"): "did you mean 'variants'?",
        ("data", "verify", "scene"): "did you mean 'scenes'?",
        ("runn",): "runn",
    }.items():
        assert call(*words) == 2, words
        assert message in capsys.readouterr().err.strip().splitlines()[-1], words


def test_a_setting_that_is_a_list_can_be_set(capsys):
    assert call("check", "conv_mae", "--set", "widths=[8]", "--set", "depths=[1]") == 0
    capsys.readouterr()
    assert call("check", "conv_mae", "--set", "widths=[8]") == 1
    assert "not (8,) and (3, 3)" in capsys.readouterr().out


def test_report_says_when_rows_reach_a_target(here, capsys):
    for seed, (first, last) in enumerate([(44.0, 50.0), (46.0, 51.0), (47.0, 52.0)]):
        learn(here / "r", "vit", seed, [first, last], 60.0)
    assert call("report", "r", "--target", "probe=45", "--target", "probe=90") == 0
    shown = capsys.readouterr().out
    assert "until probe top1 % ≥ 45" in shown
    assert "30.00" in shown
    assert "> 60.00 (not reached)" in shown
    assert "accuracy_vs_time.png" in shown
    assert "time_to_target.csv" in shown
    for word, message in {"prob=45": "did you mean 'probe'?", "probe=4x": "'4x' is no number", "45": "TASK="}.items():
        assert call("report", "r", "--target", word) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1
        assert f"maebench: --target {word}: " in error[0]
        assert message in error[0]


def test_a_report_that_cannot_be_written_is_still_printed(here, capsys):
    learn(here / "r", "vit", 0, [44.0, 50.0], 60.0)
    (here / "r/details.csv/in the way").mkdir(parents=True)
    assert call("report", "r") == 2
    said = capsys.readouterr()
    assert "50.00" in said.out
    assert "files:" not in said.out
    (line,) = said.err.splitlines()
    assert line.startswith("maebench: r: cannot be written to (")
    assert line.endswith("); `maebench report r --out DIR` writes the files of the report to another folder")
    before = sorted((here / "r").rglob("*"))
    assert call("report", "r", "--out", "new/place", "--target", "probe=45") == 0
    names = ["leaderboard.csv", "leaderboard.md", "leaderboard.html", "details.csv", "time_to_target.csv"]
    names += ["accuracy_vs_cost.png", "accuracy_vs_time.png"]
    assert capsys.readouterr().out.splitlines()[-1] == "files: " + ", ".join(f"new/place/{name}" for name in names)
    assert {path.name for path in (here / "new/place").iterdir()} == set(names)
    assert sorted((here / "r").rglob("*")) == before, "nothing is written there"


def test_a_report_elsewhere_has_the_pictures_of_the_runs(here):
    image = np.zeros((1, 3, 4, 4))
    for number in range(2):
        run = put(here / "r", f"vit{number}", 0, {"probe": 50.0})
        drawing.reconstruction(here / "r" / run / "reconstruction.png", image, image, image, "a")
    (here / "r" / run / "reconstruction.png").write_bytes(b"")
    assert call("report", "r", "--out", "new") == 0
    assert (here / "new/leaderboard.html").read_text().count("<figure>") == 2, "a half picture is left out"


FLAGS = {
    "maebench": {"--version"},
    "maebench list": {"--plugins"},
    "maebench check": {"--plugins", "--data-root", "--set"},
    "maebench plan": {"--forecast", "--out", "--data-root", "--plugins", "--device", "--threads"},
    "maebench run": {
        *("--out", "--data-root", "--plugins", "--device", "--threads"),
        *("--until-sure", "--difference", "--task", "--most"),
    },
    "maebench report": {"--target", "--scores", "--out"},
    "maebench compare": {"--out"},
    "maebench reproduce": {"--budget", "--out", "--data-root", "--device", "--threads"},
    "maebench export": {"--to", "--out", "--plugins"},
    "maebench show": set(),
    "maebench show masks": {
        "--ratio",
        "--progress",
        "--patch",
        "--dataset",
        "--out",
        "--data-root",
        "--plugins",
        "--set",
    },
    "maebench data": set(),
    "maebench data fetch": {"--data-root", "--plugins"},
    "maebench data verify": {"--data-root", "--plugins", "--set"},
}


def test_the_flags_are_frozen():
    """A knob belongs into the YAML; a new flag is written down here, with a reason in its commit."""

    def flags(command, name):
        yield name, {word for one in command.params for word in one.opts if word.startswith("-")}
        for word, inner in getattr(command, "commands", {}).items():
            yield from flags(inner, f"{name} {word}")

    assert dict(flags(typer.main.get_command(app), "maebench")) == FLAGS


CONFIGS = [*sorted((ROOT / "configs").glob("*.yaml")), *sorted((ROOT / "boards").glob("*/*.yaml"))]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_can_be_planned(capsys, path):
    command = f"# maebench run {path.relative_to(ROOT)}"
    assert path.read_text().startswith(command), "a config opens with its command"
    assert call("plan", path) == 0
    assert "runs, " in capsys.readouterr().out


def test_the_config_of_the_readme_can_be_planned(here, capsys):
    (config,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (here / "c.yaml").write_text(config)
    assert call("plan", "c.yaml") == 0
    assert "17 runs" in capsys.readouterr().out, (
        "two fixed ones, and per seed an untrained floor and 2 x 2 masks of vit_mae"
    )
