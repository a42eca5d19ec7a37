"""Result rows: round trip, whole or absent, never a number that is none."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from maebench.runs.records import Metric, ResultRecord, cell_rows, read_rows, write_rows, write_whole

ROW = ResultRecord(
    run_id="0123456789ab",
    dataset="toy",
    dataset_settings={"count": 8},
    variant="dense",
    settings={"width": 4, "name": 'a "quoted"\u2028 line\nbreak'},
    masking=None,
    masking_settings={},
    ratio=None,
    seed=0,
    budget={"steps": 5},
    floor=False,
    task="labels",
    task_version=1,
    task_settings={},
    readout="global",
    seconds=0.25,
    metric=Metric("accuracy", 0.1 + 0.2, "", "higher", True),
    provenance={"torch": "2"},
    phases={"extract": 0.1, "probe": 0.15},
)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    failed = replace(ROW, metric=None, status="failed", reason="ValueError: no", ratio=0.75, masking="block")
    empty = replace(ROW, metric=Metric("seconds", None, "s", "lower"), seed=None)
    write_rows(tmp_path / "new" / "cell.jsonl", [ROW, failed, empty])
    assert list(read_rows(tmp_path / "new" / "cell.jsonl")) == [ROW, failed, empty]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["cell.jsonl"]


def test_a_file_holds_one_json_line_a_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "cell.jsonl", [ROW, ROW])
    lines = (tmp_path / "cell.jsonl").read_text().split("\n")
    assert lines[2] == ""
    assert [json.loads(line)["schema"] for line in lines[:2]] == [3, 3]


def test_rows_of_schema_1_are_still_read(tmp_path: Path) -> None:
    old = {key: value for key, value in asdict(ROW).items() if key != "phases"} | {"schema": 1}
    (tmp_path / "cell.jsonl").write_text(json.dumps(old) + "\n")
    assert list(read_rows(tmp_path / "cell.jsonl")) == [replace(ROW, schema=1, phases={})]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_file_is_written_for_a_value_that_is_no_number(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_rows(tmp_path / "cell.jsonl", [ROW, replace(ROW, metric=Metric("accuracy", value))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    ['{"run_id": "012', "[]", "5", "null", '""', "{}", '{"metric": null}', '{"metric": 3}', '{"metric": {"worth": 1}}'],
)
def test_a_broken_line_is_named_with_its_file(tmp_path: Path, line: str) -> None:
    path = tmp_path / "cell.jsonl"
    write_rows(path, [ROW])
    path.write_text(path.read_text() + line + "\n")
    rows = read_rows(path)
    assert next(rows) == ROW
    with pytest.raises(ValueError, match=r"cell\.jsonl:2 is not a result row of maebench \(.*\); the same `"):
        next(rows)


def test_an_empty_file_is_named_and_a_damaged_cell_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "cell.jsonl"
    assert cell_rows(path) == []
    write_rows(path, [ROW, ROW])
    assert cell_rows(path) == [ROW, ROW]
    path.write_bytes(path.read_bytes()[:-40])
    assert cell_rows(path) == []
    path.write_bytes(b"")
    assert cell_rows(path) == []
    with pytest.raises(ValueError, match=r"cell\.jsonl is empty; the same `maebench run` makes it again"):
        list(read_rows(path))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "cell.jsonl").write_bytes(b"\x80\x81\xff\n")
    with pytest.raises(ValueError, match=r"cell\.jsonl.* is not a result row of maebench"):
        list(read_rows(tmp_path / "cell.jsonl"))


KILLED = """
import sys
from pathlib import Path
from maebench.runs.records import write_whole
data = Path(sys.argv[1]).read_bytes()
for number in range(1000):
    print(number, flush=True)
    write_whole(Path(sys.argv[2]) / f"{number % 2}.jsonl", data)
"""


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.012])
def test_a_killed_writer_leaves_no_broken_file(tmp_path: Path, delay: float) -> None:
    source, results = tmp_path / "source", tmp_path / "results"
    write_rows(source, [ROW] * 20)
    data = source.read_bytes() * 1500  # large enough that the kill falls into a write
    source.write_bytes(data)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(source), str(results)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        while writer.stdout.readline() != "3\n":
            assert writer.poll() is None
        time.sleep(delay)
        writer.kill()
    files = list(results.glob("*.jsonl"))
    assert len(files) == 2
    assert all(path.read_bytes() == data for path in files)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from maebench.runs.records import write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_whole(Path(sys.argv[1]), b"new" * 1000)
"""


def test_a_write_that_breaks_off_keeps_the_old_file_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "cell.jsonl"
    write_whole(path, b"old")
    writer = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True)
    assert "OSError" in writer.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
