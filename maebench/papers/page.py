"""A folder of reproduced figures -> one page, Markdown and HTML: every claim with its verdict. Never imports torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maebench.leaderboard.pages import md, template, uri
from maebench.papers.claims import SURE, Finding
from maebench.runs.records import write_whole

KEYS = {"key", "title", "figures", "claims", "choices", "findings", "budget", "command", "seconds", "provenance"}
RULE = (
    f"A difference counts where a one-sided t-test at {SURE:.0%} finds it, over n seeds, or over n disjoint parts of "
    "the training images where nothing is random; ± is one standard deviation. A claim that is not found does not "
    "hold, be it contradicted or only not shown: the quick budget trains ViTs for a few hundred steps."
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
        if missing := KEYS - content.keys():
            raise KeyError(missing)
        return {**content, "findings": {key: Finding(**finding) for key, finding in content["findings"].items()}}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{path}: is damaged; remove it, then the same command makes it again") from None


def _shown(folder: Path, content: dict[str, Any]) -> Reproduced:
    made = content["provenance"]
    threads = f", {made['threads']} threads" if made["threads"] else ""
    facts = {
        "command": content["command"],
        "time": f"{content['seconds']:.0f} s at budget {content['budget']} (less what was trained before), "
        f"on {made['device_name']}{threads}",
        "software": f"maebench {made['maebench']}, torch {made['torch']}, {made['date'][:10]}",
    }
    pictures = tuple(sorted(folder.glob("*.png")))
    words = content["title"], tuple(content["figures"]), content["claims"], tuple(content["choices"])
    return Reproduced(folder.name, *words, content["findings"], facts, pictures)


def write_page(page: Sequence[Reproduced], folder: Path) -> list[Path]:
    """Write reproduction.md and reproduction.html into the folder of the figures."""
    html = template("maebench.papers", "reproduction.html.j2").render(page=page, rule=RULE, uri=uri)
    texts = {"reproduction.md": markdown(page), "reproduction.html": html}
    for name, text in texts.items():
        write_whole(folder / name, text.encode())
    return [folder / name for name in texts]


def markdown(page: Sequence[Reproduced]) -> str:
    """The page as Markdown, to lie beside the folders of the figures, whose pictures it links."""
    blocks = [
        "# The papers' claims, reproduced",
        RULE,
        "| figure | claim | verdict | number |\n| --- | --- | --- | --- |",
    ]
    for one in page:
        for key, finding in one.findings.items():
            cells = (", ".join(one.figures), md(one.claims[key]), f"**{finding.verdict}**", md(finding.number))
            blocks[-1] += f"\n| {' | '.join(cells)} |"
    for one in page:
        blocks += [f"## {one.heading}", *(f"![{one.title}]({one.name}/{path.name})" for path in one.pictures)]
        blocks.append("\n".join(_findings(one)))
        blocks.append("\n".join(f"- Ours: {md(choice)}" for choice in one.choices))
        blocks.append("\n".join(f"- {name}: {md(text)}" for name, text in one.facts.items()))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _findings(one: Reproduced) -> list[str]:
    found = []
    for key, finding in one.findings.items():
        found.append(f"- {md(one.claims[key])} **{finding.verdict}**: {md(finding.number)}")
        found += [f"  - {md(choice)}: {md(text)}" for choice, text in finding.cases.items()]
    return found
