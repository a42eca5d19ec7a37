"""The frame around the figures: claims, what is written, what is done again, and the page that collects them."""

import dataclasses
import io
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from builders.commands import ROOT, call
from rich.console import Console

from maebench.papers import drawing, keys, page, scales
from maebench.papers.claims import Finding, gap
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


SOURCE = '''"""Values"""
import math

CLAIMS = {"above": "Values are above 1."}
COUNT, BOUND = 3, 1.0
START = COUNT - 1

def compute():
    """Rows: part, value."""
    return [value(part) for part in range(START)]

def value(part):
    return 2 + part  # half

def judge(table):
    return gap(table, BOUND)
'''
CLAIMS = {"above": "Values are above 1."}
GOOD = FigureModule("good", "Values", ("1",), CLAIMS, ("Ours.",), table, judge, draw, SOURCE)


@pytest.fixture
def experiments(tmp_path):
    progress = Progress(Console(quiet=True))
    return Experiments(Runner(tmp_path / "out/runs", tmp_path, None, torch.device("cpu"), progress, "test"))


def carry_out(one, experiments, tmp_path):
    return reproduce([one] if isinstance(one, FigureModule) else one, experiments, "quick", tmp_path / "out", "test")


def written(tmp_path, name="good"):
    return json.loads((tmp_path / "out" / name / "findings.json").read_text())


FILES = ("table.csv", "values.png", "values.svg", "findings.json")


def files(tmp_path):
    """Content, and when it was written, of what a figure leaves."""
    paths = [tmp_path / "out/good" / name for name in FILES]
    return [path.read_bytes() for path in paths], [path.stat().st_mtime_ns for path in paths]


def test_the_same_figure_is_made_once_and_again_when_its_code_changes(experiments, tmp_path):
    assert carry_out(GOOD, experiments, tmp_path) == []
    first = files(tmp_path)
    assert written(tmp_path)["findings"]["above"]["verdict"] == "holds"
    assert carry_out(GOOD, experiments, tmp_path) == []
    assert files(tmp_path) == first
    carry_out(dataclasses.replace(GOOD, source=SOURCE.replace("2 + part", "2.0 + part")), experiments, tmp_path)
    again = files(tmp_path)
    assert all(new > old for new, old in zip(again[1], first[1], strict=True))
    assert again[0][:3] == first[0][:3], "the same table gives the same bytes"


def test_another_judge_judges_the_table_that_is_there(experiments, tmp_path):
    def never():
        raise AssertionError("computed again")

    carry_out(GOOD, experiments, tmp_path)
    before, facts = files(tmp_path), written(tmp_path)["computed"]
    text = (tmp_path / "out/good/table.csv").read_text().replace("2", "0")
    (tmp_path / "out/good/table.csv").write_text(text)
    other = dataclasses.replace(GOOD, compute=never, source=SOURCE.replace("BOUND = 3, 1.0", "BOUND = 3, 1.1"))
    assert carry_out(other, experiments, tmp_path) == []
    assert written(tmp_path)["computed"] == facts, "who computed it, when and how long"
    assert written(tmp_path)["findings"]["above"]["verdict"] == "contradicted"
    assert (tmp_path / "out/good/values.png").read_bytes() != before[0][1], "it is drawn anew too"
    (tmp_path / "out/good/table.csv").unlink()
    (line,) = carry_out(dataclasses.replace(other, source=other.source + "# again"), experiments, tmp_path)
    assert "computed again" in line, "there is no table to judge"


def test_a_judge_that_crashes_costs_no_table(experiments, tmp_path):
    def crash(table):
        raise ZeroDivisionError("by nought")

    (line,) = carry_out(dataclasses.replace(GOOD, judge=crash), experiments, tmp_path)
    assert line == "good: ZeroDivisionError: by nought"
    made = (tmp_path / "out/good/table.csv").stat().st_mtime_ns
    assert carry_out(GOOD, experiments, tmp_path) == []
    assert (tmp_path / "out/good/table.csv").stat().st_mtime_ns == made
    assert written(tmp_path)["findings"]["above"]["verdict"] == "holds"


def test_a_table_of_other_code_is_never_taken_for_what_could_not_be_computed(experiments, tmp_path):
    def crash():
        raise ZeroDivisionError("by nought")

    def lower():
        return table().assign(value=0.5)

    carry_out(GOOD, experiments, tmp_path)
    other = dataclasses.replace(GOOD, compute=crash, source=SOURCE.replace("2 + part", "0.5"))
    (line,) = carry_out(other, experiments, tmp_path)
    assert line == "good: ZeroDivisionError: by nought"
    assert carry_out(dataclasses.replace(other, compute=lower), experiments, tmp_path) == []
    assert written(tmp_path)["findings"]["above"]["verdict"] == "contradicted"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# half", "# all", True),
        ("import math", "from math import pi", True),
        ('"""Rows: part, value."""', '"""Rows."""', True),
        ("def value(part):", "def value(part):\n    import math", True),
        ("Values are above 1.", "Values are large.", True),
        ("BOUND = 3, 1.0", "BOUND = 3, 1.5", True),
        ("BOUND = 3, 1.0", "BOUND = 4, 1.0", False),
        ("gap(table, BOUND)", "gap(BOUND, table)", True),
        ("2 + part", "3 + part", False),
        ("COUNT - 1", "COUNT - 2", False),
        ("range(START)", "range(COUNT)", False),
    ],
)
def test_a_table_depends_on_the_code_that_computes_it(old, new, same):
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    assert (keys.computed(changed, "quick") == keys.computed(SOURCE, "quick")) is same
    assert keys.judged(changed) != keys.judged(SOURCE)
    assert keys.computed(SOURCE, "quick") != keys.computed(SOURCE, "full")


@pytest.mark.parametrize("module", EVERY.values(), ids=EVERY)
def test_judging_is_no_part_of_what_is_computed(module):
    key = keys.computed(module.source, "quick")
    for name in ("judge", "draw"):
        changed = module.source.replace(f"def {name}(table: pd.DataFrame)", f"def {name}(rows: pd.DataFrame)")
        assert changed != module.source
        assert keys.computed(changed, "quick") == key, name
    assert keys.computed(module.source.replace("def compute(", "@cache\ndef compute("), "quick") != key


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


def test_verdicts_of_an_older_version_are_shown_as_such_and_made_again(experiments, tmp_path):
    carry_out(GOOD, experiments, tmp_path)
    path = tmp_path / "out/good/findings.json"
    content = json.loads(path.read_text())
    computed = {**content.pop("computed"), "key": "abc"}
    content["findings"] = {"above": {"verdict": "does not hold", "number": "0.5", "cases": {}}}
    del content["judged"]
    path.write_text(json.dumps({**content, **computed}))
    (shown,) = page.read_figures(tmp_path / "out", ["good"])
    reason = "judged 'does not hold' by older rules (0.5); make the figure again to have it judged by these"
    assert shown.findings == {"above": Finding("not run", reason)}
    assert carry_out(GOOD, experiments, tmp_path) == []
    assert page.read_figures(tmp_path / "out", ["good"])[0].findings["above"].verdict == "holds"


def test_the_page_counts_and_sorts_by_verdict(experiments, tmp_path):
    findings = {
        "a": Finding("not run", "no data"),
        "b": Finding("not shown", "0 ± 1"),
        "c": Finding("not shown", "0 ± 1", training="too little"),
        "d": Finding("holds", "1 ± 0", training="sufficient"),
        "e": Finding("contradicted", "-1 ± 0"),
        "f": Finding("not shown", "0 ± 2", training="sufficient"),
    }
    claims = {key: f"Claim {key}." for key in findings}
    figure = dataclasses.replace(GOOD, claims=claims, judge=lambda table: findings)
    carry_out(figure, experiments, tmp_path)
    shown = page.read_figures(tmp_path / "out", ["good"])
    assert shown[0].findings == findings
    groups = page.by_outcome(shown)
    counts = [len(claims) for claims in groups.values()]
    assert dict(zip(groups, counts, strict=True)) == {
        **{"holds": 1, "contradicted": 1, "not shown": 2, "not shown, too little training": 1, "not run": 1}
    }
    markdown, html = (path.read_text() for path in page.write_page(shown, tmp_path / "out"))
    assert "| **not shown** | 2 |" in markdown
    assert "| **not shown, too little training** | 1 |" in markdown
    for text in (markdown, html):
        places = [text.index(f"Claim {key}.") for key in "debfca"]
        assert places == sorted(places), "those of one verdict together"


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
