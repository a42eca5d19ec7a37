"""The folder of one run: lock, weights, guesses."""

import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.plugins import WITHOUT_LOCKS

from maebench.runs.folder import Checkpoints, RunFolder, load_tensors, save_guess, save_tensors, unlocked
from maebench.seeding import stream

HOLDER = """
import sys
from pathlib import Path
from maebench.runs.folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock() as mine:
    print(mine, flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of tmp_path / "run"."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_a_lock_of_another_process_is_seen_and_dies_with_it(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with RunFolder(tmp_path / "run").lock() as mine:
        assert not mine
    with RunFolder(tmp_path / "other").lock() as mine:
        assert mine
    holder.kill()
    assert holder.wait() == -signal.SIGKILL
    with RunFolder(tmp_path / "run").lock() as mine:
        assert mine


def test_a_lock_is_let_go_after_use_and_after_an_error(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run").lock() as mine, RunFolder(tmp_path / "run").lock() as again:
        assert mine
        assert not again
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "run").lock():
        raise ZeroDivisionError
    with RunFolder(tmp_path / "run").lock() as mine:
        assert mine


REFUSED = """
import errno, sys
from pathlib import Path
from maebench.runs.folder import RunFolder, unlocked
folder = Path(sys.argv[1])
refuse(getattr(errno, sys.argv[2]))
with RunFolder(folder / "run").lock() as mine, RunFolder(folder / "run").lock() as again:
    print(mine, again, unlocked(folder))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the error is the kernel's own")
@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_without_locks_work_goes_on_and_the_folder_is_named(tmp_path: Path, error: str) -> None:
    command = [sys.executable, "-c", WITHOUT_LOCKS + REFUSED, str(tmp_path), error]
    done = subprocess.run(command, capture_output=True, text=True)
    line = f"{tmp_path} is on a file system without locks; let one command at a time work in it"
    assert (done.stdout, done.stderr) == (f"True True {[line]}\n", "")
    assert unlocked(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.skipif(sys.platform != "linux", reason="the error is the kernel's own")
def test_another_failure_of_a_lock_names_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_LOCKS + REFUSED, str(tmp_path), "EIO"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"cannot be locked (Input/output error): '{tmp_path}/run/.lock'" in done.stderr.splitlines()[-1]


def test_tensors_and_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    weights = {
        "matrix": torch.randn(3, 4, generator=stream(0)),
        "view": torch.randn(100, generator=stream(1))[10:20:2],
        "count": torch.tensor(7),
        "half": torch.randn(5, generator=stream(2)).half(),
    }
    training = {"seconds": {"train": 1.5}, "loss": None, "name": "x", "steps": 3, "rates": [1.0, 2.0]}
    save_tensors(tmp_path / "new" / "weights.pt", {"weights": weights, "training": training})
    loaded = load_tensors(tmp_path / "new" / "weights.pt")
    assert loaded["training"] == training
    assert loaded["weights"].keys() == weights.keys()
    for name, weight in weights.items():
        assert loaded["weights"][name].dtype == weight.dtype
        assert torch.equal(loaded["weights"][name], weight)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights.pt"]


class Intruder:
    """Would write a file as soon as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"weights": {}, "training": {"loss": Intruder(trace)}}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="is damaged"):
        load_tensors(tmp_path / "weights.pt")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Intruder(trace)))
    assert trace.exists()  # so the intruder is a real one


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def flip_one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(MARK.numpy().tobytes()) + 40] ^= 1
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


MARK = torch.randn(50, 50, generator=stream(0, "mark"))


@pytest.mark.parametrize("harm", [cut, flip_one_bit, empty])
def test_a_damaged_file_is_refused(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    path = tmp_path / "weights.pt"
    save_tensors(path, {"matrix": MARK})
    assert torch.equal(load_tensors(path)["matrix"], MARK)
    harm(path)
    with pytest.raises(ValueError, match=r"weights\.pt.* damaged"):
        load_tensors(path)


def test_the_newest_whole_checkpoint_is_used(tmp_path: Path) -> None:
    said: list[str] = []
    keep = Checkpoints(RunFolder(tmp_path), 60, said.append)
    assert keep.latest() is None
    for step in range(3):
        keep.save({"step": step, "weights": MARK})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]
    assert keep.latest()["step"] == 2  # type: ignore[index]
    assert said == []
    flip_one_bit(keep.folder.checkpoints[0])
    assert keep.latest()["step"] == 1  # type: ignore[index]
    assert len(said) == 1
    assert "checkpoint.pt" in said[0]
    assert (tmp_path / "checkpoint.damaged").exists()
    cut(keep.folder.checkpoints[1])
    assert keep.latest() is None
    assert len(said) == 2
    keep.save({"step": 3})
    keep.clear()
    assert keep.latest() is None


@pytest.mark.parametrize("gone", [0, 1])
def test_a_kill_between_two_checkpoints_leaves_one(tmp_path: Path, gone: int) -> None:
    keep = Checkpoints(RunFolder(tmp_path), 60)
    keep.save({"step": 1})
    keep.save({"step": 2})
    keep.folder.checkpoints[gone].unlink()
    assert keep.latest() == {"step": 1 if gone == 0 else 2}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.int64, torch.bool])
def test_guesses_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype) -> None:
    guess = torch.randn(5, 2, generator=stream(0)).to(dtype)
    save_guess(tmp_path / "cell.npz", guess)
    with np.load(tmp_path / "cell.npz", allow_pickle=False) as file:
        assert torch.equal(torch.from_numpy(file["guess"]), guess)
