"""All experiments on one page, and in one table, from what their last runs left."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from ._discovery import Entry
from ._record import Figure, Headline, Table, Text, read_blocks
from ._report import block_html, document, paragraphs


class Run(NamedTuple):
    """What the last run of an experiment left."""

    contents: Mapping[str, Any]
    blocks: list[Text | Table | Figure]

    @property
    def headlines(self) -> list[str]:
        """The numbers to remember."""
        return [str(Headline(**headline)) for headline in self.contents["headlines"]]


def last_runs(entries: Mapping[str, Entry], runs: Path) -> dict[str, Run]:
    """The last run of every experiment that has one, by name."""
    found = {}
    for name in entries:
        files = [runs / name / file for file in ("metrics.json", "blocks.json")]
        if all(path.is_file() for path in files):
            contents = json.loads(files[0].read_text(encoding="utf-8"))
            found[name] = Run(contents, read_blocks(files[1]))
    return found


def gallery(entries: Mapping[str, Entry], found: Mapping[str, Run]) -> str:
    """The page, as HTML that loads nothing from elsewhere."""
    parts = [
        '<p class="kicker">jbce</p>',
        "<h1>What the experiments found</h1>",
        "<p>Each section is one file of <code>experiments/</code>: its question, the numbers to "
        "remember with their intervals, a figure, and, folded, all that the last run said. "
        "Everything here comes from the files that the runs left.</p>",
        "<ul>",
        *(f'<li><a href="#{name}">{escape(entries[name].question)}</a></li>' for name in found),
        "</ul>",
        *(_section(entries[name], run) for name, run in found.items()),
        *_not_run(entry for name, entry in entries.items() if name not in found),
    ]
    return document("jbce: what the experiments found", parts)


def _not_run(entries: Iterable[Entry]) -> list[str]:
    items = [
        f"<li>{escape(entry.question)} <code>python -m experiments {entry.name}</code>, about "
        f"{entry.minutes:g} min. To expect: {escape(entry.expect)}</li>"
        for entry in entries
    ]
    return ["<h2>Not run yet</h2>", "<ul>", *items, "</ul>"] if items else []


def _section(entry: Entry, run: Run) -> str:
    parts = [f'<section id="{entry.name}">', f"<h2>{escape(entry.question)}</h2>"]
    if run.headlines:
        parts.append('<ul class="headlines">')
        parts += [f"<li>{escape(headline)}</li>" for headline in run.headlines]
        parts.append("</ul>")
    first = next((block for block in run.blocks if isinstance(block, Figure)), None)
    prefix = f"{entry.name}-"
    if first is not None:
        parts.append(block_html(first, prefix))
    contents = run.contents
    parts += [
        f"<details><summary>What it does, and all that it found on {contents['date']} in "
        f"{contents['seconds'] / 60:.1f} minutes</summary>",
        *paragraphs(entry.details),
        f"<p>What to expect: {escape(entry.expect)}</p>",
        *(block_html(block, prefix) for block in run.blocks if block is not first),
        f'<p class="note">{escape(contents["cpu"])}, {contents["cores"]} cores; '
        f"{escape(contents['device'])}; jax {escape(contents['versions']['jax'])}.</p>",
        "</details>",
        f"<pre>python -m experiments {entry.name}</pre>",
        "</section>",
    ]
    return "\n".join(parts)


def table(entries: Mapping[str, Entry], found: Mapping[str, Run]) -> str:
    """The table of experiments in Markdown."""
    lines = [
        "# The experiments",
        "",
        "One file per question. `python -m experiments NAME` runs one, and leaves its numbers, "
        "figures and a report in `runs/NAME/`; `python -m experiments gallery` makes one page of "
        "all of them, and `python -m experiments gallery --write` this table. Intervals in "
        "parentheses; minutes on 2 cores.",
        "",
        "| command | question | minutes | found | on |",
        "| --- | --- | ---: | --- | --- |",
    ]
    for name, entry in entries.items():
        run = found.get(name)
        headlines = "<br>".join(run.headlines) if run else f"(to expect: {entry.expect})"
        date = run.contents["date"] if run else ""
        cells = (f"`{name}`", entry.question, f"{entry.minutes:g}", headlines, date)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"
