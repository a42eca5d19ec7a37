"""A folder of reproduced figures -> one page, Markdown and HTML: every claim with its verdict. Never imports torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maebench.leaderboard.pages import md, template, uri
from maebench.papers.claims import SURE, Finding, Outcome
from maebench.runs.records import write_whole

KEYS = {"title", "figures", "claims", "choices", "findings", "computed", "judged"}
OUTCOMES: dict[Outcome, str] = {
    "holds": "it passes its test",
    "contradicted": "its opposite passes the same test",
    "not shown": "neither does, though training sufficed or nothing learned is judged",
    "not shown, too little training": "no trained encoder beats its untrained self, so nothing can be told",
    "not run": "data, a device or a computation is wanting",
}
RULE = (
    f"A difference counts where a one-sided t-test at {SURE:.0%} finds it, over n seeds, or over n disjoint parts of "
    "the data where nothing is random; ± is one standard deviation. A claim of several parts holds where each does, "
    "and is contradicted where one of them is. What training teaches is judged only where the best trained encoder "
    "beats, by the same test, the untrained one that it started from: by linear probe, unless said otherwise."
)


@dataclass(frozen=True)
class Reproduced:
    """What is known of one figure module."""

    name: str
    title: str
    figures: tuple[str, ...]
    claims: dict[str, str]
    choices: tuple[str, ...]
    findings: dict[str, Finding]
    facts: dict[str, str]
    pictures: tuple[Path, ...]
    """PNG files"""

    @property
    def heading(self) -> str:
        """The numbers it has in the paper, and its title."""
        numbers = ", ".join(self.figures)
        return f"{'Fig. ' if self.figures[0][0].isdigit() else ''}{numbers}: {self.title}"


def read_figures(folder: Path, names: Sequence[str]) -> list[Reproduced]:
    """The figures of these names that are in the folder, in this order."""
    paths = [folder / name / "findings.json" for name in names]
    return [_shown(path.parent, kept(path)) for path in paths if path.exists()]


def kept(path: Path) -> dict[str, Any]:
    """What the file of a figure says. Raises ValueError where it is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "key" in content:
            content = _by_other_rules(content)
        if missing := KEYS - content.keys():
            raise KeyError(missing)
        return {**content, "findings": {key: Finding(**finding) for key, finding in content["findings"].items()}}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{path}: is damaged; remove it, then the same command makes it again") from None


def _by_other_rules(content: dict[str, Any]) -> dict[str, Any]:
    """What a file says that is older than the four verdicts: its claims are to be judged again."""
    facts = {name: content.pop(name) for name in ("budget", "command", "seconds", "provenance")}
    reason = "judged '{verdict}' by older rules ({number}); make the figure again to have it judged by these"
    findings = {
        key: {"verdict": "not run", "number": reason.format(**finding)} for key, finding in content["findings"].items()
    }
    judged = {"key": "", "provenance": facts["provenance"]}
    return {**content, "findings": findings, "computed": {"key": "", **facts}, "judged": judged}


def _shown(folder: Path, content: dict[str, Any]) -> Reproduced:
    computed, made, judged = content["computed"], content["computed"]["provenance"], content["judged"]["provenance"]
    threads = f", {made['threads']} threads" if made["threads"] else ""
    facts = {
        "command": computed["command"],
        "time": f"{computed['seconds']:.0f} s at budget {computed['budget']} (less what was trained before), "
        f"on {made['device_name']}{threads}",
        "computed": f"{_software(made)}, torch {made['torch']}, {made['date'][:10]}",
        "judged": f"{_software(judged)}, {judged['date'][:10]}",
    }
    pictures = tuple(sorted(folder.glob("*.png")))
    words = content["title"], tuple(content["figures"]), content["claims"], tuple(content["choices"])
    return Reproduced(folder.name, *words, content["findings"], facts, pictures)


def _software(provenance: dict[str, Any]) -> str:
    commit = f" (commit {provenance['commit']})" if provenance["commit"] else ""
    return f"maebench {provenance['maebench']}{commit}"


def by_outcome(page: Sequence[Reproduced]) -> dict[Outcome, list[tuple[Reproduced, str]]]:
    """Outcome -> the claims it was found for, each as its figure and its key, in the order of the figures."""
    groups: dict[Outcome, list[tuple[Reproduced, str]]] = {outcome: [] for outcome in OUTCOMES}
    for figure in page:
        for key, finding in figure.findings.items():
            groups[finding.outcome].append((figure, key))
    return groups


def write_page(page: Sequence[Reproduced], folder: Path) -> list[Path]:
    """Write reproduction.md and reproduction.html into the folder of the figures."""
    shown = {"page": page, "rule": RULE, "outcomes": OUTCOMES, "groups": by_outcome(page), "uri": uri}
    html = template("maebench.papers", "reproduction.html.j2").render(shown)
    texts = {"reproduction.md": markdown(page), "reproduction.html": html}
    for name, text in texts.items():
        write_whole(folder / name, text.encode())
    return [folder / name for name in texts]


def markdown(page: Sequence[Reproduced]) -> str:
    """The page as Markdown, to lie beside the folders of the figures, whose pictures it links."""
    groups = by_outcome(page)
    counts = [f"| **{outcome}** | {len(claims)} | {OUTCOMES[outcome]} |" for outcome, claims in groups.items()]
    rows = []
    for outcome, claims in groups.items():
        for figure, key in claims:
            cells = (
                ", ".join(figure.figures),
                md(figure.claims[key]),
                f"**{outcome}**",
                md(figure.findings[key].number),
            )
            rows.append(f"| {' | '.join(cells)} |")
    blocks = [
        "# The papers' claims, reproduced",
        RULE,
        "\n".join(["| verdict | claims | meaning |", "| --- | --- | --- |", *counts]),
        "\n".join(["| figure | claim | verdict | number |", "| --- | --- | --- | --- |", *rows]),
    ]
    for figure in page:
        blocks += [
            f"## {figure.heading}",
            *(f"![{figure.title}]({figure.name}/{path.name})" for path in figure.pictures),
        ]
        blocks.append("\n".join(_findings(figure)))
        blocks.append("\n".join(f"- Ours: {md(choice)}" for choice in figure.choices))
        blocks.append("\n".join(f"- {name}: {md(text)}" for name, text in figure.facts.items()))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _findings(figure: Reproduced) -> list[str]:
    lines = []
    for key, finding in figure.findings.items():
        lines.append(f"- {md(figure.claims[key])} **{finding.outcome}**: {md(finding.number)}")
        lines += [f"  - {md(choice)}: {md(text)}" for choice, text in finding.cases.items()]
    return lines
