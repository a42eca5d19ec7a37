"""The threads of a command: the cores it may use, who chooses, the trial, and what a results folder keeps."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from builders.plugins import CPU, MASKED, RANDOM, config, write
from rich.console import Console

from maebench.runs.plan import make
from maebench.runs.progress import Progress
from maebench.runs.records import read_rows
from maebench.runs.runner import THREADS, Runner
from maebench.training import threads
from maebench.training.threads import Allowance, cores, fewest, numbers, prepare, quota, trial

GROUPS = {  # name -> the files of a machine, and the quota in cores
    "version 2": ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "150000 100000\n"}, 1.5),
    "version 2, as a container sees it": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
    "version 2, a group above has less": (
        {
            "proc/self/cgroup": "0::/pod/job\n",
            "sys/fs/cgroup/pod/job/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/pod/cpu.max": "300000 100000\n",
        },
        3.0,
    ),
    "version 2, the group is outside": (
        {"proc/self/cgroup": "0::/../../job\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2.0,
    ),
    "version 2, no limit": ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "max 100000\n"}, math.inf),
    "version 1": (
        {
            "proc/self/cgroup": "5:memory:/\n4:cpu,cpuacct:/job\n1:cpuset:/\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        },
        2.5,
    ),
    "version 1, mounted as cpu, the path the host's, the group itself the top": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n0::/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
        },
        2.0,
    ),
    "version 1, a group above has less": (
        {
            "proc/self/cgroup": "1:cpu:/a/b\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us": "800000\n",
            "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us": "100000\n",
        },
        1.0,
    ),
    "version 1, no limit": (
        {
            "proc/self/cgroup": "1:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        math.inf,
    ),
    "a quota of another controller": (
        {
            "proc/self/cgroup": "2:cpuset:/job\n",
            "sys/fs/cgroup/cpuset/job/cpu.cfs_quota_us": "100000",
            "sys/fs/cgroup/cpuset/job/cpu.cfs_period_us": "100000",
        },
        math.inf,
    ),
    "no control groups": ({}, math.inf),
    "a group without files": ({"proc/self/cgroup": "0::/job\n"}, math.inf),
    "nothing that can be read": (
        {"proc/self/cgroup": "what\n\n7\n0::/a\n0::/b\n0::/c", "sys/fs/cgroup/a/cpu.max": ""}
        | {"sys/fs/cgroup/b/cpu.max": "1 2 3", "sys/fs/cgroup/c/cpu.max": "100000 0"},
        math.inf,
    ),
}


def machine(folder: Path, files: dict[str, str]) -> Path:
    """A folder that looks like the root of a machine with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", GROUPS)
def test_the_quota_is_the_least_of_all_control_groups(tmp_path: Path, name: str) -> None:
    files, expected = GROUPS[name]
    root = machine(tmp_path, files)
    assert quota(root) == expected
    assert cores(root) == min(cores(tmp_path / "bare"), 99 if expected == math.inf else math.ceil(expected))


def python(code: str) -> list[str]:
    """The words that a fresh interpreter prints for this code, with no threads chosen."""
    clean = {name: value for name, value in os.environ.items() if name not in (threads.NUMBER, *threads.WAITING)}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity masks")
def test_the_affinity_mask_counts() -> None:
    code = "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])"
    assert python(f"{code}; from maebench.training.threads import cores; print(cores())") == ["1"]


def test_torch_follows_what_was_prepared_before_its_import() -> None:
    code = "from maebench.training.threads import prepare; prepare(1); import torch; print(torch.get_num_threads())"
    assert python(code) == ["1"]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The root of a machine whose quota is no less than one core and no more: 1."""
    return machine(tmp_path / "one", {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "90000 100000\n"})


def test_who_chooses(bare: Path) -> None:
    here = cores()
    for given, environ, allowance, number in (
        (3, {"OMP_NUM_THREADS": "5"}, Allowance(here, 3, "--threads"), "3"),
        (None, {"OMP_NUM_THREADS": "5"}, Allowance(here, 5, "OMP_NUM_THREADS"), "5"),
        (None, {"OMP_NUM_THREADS": " 4,2"}, Allowance(here, 4, "OMP_NUM_THREADS"), " 4,2"),
        (None, {"LOCAL_WORLD_SIZE": "99"}, Allowance(here, 1, "99 processes share them"), "1"),
        (
            None,
            {"LOCAL_WORLD_SIZE": str(here), "TORCHELASTIC_RUN_ID": "x", "OMP_NUM_THREADS": "1"},
            Allowance(here, 1, f"{here} processes share them" if here > 1 else "OMP_NUM_THREADS"),
            "1",
        ),
        (
            None,
            {"LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x", "OMP_NUM_THREADS": "7"},
            Allowance(here, 7, "OMP_NUM_THREADS"),
            "7",
        ),
    ):
        assert (prepare(given, environ), environ["OMP_NUM_THREADS"]) == (allowance, number)
        assert "OMP_WAIT_POLICY" not in environ or "LOCAL_WORLD_SIZE" in environ, "what is asked for may spin"
    environ = {}
    assert prepare(None, environ, bare) == Allowance(1, 1, "there are no more")
    assert environ == {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", threads.OWN: "1"}
    environ = {"GOMP_SPINCOUNT": "7"}
    assert prepare(None, environ) == (Allowance(here, None) if here > 1 else Allowance(1, 1, "there are no more"))
    assert {**environ, threads.OWN: ""} == {"GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": str(here), threads.OWN: ""}


def test_what_was_set_here_is_no_choice_of_the_user() -> None:
    environ: dict[str, str] = {}
    first = prepare(None, environ)
    assert prepare(7, environ).number == 7
    assert prepare(None, environ) == first
    assert prepare(None, {**environ, "OMP_NUM_THREADS": "8"}) == Allowance(first.cores, 8, "OMP_NUM_THREADS")


@pytest.mark.parametrize("value", ["two", "0", "-1", "1.5"])
def test_a_number_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=f"OMP_NUM_THREADS={value}: is no number of threads; set it to 1 or more"):
        prepare(None, {"OMP_NUM_THREADS": value})


def test_the_numbers_that_are_tried() -> None:
    assert [numbers(count) for count in (2, 3, 6, 8)] == [[1, 2], [1, 2, 3], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_the_fewest_threads_that_are_nearly_as_fast() -> None:
    assert fewest({1: 11.7, 2: 10.0}) == 1, "within 15 %"
    assert fewest({1: 11.8, 2: 10.0}) == 2
    assert fewest({1: 10.0, 2: 30.0}) == 1
    assert fewest({1: 40.0, 2: 21.0, 4: 11.0, 8: 10.0}) == 4
    assert fewest({1: 40.0, 2: 23.0, 4: 18.0, 8: 90.0}) == 4


def test_a_trial_takes_turns_and_a_stray_step_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "SECONDS", 0.3)
    taken: list[int] = []

    def step() -> None:
        time.sleep(0.1 if len(taken) in (1, 2, 5) else 0.02 / taken[-1])

    seconds = trial(step, 2, taken.append)
    assert taken == [1, 2] * (len(taken) // 2)
    assert len(taken) >= 2 * 4
    assert seconds[1] < 0.1
    assert fewest(seconds) == 2


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch's threads and the environment are put back, and a trial is short."""
    monkeypatch.setattr(threads, "SECONDS", 0.25)
    monkeypatch.setenv(threads.NUMBER, "1")
    monkeypatch.setenv(threads.OWN, "")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


IMAGES = '''"""Random pixels with a label."""
import torch
VERSION = 1
TARGETS = ("label",)

def load(split):
    from maebench.contracts import Split
    return Split(torch.arange(8 * 48).to(torch.uint8).view(8, 3, 4, 4), {"label": torch.arange(8) % 4})
'''
WAITS = MASKED.replace("import torch\n", "import time\nimport torch\n", 1).replace(
    "        hidden =", "        time.sleep({})\n        hidden =", 1
)
SLOW_ALONE = WAITS.format("0.06 / torch.get_num_threads()")
FAST_ALONE = WAITS.format("0.03 * torch.get_num_threads()")


class Said(Progress):
    """Keeps its lines."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)


def carry_out(folder: Path, allowance: Allowance | None, changes: dict[str, object]) -> tuple[list[str], set[object]]:
    """Run a config of toys -> what is said of threads, and what its records say of them."""
    progress = Said()
    runner = Runner(folder / "r", folder, folder, CPU, progress, "", threads=allowance)
    plan = {
        "tracks": [{"dataset": "toy_images", "tasks": []}],
        "seeds": [0],
        "masks": {"strategy": "toy_random", "ratio": 0.5},
    }
    runner.run(make(config({**plan, "variants": ["toy_masked"], **changes}), "c.yaml", folder))
    records = [row for path in folder.glob("r/*/cost@*.jsonl") for row in read_rows(path)]
    said = [line for line in progress.lines if line.startswith("threads: ")]
    return said, {record.provenance["threads"] for record in records}


@pytest.fixture
def plugins(tmp_path: Path, settled: None) -> Path:
    """A folder of plug-ins, one of them faster the more threads there are."""
    write(tmp_path, "datasets", "toy_images", IMAGES)
    write(tmp_path, "maskings", "toy_random", RANDOM)
    write(tmp_path, "variants", "toy_masked", SLOW_ALONE)
    return tmp_path


def test_a_trial_of_the_step_decides_and_the_folder_keeps_it(plugins: Path) -> None:
    said, recorded = carry_out(plugins, Allowance(2, None), {})
    assert (len(said), recorded) == (1, {2})
    assert said[0].startswith("threads: 2 of 2 cores (a step of toy_masked takes ")
    assert json.loads((plugins / "r" / THREADS).read_text()) == {"cores": cores(), "threads": 2}
    torch.set_num_threads(1)
    (plugins / "r" / THREADS).write_text('{"cores": 2, "threads": 2}')
    write(plugins, "variants", "toy_masked", FAST_ALONE)
    said, recorded = carry_out(plugins, Allowance(2, None), {"seeds": [1]})
    assert (said, recorded) == ([f"threads: 2 of 2 cores (as before in {plugins / 'r'})"], {2})
    for useless in ('{"cores": 4, "threads": 2}', "", "[]", "{}"):  # of another machine, or damaged
        (plugins / "r" / THREADS).write_text(useless)
        said, recorded = carry_out(plugins, Allowance(2, None), {"seeds": [2, len(useless) + 3]})
        assert said[0].startswith("threads: 1 of 2 cores (a step of toy_masked takes ")
        assert recorded == {1, 2}


def test_what_was_asked_for_is_taken_without_a_trial(plugins: Path) -> None:
    said, recorded = carry_out(plugins, Allowance(2, 3, "--threads"), {})
    assert (said, recorded) == (["threads: 3 of 2 cores (--threads)"], {3})
    torch.set_num_threads(1)
    said, recorded = carry_out(plugins, None, {"seeds": [1]})
    assert (said, recorded) == ([], {1, 3}), "a program that imports maebench has chosen its threads already"


def test_the_largest_step_is_tried_and_one_that_fails_spoils_its_own_run_alone(plugins: Path) -> None:
    broken = MASKED.replace("hidden = self.hide(", "raise ZeroDivisionError('boom')\n        hidden = self.hide(", 1)
    write(plugins, "variants", "toy_broken", broken)
    write(plugins, "variants", "toy_small", FAST_ALONE)
    said, recorded = carry_out(plugins, Allowance(2, None), {"variants": ["toy_broken"]})
    assert (said, recorded) == (["threads: 2 of 2 cores (nothing is trained step by step)"], {2})
    assert not (plugins / "r" / THREADS).exists(), "what was not tried is not kept"
    more = "torch.ones(9, 9) @ torch.ones(9, 9)\n        pixels = self.grey"
    write(plugins, "variants", "toy_large", FAST_ALONE.replace("pixels = self.grey", more, 1))
    said, _ = carry_out(plugins, Allowance(2, None), {"variants": ["toy_broken", "toy_large", "toy_masked"]})
    assert said[0].startswith("threads: 1 of 2 cores (a step of toy_large takes ")
