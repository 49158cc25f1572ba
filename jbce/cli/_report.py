"""`report.html`: one self-contained page with the figures, for a telephone as for a desk."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from . import _ranks, _words
from ._accumulate import judged_probability
from ._evaluate import Evaluation
from ._output import whole_file
from ._status import extra

_STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --ink: #24292f; --faint: #57606a; --line: #d0d7de; --band: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171c; --ink: #e6e9ed; --faint: #a0a8b2; --line: #3a414a; --band: #1d2229; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: .95rem; margin: 1.5rem 0 .4rem; }
.kicker, figcaption, .note { color: var(--faint); font-size: .9rem; }
.kicker { margin: 0 0 .25rem; }
.scroll { overflow-x: auto; margin: 0 0 .5rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { background: var(--band); }
tbody th { font-weight: normal; background: var(--page); }
th:first-child, .word { text-align: left; }
th:first-child { padding-left: .3rem; position: sticky; left: 0; }
tbody th.part { padding-left: 1.3rem; color: var(--faint); }
@media (max-width: 30rem) { table { font-size: .8rem; } th, td { padding: .3rem .45rem; }
  .wide tbody th { white-space: normal; min-width: 6.5rem; } .width { display: block; } }
.note { margin: 0 0 1.25rem; }
figure { margin: 1.75rem 0; }
figure svg { max-width: 100%; height: auto; display: block; }
"""
_WORD = ' class="word"'
_MEANS = {"log_loss": "log loss (nats)", "brier_score": "Brier score", "accuracy": "accuracy"}


def write(found: Evaluation, path: Path, *, overwrite: bool) -> None:
    """The page, whole or not at all.

    Raises:
        Misuse: it cannot be written, or Matplotlib is missing.
    """
    text = page(found)
    with whole_file(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(found: Evaluation) -> str:
    """The report as HTML. Nothing is loaded from elsewhere; what the file holds is escaped."""
    heads = ["metric", *found.models]
    rows = [(title, *cells) for title, cells in _words.metric_rows(found.overall)]
    kind = f"{found.kind} {', '.join(map(repr, found.models))}, labels {found.label!r}"
    parts = [
        '<p class="kicker">jbce evaluate</p>',
        f"<h1>{escape(found.path.name or str(found.path))}</h1>",
        *map(_paragraph, _words.summary(found)),
        f'<p class="note">{escape(kind[:1].upper() + kind[1:])}.</p>',
        "<h2>Metrics</h2>",
        _table(heads, rows, wide=True),
        *map(_note, _words.notes(found)),
    ]
    if found.comparisons:
        parts.append("<h2>Which differences are real</h2>")
        for name, title in _MEANS.items():
            head = [title, "difference", "interval", "p"]
            parts.append(_table(head, list(_words.difference_rows(found, name))))
        parts.append(_note(_words.difference_note(found)))
        parts.append(_differences(found))
    if found.groups:
        heads, rows = _words.group_table(found)
        parts += [
            f"<h2>By {escape(str(found.group))}</h2>",
            _table(heads, rows, left=2 if len(found.models) > 1 else 1),
        ]
    parts.append("<h2>Figures</h2>")
    parts += [_figure(*each) for each in _figures(found)]
    title = f"jbce evaluate: {found.path.name}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _differences(found: Evaluation) -> str:
    with extra():
        from .. import plots

        drawn = plots.metric_differences(
            {title: found.comparisons[name] for name, title in _MEANS.items()},
            list(found.models),
        )
    caption = (
        f"Models less {found.models[found.baseline]}, with intervals at "
        f"{100 * found.confidence:g} %."
    )
    return _figure("differences", drawn, caption)


def _figures(found: Evaluation) -> list[tuple[str, Any, str]]:
    """Name, Matplotlib figure and caption of each."""
    with extra():
        from .. import plots
    models = dict(zip(found.models, found.overall.models, strict=True))
    figures: list[tuple[str, Any, str]] = []
    of = judged_probability(None if found.binary else len(found.classes))
    diagram = plots.reliability_diagram(
        {name: judged.reliability for name, judged in models.items()},
        of=of,
        # A weight is no number of examples.
        bands=None if found.weight else found.confidence,
    )
    caption = "What was said with a probability, and how often it came true, in 15 bins."
    figures.append(("reliability", diagram, caption))
    ranked = {name: judged.counts for name, judged in models.items() if judged.counts is not None}
    both = sum(share > 0 for share in found.overall.shares) == 2
    if ranked and both:
        curves = {name: _ranks.curves(counts) for name, counts in ranked.items()}
        roc = plots.roc_curve({name: roc for name, (roc, _) in curves.items()})
        figures.append(("roc", roc, "Receiver operating characteristic."))
        recall = plots.precision_recall_curve({name: pr for name, (_, pr) in curves.items()})
        figures.append(("precision-recall", recall, "Precision and recall."))
    if ranked and found.overall.weight:
        histograms = {name: _ranks.score_histogram(counts) for name, counts in ranked.items()}
        scores = plots.score_distributions(histograms)
        figures.append(("scores", scores, "Log-odds of the two classes; each has area 1."))
    return figures


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, wide: bool = False, left: int = 1
) -> str:
    """A table whose first `left` columns are words, the others numbers."""
    head = "".join(
        f'<th scope="col"{_WORD if i < left else ""}>{escape(cell)}</th>'
        for i, cell in enumerate(heads)
    )
    body = "\n".join(
        "<tr>"
        + f'<th scope="row"{_part_of(row[0])}>{escape(row[0].strip())}</th>'
        + "".join(_cell(cell, word=i < left) for i, cell in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    label = escape(heads[0], quote=True)
    kind = "scroll wide" if wide else "scroll"
    return (
        f'<div class="{kind}" role="region" aria-label="{label}" tabindex="0"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(text: str, *, word: bool) -> str:
    if not word:
        # On a narrow page the width of an interval, or its other end, stands below.
        text = re.sub(r" (± |to )(.+)", r' <span class="width">\1\2</span>', escape(text))
    return f"<td{_WORD}>{escape(text)}</td>" if word else f"<td>{text}</td>"


def _part_of(title: str) -> str:
    """What is indented is a part of the row above."""
    return ' class="part"' if title.startswith(" ") else ""


def _figure(name: str, figure: Any, caption: str) -> str:
    """The drawing as an element of the page, with names of its own for what it refers to."""
    from .. import plots

    drawing = plots.svg(figure, ink="currentColor")
    drawing = drawing[drawing.index("<svg") :].strip()
    for pattern in (r'(\bid=")', r'(href="#)', r"(url\(#)"):
        drawing = re.sub(pattern, rf"\g<1>{name}-", drawing)
    label = escape(caption, quote=True)
    drawing = drawing.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f"<figure>\n{drawing}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"
