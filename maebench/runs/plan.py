"""Config -> the runs it asks for, each with a hash of what makes its encoder. Pure, and starts without torch."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maebench.declaration import TAUGHT, Declaration, Kind
from maebench.plugins import find, names
from maebench.runs.config import Config, Masks, Named, Pretrain, Track, full_settings
from maebench.runs.records import ratio_words
from maebench.training.budget import FITTED, UNTRAINED, Budget, Ratio

TRAINING = 2
"""Version of all that the core does to an encoder: layers, order of the images, augmentation, optimiser, loop.

Raise it with any change that gives the same run other weights; tests/golden/losses.json has the losses of each version.
"""


@dataclass(frozen=True)
class Plugin:
    """One plug-in with all its settings."""

    name: str
    settings: dict[str, Any]
    version: str
    """the declared VERSION, or for a variant or masking a hash of its code and of the files its settings name"""


@dataclass(frozen=True)
class EncoderSpec:
    """All that makes one encoder; nothing else may change its weights."""

    dataset: Plugin
    variant: Plugin
    masking: Plugin | None
    ratio: Ratio | None
    budget: Budget
    seed: int | None
    """None where nothing is random"""
    probe_every: int | None = None
    """steps between the snapshots that are probed"""
    training: int = TRAINING

    def content(self) -> dict[str, Any]:
        """As JSON: what its id is a hash of, and what lies in the run's folder."""
        return {**asdict(self), "budget": self.budget.content()}


@dataclass(frozen=True)
class RunSpec:
    """One encoder and the tasks asked of it."""

    encoder: EncoderSpec
    tasks: tuple[Plugin, ...]
    floor: bool

    @property
    def run_id(self) -> str:
        """12 hex digits of the SHA-256 of what makes the encoder; tasks are not in it: new ones reuse the weights."""
        return digest(self.encoder.content())[:12]

    @property
    def label(self) -> str:
        """The run in a few words, for people."""
        words = [self.encoder.dataset.name, self.encoder.variant.name]
        if self.encoder.masking:
            words.append(f"{self.encoder.masking.name} {ratio_words(self.encoder.ratio)}")
        if self.encoder.budget.untrained:
            words.append("untrained")
        if self.encoder.seed is not None:
            words.append(f"seed {self.encoder.seed}")
        return " ".join([*words, f"({self.run_id})"])


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def in_closed_form(found: Declaration, settings: Mapping[str, Any]) -> bool:
    """Whether a variant is fitted: it has a method `fit`, and no setting `fit` that says "gradient"."""
    return "fit" in found.methods and settings.get("fit") != "gradient"


def couples(found: Declaration, settings: Mapping[str, Any]) -> bool:
    """Whether the loss of an image depends on its batch mates, by the variant's COUPLED: True, or a setting's name."""
    declared = found.constants.get("COUPLED", False)
    return bool(settings[declared]) if isinstance(declared, str) else bool(declared)


def paints(found: Declaration, settings: Mapping[str, Any]) -> bool:
    """Whether a variant predicts pixels, by its PAINTS: False, or {setting: values with which it does}."""
    declared = found.constants.get("PAINTS", {})
    return declared is not False and all(settings[name] in values for name, values in declared.items())


def version(declaration: Declaration, settings: Mapping[str, Any]) -> str:
    """What tells two states of a plug-in apart that go by one name: see `Plugin.version`."""
    if declaration.kind in ("tasks", "datasets"):
        return str(declaration.constants["VERSION"])
    total = hashlib.sha256(declaration.source.encode())
    for name, (annotation, _) in declaration.settings.items():
        if "File" in annotation:
            given = settings[name]
            for path in [given] if isinstance(given, str) else given or ():
                total.update(_content(Path(path)))
    return total.hexdigest()[:12]


def _content(path: Path) -> bytes:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            total.update(part)
    return total.digest()


def cell_name(task: Plugin) -> str:
    """The file stem of a task's cell: task@version, and a short hash of its settings where it has any."""
    return f"{task.name}@{task.version}" + (f"-{digest(task.settings)[:6]}" if task.settings else "")


def make(config: Config, where: str, plugins: Path | None = None) -> tuple[RunSpec, ...]:
    """All runs of a config: tracks x variants x masks x seeds, and an untrained floor per trainable variant and seed.

    `where` names the config in messages. Raises ValueError, one line, for a plug-in or setting that does not
    exist, a task whose target the data set lacks, a maskable variant without masks, micro-batches of one that
    compares images, or a memory that no masking has a teacher for.
    """
    specs = [
        RunSpec(encoder, _possible(tasks, encoder.variant, plugins), floor)
        for track in config.tracks
        for dataset, tasks in [_track(track, where, plugins)]
        for variant in config.variants
        for encoder, floor in _encoders(config, dataset, variant, where, plugins)
    ]
    if config.pretrain.memory and not any(spec.encoder.budget.memory for spec in specs):
        raise ValueError(
            f"{where}: pretrain.memory is that of a masking's teacher, and no masking here has one; leave it out"
        )
    merged: dict[str, RunSpec] = {}
    for spec in specs:  # two tracks on one data set share an encoder
        tasks = merged[spec.run_id].tasks if spec.run_id in merged else ()
        merged[spec.run_id] = replace(spec, tasks=(*tasks, *(task for task in spec.tasks if task not in tasks)))
    return tuple(merged.values())


def _find(kind: Kind, name: str, where: str, plugins: Path | None) -> Declaration:
    try:
        return find(kind, name, plugins)
    except (LookupError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def _plugin(declaration: Declaration, named: Named, where: str) -> Plugin:
    settings = full_settings(declaration, named.settings, where)
    return Plugin(named.name, settings, version(declaration, settings))


def _track(track: Track, where: str, plugins: Path | None) -> tuple[Plugin, tuple[Plugin, ...]]:
    dataset = _find("datasets", track.dataset.name, where, plugins)
    tasks = []
    for named in track.tasks:
        task = _find("tasks", named.name, where, plugins)
        if task.name == "cost":
            raise ValueError(
                f"{where}: {task.path}: a task cannot be called cost, as the costs of a run are; rename it"
            )
        needs = task.constants["NEEDS"]
        if needs is not None and needs not in dataset.constants["TARGETS"]:
            others = [
                name for name, one in names("datasets", plugins).items() if needs in one.constants.get("TARGETS", ())
            ]
            raise ValueError(
                f"{where}: task {named.name} needs the target '{needs}', which {track.dataset.name} lacks; "
                f"data sets that have it: {', '.join(others) or 'none'}"
            )
        tasks.append(_plugin(task, named, where))
    return _plugin(dataset, track.dataset, where), tuple(tasks)


def _possible(tasks: tuple[Plugin, ...], variant: Plugin, plugins: Path | None) -> tuple[Plugin, ...]:
    """The tasks without those that look at painted pixels, where the variant paints none."""
    if paints(find("variants", variant.name, plugins), variant.settings):
        return tasks
    return tuple(task for task in tasks if "masked" not in find("tasks", task.name, plugins).asks)


def _encoders(
    config: Config, dataset: Plugin, named: Named, where: str, plugins: Path | None
) -> Iterator[tuple[EncoderSpec, bool]]:
    found = _find("variants", named.name, where, plugins)
    variant = _plugin(found, named, where)
    if in_closed_form(found, variant.settings):
        yield EncoderSpec(dataset, variant, None, None, FITTED, None), bool(found.constants.get("FLOOR", False))
        return
    masks: list[tuple[Plugin | None, Ratio | None]] = [(None, None)]
    if "hide" in found.asks:
        if config.masks is None:
            raise ValueError(
                f"{where}: {named.name} hides patches, so the config needs `masks`: a strategy and a ratio"
            )
        masks = list(_masks(config.masks, found, config.pretrain, where, plugins))
    budget = config.pretrain.budget()
    if couples(found, variant.settings) and len(budget.micro_batches) > 1:
        raise ValueError(
            f"{where}: {named.name} compares the images of a batch with each other, so all must go through it at once; "
            "leave out pretrain.micro_batch, and use one process"
        )
    for seed in config.seeds:
        yield EncoderSpec(dataset, variant, None, None, UNTRAINED, seed), True
        for masking, ratio in masks:
            mine = budget if masking and _teaches(masking, plugins) else replace(budget, memory=None)
            yield EncoderSpec(dataset, variant, masking, ratio, mine, seed, config.pretrain.probe_every), False


def _teaches(masking: Plugin, plugins: Path | None) -> bool:
    """Whether a masking looks at a teacher: without one it has no use for `pretrain.memory`."""
    return bool(TAUGHT & find("maskings", masking.name, plugins).asks)


def _masks(
    masks: Masks, variant: Declaration, pretrain: Pretrain, where: str, plugins: Path | None
) -> Iterator[tuple[Plugin, Ratio]]:
    for named in masks.strategy:
        found = _find("maskings", named.name, where, plugins)
        if lacking := _lacking(found, variant):
            raise ValueError(f"{where}: masking {found.name} {lacking}")
        masking = _plugin(found, named, where)
        ratio: Ratio
        for ratio in masks.ratio:
            if isinstance(ratio, str) and pretrain.compile != "none":
                raise ValueError(
                    f"{where}: a masking ratio that changes ({ratio}) cannot be compiled; set pretrain.compile to none"
                )
            yield masking, ratio


def _lacking(masking: Declaration, variant: Declaration) -> str:
    """What a masking needs that a variant has not, in words; empty where they go together."""
    if masking.constants.get("COUNT") == "free" and "count" in variant.asks:
        return (
            f"hides no fixed number of patches, which {variant.name} counts on; use a variant that sees every position"
        )
    if "attention" in masking.asks and "attention" not in variant.methods:
        return f"asks for attention, but {variant.name} has no method `attention`; put one of them into another config"
    if "patch_loss" in masking.asks and "report" not in variant.asks:
        return f"learns from the error of each patch, but build of {variant.name} does not ask for `report`"
    return ""
