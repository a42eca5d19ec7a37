"""The frame around the figures: claims, what is written, what is done again, and the page that collects them."""

import dataclasses
import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from builders.commands import ROOT, call
from rich.console import Console

from maebench.papers import drawing, page, scales
from maebench.papers.claims import Finding, Mean, by_choice, gap, mean
from maebench.papers.experiments import Experiments
from maebench.papers.reproduce import FigureModule, chosen, every, reproduce
from maebench.runs import config
from maebench.runs.progress import Progress
from maebench.runs.runner import Runner

EVERY = every()


def judge(table):
    values = dict(enumerate(table["value"]))
    step = gap(values, dict.fromkeys(values, 1.0))
    return {"above": Finding(step.positive, str(step))}


def draw(table):
    figure, ((panel,),) = drawing.sheet(1, 1)
    drawing.lines(panel, table.assign(kind="a"), "part", "value", "kind")
    drawing.dress(panel, "values", "part", "value")
    return {"values": figure}


def table():
    return pd.DataFrame({"part": [0, 1, 2], "value": [2.0, 2.5, 2.2]})


GOOD = FigureModule("good", "Values", ("1",), {"above": "Values are above 1."}, ("Ours.",), table, judge, draw, "v1")


@pytest.fixture
def experiments(tmp_path):
    progress = Progress(Console(quiet=True))
    return Experiments(Runner(tmp_path / "out/runs", tmp_path, None, torch.device("cpu"), progress, "test"))


def carry_out(one, experiments, tmp_path):
    return reproduce([one] if isinstance(one, FigureModule) else one, experiments, "quick", tmp_path / "out", "test")


def written(tmp_path, name="good"):
    return json.loads((tmp_path / "out" / name / "findings.json").read_text())


def test_the_same_figure_is_made_once_and_again_when_its_code_changes(experiments, tmp_path):
    assert carry_out(GOOD, experiments, tmp_path) == []
    names = ("table.csv", "values.png", "values.svg", "findings.json")
    files = [tmp_path / "out/good" / name for name in names]
    first = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    assert written(tmp_path)["findings"]["above"]["verdict"] == "holds"
    assert carry_out(GOOD, experiments, tmp_path) == []
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == first
    carry_out(dataclasses.replace(GOOD, source="v2"), experiments, tmp_path)
    again = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    assert all(new[1] > old[1] for new, old in zip(again, first, strict=True))
    assert [new[0] for new in again[:3]] == [old[0] for old in first[:3]], "the same table gives the same bytes"


def test_missing_data_is_not_run_and_tried_again(experiments, tmp_path):
    def missing(experiments):
        return pd.DataFrame({"part": [0], "value": [len(experiments.splits("cifar10", {})["train"].images)]})

    (line,) = carry_out(dataclasses.replace(GOOD, compute=missing), experiments, tmp_path)
    assert line.startswith("good: cifar10: no CIFAR-10 under")
    assert not (tmp_path / "out/good/failed.txt").exists(), "no data is no fault of the code"
    finding = written(tmp_path)["findings"]["above"]
    assert finding["verdict"] == "not run"
    assert "no CIFAR-10 under" in finding["number"]
    assert carry_out(GOOD, experiments, tmp_path) == []
    assert written(tmp_path)["findings"]["above"]["verdict"] == "holds"


def test_a_figure_that_crashes_is_told_and_the_next_goes_on(experiments, tmp_path):
    def crash():
        raise ZeroDivisionError("by nought")

    bad = dataclasses.replace(GOOD, name="bad", compute=crash)
    (line,) = carry_out([bad, GOOD], experiments, tmp_path)
    assert line == "bad: ZeroDivisionError: by nought"
    assert "by nought" in (tmp_path / "out/bad/failed.txt").read_text()
    assert written(tmp_path, "bad")["findings"]["above"]["verdict"] == "not run"
    assert written(tmp_path)["findings"]["above"]["verdict"] == "holds"
    assert carry_out(dataclasses.replace(GOOD, name="bad"), experiments, tmp_path) == []
    assert not (tmp_path / "out/bad/failed.txt").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"findings": 3}', '{"findings": {}}'])
def test_a_damaged_file_is_named(experiments, tmp_path, text):
    carry_out(GOOD, experiments, tmp_path)
    (tmp_path / "out/good/findings.json").write_text(text)
    with pytest.raises(ValueError, match=r"findings\.json: is damaged; remove it"):
        carry_out(GOOD, experiments, tmp_path)


def test_weights_that_are_gone_or_damaged_are_named_and_never_taken_for_untrained(experiments):
    asked = {
        "tracks": [{"dataset": {"scenes": {"train": 60, "val": 30, "test": 30, "size": 16}}, "tasks": []}],
        "variants": [{"vit_mae": {"width": 16, "depth": 1, "heads": 2, "decoder_width": 16, "decoder_heads": 2}}],
        "masks": {"strategy": "uniform", "ratio": 0.75},
        "pretrain": {"steps": 4, "batch": 16, "probe_every": 2},
    }
    floor, (run, states) = experiments.trained(asked)
    assert (list(floor[1]), list(states)) == ([0], [2, 4])
    for name in ("weights.step2.pt", "weights.pt"):
        path = experiments.runner.out / run.run_id / name
        for harm in (lambda path: path.write_bytes(b""), Path.unlink):
            harm(path)
            with pytest.raises(ValueError, match=rf"{name}.*; remove .*{run.run_id}, then the same command"):
                list(experiments.trained(asked))


def test_a_full_disk_ends_it_all(experiments, tmp_path):
    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        carry_out(dataclasses.replace(GOOD, compute=full), experiments, tmp_path)


def test_the_page_has_every_claim_and_escapes_what_it_is_given(experiments, tmp_path):
    claims = {"above": "Values <script>alert(1)</script> | are above 1."}
    carry_out(dataclasses.replace(GOOD, claims=claims, choices=("*ours* <b>",)), experiments, tmp_path)
    shown = page.read_figures(tmp_path / "out", ["good", "never made"])
    assert [one.name for one in shown] == ["good"]
    markdown, html = (path.read_text() for path in page.write_page(shown, tmp_path / "out"))
    assert "<script>alert" not in html + markdown
    assert "<b>" not in html
    assert "**holds**" in markdown
    assert "![Values](good/values.png)" in markdown
    assert html.count("data:image/png;base64,") == 1


@pytest.mark.parametrize("one", EVERY.values(), ids=EVERY)
def test_every_figure_says_what_it_is(one):
    assert one.title, "the first docstring line is the title"
    assert one.figures
    assert one.claims
    for text in (*one.claims.values(), *one.choices):
        assert text.endswith("."), text


def test_figures_are_found_by_name_and_number():
    first = next(iter(EVERY.values()))
    assert chosen([], EVERY) == list(EVERY.values())
    assert chosen([first.name, *first.figures], EVERY) == [first]
    with pytest.raises(LookupError, match="no figure is called 'influense'; did you mean 'influence'"):
        chosen(["influense"], EVERY)
    numbers = [word for one in EVERY.values() for word in one.figures]
    assert len(numbers) == len(set(numbers)), "a number names one figure"


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("reproduce", "ninety") == 2
    assert "no figure is called 'ninety'" in capsys.readouterr().err
    assert call("reproduce", "3", "--out", "r", "--device", "cpu", "--data-root", "none") == 1
    assert "1 of 1 figures could not be made, the first: autocorrelation: cifar10: no" in capsys.readouterr().err
    assert call("reproduce", "4", "--out", "r", "--device", "cpu") == 0
    shown = capsys.readouterr()
    assert "boundar" in shown.out
    assert "r/reproduction.html" in shown.out.replace("\n", "")
    assert call("reproduce", "ising", "--out", "r", "--device", "cpu") == 0
    assert "done before" in capsys.readouterr().err


def test_a_difference_counts_where_it_is_sure():
    assert gap({0: 3.0, 1: 3.1, 2: 2.9}, {0: 1.0, 1: 1.1, 2: 0.9}) == Mean(2.0, pytest.approx(0, abs=1e-12), 3)
    assert mean([1.0, 1.2, 1.1]).positive == "holds"
    assert mean([1.0, -0.9, 0.2]).positive == "does not hold"
    assert mean([-1.0, -1.1]).positive == "does not hold"
    assert mean([5.0]).positive == "does not hold", "one value alone shows nothing"
    edge = 6.3138  # Student's t for one degree of freedom at 95%
    assert mean([edge + 0.01 - 1, edge + 0.01 + 1]).positive == "holds"
    assert mean([edge - 0.01 - 1, edge - 0.01 + 1]).positive == "does not hold"
    assert mean([1.0, 3.0]).error == pytest.approx(math.sqrt(2) / math.sqrt(2))


def test_the_first_choice_speaks_and_the_others_are_counted():
    found = by_choice({"k = 64": ("holds", "3"), "k = 16": ("does not hold", "-1")})
    assert found == Finding(
        "holds",
        "3 [k = 64]; holds for 1 of 2 choices",
        {"k = 64": "holds: 3", "k = 16": "does not hold: -1"},
    )
    assert by_choice({"k = 64": ("holds", "3")}) == Finding("holds", "3")


def test_the_full_scale_is_that_of_the_source_papers_config():
    settings = config.read_config(ROOT / "configs/source_paper.yaml")
    (vit,) = settings.variants
    assert scales.VIT["full"].items() <= vit.settings.items()
    assert scales.PRETRAIN["full"].items() <= settings.pretrain.budget().content().items()
    tune = next(task for task in settings.tracks[0].tasks if task.name == "fine_tune")
    assert scales.TUNE["full"].items() <= tune.settings.items()


@pytest.mark.parametrize("terminal", [True, False])
def test_runs_within_figures_are_counted_by_themselves(terminal):
    """A figure's own runs have a bar and a count of their own, after which that of the figures goes on."""
    text = io.StringIO()
    progress = Progress(Console(file=text, force_terminal=terminal, width=100))
    with progress.of(2):
        progress.finish_run("first figure")
        with progress.of(3):
            progress.finish_run("its run")
        progress.finish_run("second figure")
    shown = text.getvalue()
    assert "[1/2] first figure" in shown
    assert "[1/3] its run" in shown
    assert "[2/2] second figure" in shown
