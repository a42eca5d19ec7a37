"""The published boards say what their records say, and hold nothing else."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from builders.commands import ROOT

PACKED = sorted((ROOT / "boards").glob("*/records.tar.xz"))


@pytest.mark.parametrize("packed", PACKED, ids=lambda path: path.parent.name)
def test_the_page_has_the_tables_of_its_records(tmp_path: Path, packed: Path) -> None:
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".jsonl", ".npz"}
    command = [sys.executable, ROOT / "benchmarks/zoo_claims.py", tmp_path / packed.parent.name]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    page = (ROOT / "boards/README.md").read_text().splitlines()
    assert [line for line in said if line.startswith("| `") and line not in page] == []
    assert len(said) > 40
