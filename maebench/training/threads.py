"""How many threads torch may use, known before it is imported: what was asked for, else the cores of this process.

Ours: threads that were not asked for sleep while they wait (OMP_WAIT_POLICY=passive). OpenMP's own way, to spin, is the
fastest for who has the cores alone, and slows everyone by tens of times where two processes have the same cores.
"""

import math
import os
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

NUMBER = "OMP_NUM_THREADS"
OWN = "MAEBENCH_OWN_THREADS"  # what NUMBER was set to here, which is no choice of the user
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
MARGIN = 0.15  # fewer threads are taken where they are as fast but for this share. Ours
SECONDS = 1.0  # of a trial; one step of each number of threads at least


@dataclass(frozen=True)
class Allowance:
    """The threads of this process."""

    cores: int
    """that it may use"""
    number: int | None
    """of threads; None where a trial of the work itself is to choose it"""
    why: str = ""
    """what chose it"""


def prepare(given: int | None, environ: MutableMapping[str, str] = os.environ, root: Path = Path("/")) -> Allowance:
    """Set in `environ` what torch reads when it is imported: `given` threads, else the user's number, else the cores.

    Of several processes on one machine, as torchrun starts them, each has an equal share. Raises ValueError for an
    OMP_NUM_THREADS that is no number.
    """
    here, processes = cores(root), _processes(environ)
    if given:
        put(given, environ)
        return Allowance(here, given, "--threads")
    if (said := environ.get(NUMBER)) and said != environ.get(OWN) and not _by_torchrun(environ):
        number = said.partition(",")[0].strip()  # a list has a number for each level of nesting
        if not (number.isdecimal() and int(number)):
            raise ValueError(f"{NUMBER}={said}: is no number of threads; set it to 1 or more, or unset it")
        return Allowance(here, int(number), NUMBER)
    share = max(1, here // processes)
    put(share, environ)
    if not any(environ.get(name) for name in WAITING):
        environ["OMP_WAIT_POLICY"] = "passive"
    if processes > 1:
        return Allowance(here, share, f"{processes} processes share them")
    return Allowance(here, None) if here > 1 else Allowance(here, 1, "there are no more")


def put(number: int, environ: MutableMapping[str, str] = os.environ) -> None:
    """Set the number for every library with threads of its own that is imported from now on."""
    environ[NUMBER] = environ[OWN] = str(number)


def _processes(environ: MutableMapping[str, str]) -> int:
    number = environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(number)) if number.isdecimal() else 1


def _by_torchrun(environ: MutableMapping[str, str]) -> bool:
    """Whether the number is torchrun's, which says 1 where the user has said nothing."""
    return "TORCHELASTIC_RUN_ID" in environ and _processes(environ) > 1 and environ.get(NUMBER) == "1"


def cores(root: Path = Path("/")) -> int:
    """The cores that this process may use: by its affinity mask, and by the CPU quota of its control groups.

    Ours: a quota is rounded up. Two threads make full use of 1.5 cores, each at work three quarters of the time; a
    single one does not.
    """
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(mask, quota(root))))


def quota(root: Path = Path("/")) -> float:
    """The least CPU quota, in cores, of the control groups that hold this process, of version 1 or 2; else infinity.

    In a container the path of a group may be the host's and what is mounted the group itself: every level counts.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    found = [math.inf]
    for line in lines:  # number:controllers:path; version 2 names no controllers
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = path.strip("/").split("/")
        for mount in (controllers, "cpu") if controllers else ("",):
            top = root / "sys/fs/cgroup" / mount
            found += [_quota(top.joinpath(*parts[:depth])) for depth in range(len(parts) + 1)]
    return min(found)


def _quota(group: Path) -> float:
    """The quota of one control group in cores; infinity where it has none, or none that can be read."""
    try:
        if (file := group / "cpu.max").exists():
            most, period = map(int, file.read_text().split())
        else:
            most, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    except (OSError, ValueError):  # "max" is no number either
        return math.inf
    return most / period if most > 0 and period > 0 else math.inf


def numbers(cores: int) -> list[int]:
    """The numbers of threads that a trial compares: 1, 2, 4 and so on, and all cores."""
    return [*(2**power for power in range((cores - 1).bit_length())), cores]


def trial(step: Callable[[], object], cores: int, set_threads: Callable[[int], None]) -> dict[int, float]:
    """The median seconds of `step` with each number of threads, in turns, so that what else runs meets all alike."""
    seconds: dict[int, list[float]] = {number: [] for number in numbers(cores)}
    for number in seconds:
        set_threads(number)
        step()  # warm up
    end = time.perf_counter() + SECONDS
    while not all(seconds.values()) or time.perf_counter() < end:
        for number, spent in seconds.items():
            set_threads(number)
            start = time.perf_counter()
            step()
            spent.append(time.perf_counter() - start)
    return {number: median(spent) for number, spent in seconds.items()}


def fewest(seconds: dict[int, float]) -> int:
    """The fewest threads whose rate of steps is within MARGIN of the highest."""
    most = max(1 / spent for spent in seconds.values())
    return min(number for number, spent in seconds.items() if 1 / spent >= (1 - MARGIN) * most)
