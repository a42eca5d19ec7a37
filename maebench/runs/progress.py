"""What a person sees while the work goes on: a bar with an ETA on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text


class Progress:
    """Messages and bars on standard error; results alone go to standard output."""

    def __init__(self, console: Console) -> None:
        self.console, self.total, self.done, self.start = console, 0, 0, 0.0
        self.live: Bars | None = None
        self.runs = TaskID(0)

    def line(self, text: str) -> None:
        """One line, whatever the output is."""
        self.console.print(Text(text), soft_wrap=True)

    def finish_run(self, text: str) -> None:
        """One more run is done."""
        self.done += 1
        if self.live:
            self.live.update(self.runs, completed=self.done)
        spent = time.perf_counter() - self.start
        left = spent / self.done * (self.total - self.done)
        self.line(
            f"[{self.done}/{self.total}] {text}" + (f"  (about {left:.0f} s left)" if self.done < self.total else "")
        )

    @contextmanager
    def steps(self, text: str) -> Iterator[Callable[[int, int], None]]:
        """A bar for one training; gives the function to call with what is done, and of how much."""
        if self.live is None:
            yield lambda done, of: None
            return
        task = self.live.add_task(text, total=None)
        yield lambda done, of: self.live.update(task, completed=done, total=of) if self.live else None
        self.live.remove_task(task)

    @contextmanager
    def of(self, total: int) -> Iterator[None]:
        """Report on `total` runs for as long as this lasts; inside another such report, in a bar of its own."""
        outer = self.total, self.done, self.start, self.runs
        self.total, self.done, self.start = total, 0, time.perf_counter()
        try:
            if not self.console.is_terminal:
                yield
            elif self.live:
                self.runs = self.live.add_task("runs", total=total)
                yield
                self.live.remove_task(self.runs)
            else:
                columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
                with Bars(*columns, TimeRemainingColumn(), console=self.console, transient=True) as self.live:
                    self.runs = self.live.add_task("runs", total=total)
                    yield
                self.live = None
        finally:
            self.total, self.done, self.start, self.runs = outer
