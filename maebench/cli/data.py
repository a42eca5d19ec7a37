"""`maebench data fetch | verify`: the data sets behind a benchmark."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import typer

from maebench.cli.options import EPILOG, Plugins, Root, Settings, out_console, settings_of
from maebench.plugins import ask, find, load, plugins_folder
from maebench.training.threads import prepare

LINES = 20  # Ours: classes that verify lists one by one

app = typer.Typer(no_args_is_help=True, help="Fetch or verify a data set.", epilog=EPILOG)


@app.command(epilog=EPILOG)
def fetch(name: str, data_root: Root = Path("data"), plugins: Plugins = None) -> None:
    """Download a data set into the data root, or say how to get it."""
    module = load(find("datasets", name, plugins_folder(plugins)))
    if not hasattr(module, "fetch"):
        out_console.print(f"{name}: {getattr(module, 'HOW_TO_GET', 'is generated, nothing to fetch')}", markup=False)
        return
    module.fetch(data_root)


@app.command(epilog=EPILOG)
def verify(
    name: str,
    data_root: Root = Path("data"),
    plugins: Plugins = None,
    settings: Settings = None,
) -> None:
    """Load all splits of a data set and print their sizes, checksums and classes."""
    prepare(None)
    from maebench.data.reading.splits import class_counts, load_splits
    from maebench.runs import provenance
    from maebench.runs.config import full_settings

    found = find("datasets", name, plugins_folder(plugins))
    full = full_settings(found, settings_of(settings), "--set")
    splits = load_splits(found, full, data_root)
    for split, loaded in splits.items():
        shape = " x ".join(map(str, loaded.images.shape))
        targets = ", ".join(loaded.targets)
        out_console.print(f"{split:5}  {shape}  {targets}  sha256 {provenance.checksum(loaded)}", soft_wrap=True)
    if "label" in found.constants["TARGETS"]:
        module = load(found)
        names = ask(module.class_names, {"root": data_root, **full}) if hasattr(module, "class_names") else ()
        for line in _classes({split: class_counts(loaded) for split, loaded in splits.items()}, names):
            out_console.print(line, soft_wrap=True, markup=False, highlight=False)


def _classes(counts: Mapping[str, Mapping[int, int]], names: Sequence[str]) -> Iterator[str]:
    """How many images of each class each split has: a line a class, or one line where the classes are many."""
    labels = sorted(set().union(*counts.values()))
    if len(labels) > LINES:
        each = {split: [count.get(label, 0) for label in labels] for split, count in counts.items()}
        ranges = (f"{split} {min(some)} to {max(some)}" for split, some in each.items())
        yield f"{len(labels)} classes, images of each: {', '.join(ranges)}"
        return
    yield f"{len(labels)} classes, images in {' / '.join(counts)}:"
    for label in labels:
        name = names[label] if label < len(names) else label
        yield f"  {name}  {' / '.join(str(count.get(label, 0)) for count in counts.values())}"
