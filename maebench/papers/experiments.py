"""What a figure asks to be trained: a config in, tidy results and trained weights out, through the ordinary runner."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch

from maebench.contracts import Split, Variant, standardise
from maebench.leaderboard.frame import tidy, with_seeds
from maebench.plugins import find
from maebench.runs import plan
from maebench.runs.build import assemble
from maebench.runs.config import Config, full_settings
from maebench.runs.folder import load_tensors
from maebench.runs.plan import Plugin, RunSpec
from maebench.runs.progress import Progress
from maebench.runs.records import RunsFailed
from maebench.runs.runner import Runner
from maebench.runs.scoring.cost import COST
from maebench.seeding import stream

Floors = Literal["with", "without"]
IMAGES, BATCH = 1000, 250  # that a reconstruction error is measured on, and at a time


@dataclass(frozen=True)
class Experiments:
    """One results folder and the runs that are made in it when they are asked for."""

    runner: Runner

    @property
    def device(self) -> torch.device:
        """Where runs are carried out."""
        return self.runner.device

    @property
    def progress(self) -> Progress:
        """What a person sees meanwhile."""
        return self.runner.progress

    def splits(self, name: str, settings: Mapping[str, Any]) -> dict[str, Split]:
        """train, val and test of a data set. Raises LookupError where its archive is not in the data root."""
        declaration = find("datasets", name, self.runner.plugins)
        full = full_settings(declaration, settings, "reproduce")
        return self.runner.splits(Plugin(name, full, str(declaration.constants["VERSION"])))[0]

    def specs(self, config: Mapping[str, Any], floors: Floors = "with") -> tuple[RunSpec, ...]:
        """The runs of a config, written as in YAML, all complete. Raises RunsFailed where a cell failed."""
        specs = plan.make(Config.model_validate(config), "reproduce", self.runner.plugins)
        specs = tuple(spec for spec in specs if floors == "with" or not spec.floor)
        before = len(self.runner.failures)
        self.runner.run([spec for spec in specs if self.runner.missing(spec)])
        if failures := self.runner.failures[before:]:
            raise RunsFailed(f"{len(failures)} cells failed, the first: {failures[0]}")
        return specs

    def table(self, config: Mapping[str, Any], floors: Floors = "with") -> pd.DataFrame:
        """Carry out a config -> the tidy rows of its cells, one a metric.

        Columns of `leaderboard.tidy`, with each setting of the variants a column of its own name, and those of the
        masking strategies as masking_<name>.
        """
        cells = {
            (spec.run_id, task.name, json.dumps(task.settings, sort_keys=True))
            for spec in self.specs(config, floors)
            for task in (COST, *spec.tasks)
        }
        frame, _ = tidy(self.runner.out)
        of_rows = zip(frame["run_id"], frame["task"], frame["task_settings"], strict=True)
        frame = frame[[cell in cells for cell in of_rows]].reset_index(drop=True)
        settings = pd.DataFrame([json.loads(text) for text in frame["settings"]])
        hiding = pd.DataFrame([json.loads(text) for text in frame["masking_settings"]]).add_prefix("masking_")
        new = [name for name in settings.columns if name not in frame]
        table: pd.DataFrame = pd.concat([frame, settings[new], hiding], axis=1)
        return table

    def trained(
        self, config: Mapping[str, Any], floors: Floors = "with"
    ) -> Iterator[tuple[RunSpec, dict[int, Variant]]]:
        """Carry out a config -> each run, with step -> the variant then, in evaluation mode.

        Steps are those of the snapshots of `probe_every` and, last, the end; an untrained floor has step 0 alone.
        """
        for spec in self.specs(config, floors):
            states = {0: None} if spec.encoder.budget.untrained else self._weights(spec)
            yield spec, {step: self._built(spec, weights) for step, weights in states.items()}

    def _weights(self, spec: RunSpec) -> dict[int, Any]:
        """Step -> the weights of a run then. Raises ValueError where a file of them is damaged or gone."""
        folder = self.runner.folder(spec)
        try:
            final = load_tensors(folder.weights)
            snapshots = sorted(final["training"]["snapshots"])
            states = {step: load_tensors(folder.snapshot(step))["weights"] for step in snapshots}
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{error}; remove {folder.path}, then the same command trains it again") from None
        return {**states, final["training"]["steps"]: final["weights"]}

    def errors(self, config: Mapping[str, Any]) -> pd.DataFrame:
        """Carry out a config -> run_id, seed, step, error of each trained run: the loss on test images, by snapshot.

        Ours: 1,000 images, whose masks are the same for all runs of one patch and ratio. An untrained floor has none.
        """
        rows: list[dict[str, Any]] = []
        for spec, states in self.trained(config, "without"):
            images = self.runner.splits(spec.encoder.dataset)[0]["test"].images[:IMAGES]
            parts = list(enumerate(torch.split(standardise(images.to(self.device)), BATCH)))
            for step, variant in states.items():
                losses = [float(variant.loss(part, stream(0, "errors", i))) for i, part in parts]
                about = {"run_id": spec.run_id, "seed": spec.encoder.seed, "step": step}
                rows.append({**about, "error": sum(losses) / len(losses)})
        return with_seeds(pd.DataFrame(rows), [row["seed"] for row in rows])

    def _built(self, spec: RunSpec, weights: Mapping[str, Any] | None) -> Variant:
        dataset = spec.encoder.dataset
        channels, height, width = self.runner.splits(dataset)[0]["train"].images.shape[1:]
        variant = assemble(spec.encoder, (channels, height, width), self.runner.plugins)
        if weights is not None:
            variant.load_state_dict(weights)
        return variant.to(self.device).eval().requires_grad_(False)


def values(table: pd.DataFrame, task: str, metric: str) -> "pd.Series[float]":
    """Rows of `Experiments.table` -> run_id -> the metric of a task."""
    rows = table[(table["task"] == task) & (table["metric"] == metric)]
    by_run: pd.Series[float] = rows.set_index("run_id")["value"]
    return by_run
