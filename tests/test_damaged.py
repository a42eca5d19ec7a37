"""Files that an interrupted copy leaves empty or half: named, done again, and nothing else is lost or done twice."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.commands import call
from builders.plugins import write

from maebench.leaderboard.frame import tidy
from maebench.runs.folder import RunFolder, load_tensors, save_tensors
from maebench.runs.records import cell_rows, read_run
from maebench.runs.scoring.cost import COST

TASK = '''"""The mean of a feature."""
VERSION = 1
NEEDS = None
METRICS = {"worth": ("", "higher")}

def fit(encode, train):
    return lambda images: encode(images).flatten(1).mean(1)

def measure(guess):
    return {"worth": guess.mean()}
'''
CONFIG = """
tracks: [{dataset: {scenes: {train: 60, val: 30, test: 30, size: 16}}, tasks: ["toy[1]"]}]
variants: [blank, vit_mae: {width: 16, depth: 1, heads: 2, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}]
masks: {strategy: uniform, ratio: 0.75}
pretrain: {steps: 6, batch: 16, probe_every: 3}
"""
RUN = ("run", "c.yaml", "--out", "r")


def prepare(folder: Path) -> None:
    """A config, and the one task that it asks for."""
    write(folder / "variants", "tasks", "toy[1]", TASK)
    (folder / "c.yaml").write_text(CONFIG)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with complete results in r."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare(folder)
        assert call(*RUN) == 0
    return folder


@pytest.fixture
def here(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(folder: Path) -> Path:
    """The folder of the run that has snapshots."""
    (run,) = {path.parent for path in folder.glob("r/*/weights.step3.pt")}
    return run


def scores(folder: Path) -> dict[tuple[str, str], float]:
    """(run, metric) -> value, of the task."""
    frame, _ = tidy(folder / "r")
    rows = frame[frame["task"] != "cost"]
    return dict(zip(zip(rows["run_id"], rows["metric"], strict=True), rows["value"], strict=True))


def stamps(folder: Path, but: Path) -> dict[Path, int]:
    """When each cell was written, but for one."""
    paths = [path for path in folder.glob("r/*/*.jsonl") if path != but]
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in paths}


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 1])


def zero(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def strip(path: Path) -> None:
    path.write_bytes(b"{}")


HARMS = (empty, halve, zero, strip)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["toy[1]@1.jsonl", f"cost@{COST.version}.jsonl"])
def test_a_damaged_cell_is_missing_and_done_again(
    here: Path, done: Path, name: str, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained(here) / name
    harm(path)
    before = stamps(here, path)
    assert call("report", "r") == 0
    said = capsys.readouterr()
    assert f"{path.parent.name}/{name}" in said.err
    assert len(said.err.splitlines()) == 1
    assert call(*RUN) == 0
    said = capsys.readouterr()
    assert "2 of them complete" in said.err
    line = f"{path.parent.name}/{name} is empty or damaged; set aside as {path.stem}.damaged, and done again"
    assert line in said.err
    assert "skipped" not in said.err
    assert path.with_suffix(".damaged").exists()
    assert scores(here) == scores(done)
    assert stamps(here, path) == before, "nothing else is done again"
    costs = [row.metric for row in cell_rows(path.parent / f"cost@{COST.version}.jsonl") if row.metric]
    assert [one.value for one in costs if one.name == "steps"] == [6]


def test_a_damaged_cell_that_nobody_asks_for_does_not_stop_the_others(
    here: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(here)
    (run / "old@1.jsonl").write_bytes(b"")
    (run / f"cost@{COST.version}.jsonl").unlink()
    assert call(*RUN) == 0
    assert "old@1.jsonl is empty" in capsys.readouterr().err, "the report says it"
    assert scores(here) == scores(done)


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_run_json_is_named_and_written_again(
    here: Path, done: Path, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained(here) / "run.json"
    whole = read_run(path)
    harm(path)
    assert read_run(path) == {}
    (path.parent / "toy[1]@1.jsonl").unlink()
    assert call("plan", "c.yaml", "--forecast", "--out", "r") == 0
    assert call(*RUN) == 0
    assert f"{path.parent.name}/run.json is empty or damaged; written again" in capsys.readouterr().err
    assert read_run(path) == whole
    assert scores(here) == scores(done)


def test_results_of_other_data_are_refused_without_a_run_json_too(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(here)
    cost = run / f"cost@{COST.version}.jsonl"
    checksum = read_run(run / "run.json")["data_checksum"]
    cost.write_text(cost.read_text().replace(checksum, "0" * 64))
    (run / "run.json").write_bytes(b"")
    (run / "toy[1]@1.jsonl").unlink()
    assert call(*RUN) == 2
    assert "scenes has changed since the results in" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["weights.pt", "weights.step3.pt"])
@pytest.mark.parametrize("harm", [*HARMS, Path.unlink])
def test_damaged_weights_are_named_and_trained_again(
    here: Path, done: Path, name: str, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(here)
    harm(run / name)
    (run / "toy[1]@1.jsonl").unlink()
    assert call(*RUN) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if f"{run.name}/{name}" in line]
    assert len(told) == (0 if (name, harm) == ("weights.pt", Path.unlink) else 1)
    assert all("training again" in line for line in told)
    assert scores(here) == scores(done)


def test_a_failure_is_gone_once_the_cell_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    task = tmp_path / "variants/tasks/toy[1].py"
    task.write_text(TASK.replace("return {", "raise RuntimeError('boom')\n    return {"))
    assert call(*RUN) == 1
    failures = sorted(tmp_path.glob("r/*/*.failed.jsonl"))
    assert len(failures) == 3
    kept = failures[0].read_bytes()
    task.write_text(TASK)
    assert call(*RUN) == 0
    assert not list(tmp_path.glob("r/*/*.failed.*"))
    failures[0].write_bytes(kept)  # as a copy of the results of another machine may bring it back
    frame, warnings = tidy(tmp_path / "r")
    assert (set(frame["status"]), warnings) == ({"ok"}, [])


def test_results_copied_into_results_are_told_of(here: Path, done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run in sorted(here.glob("r/*/"))[:2]:
        (here / "r/copy").mkdir(exist_ok=True)
        if run.is_dir():
            run.rename(here / "r/copy" / run.name)
    line = "r/copy holds 2 runs not read here; move what is in it into r, or report it alone"
    assert call("report", "r") == 0
    assert capsys.readouterr().err == f"warning: {line}\n"
    assert call("report", "r/copy") == 0
    assert capsys.readouterr().err == ""
    (run,) = [path.parent for path in here.glob("r/*/run.json")]
    assert call("report", run) == 2
    assert "is the folder of one run; name the one that it is in" in capsys.readouterr().err
    assert call(*RUN) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"warning: {line}", "before it is all done again"
    assert scores(here) == scores(done)


@pytest.mark.parametrize(
    ("names", "shown"), [(["Far"], "Far"), (["Far", "Near"], "Far, 3 threads then Near, 3 threads")]
)
def test_a_cost_that_is_written_elsewhere_belongs_to_the_machine_that_trained(
    here: Path, names: list[str], shown: str
) -> None:
    run = RunFolder(trained(here))
    content = load_tensors(run.weights)
    content["training"]["machines"] = [
        {"device": "cpu", "device_name": one, "cuda": None, "threads": 3} for one in names
    ]
    save_tensors(run.weights, content)
    run.cell(COST).unlink()
    assert call(*RUN) == 0
    rows = cell_rows(run.cell(COST))
    assert {row.provenance["device_name"] for row in rows} == {shown}
    (used,) = (row.metric for row in rows if row.metric and row.metric.name == "utilisation")
    assert used.value is None, "no other machine's rate can be measured here"
