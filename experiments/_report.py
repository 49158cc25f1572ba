"""One self-contained page for a person: what was asked, what was found, how to repeat it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ._discovery import Entry
from ._record import Figure, Record, Table, Text

_STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --ink: #24292f; --faint: #57606a; --line: #d0d7de; --band: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171c; --ink: #e6e9ed; --faint: #a0a8b2; --line: #3a414a; --band: #1d2229; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: .95rem; margin: 1.5rem 0 .4rem; }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--faint); }
ul.headlines { margin: .5rem 0 1rem; padding-left: 1.2rem; font-weight: 600; }
a { color: inherit; }
.kicker, figcaption, .note { color: var(--faint); font-size: .9rem; }
.kicker { margin: 0 0 .25rem; }
.scroll { overflow-x: auto; margin: 0 0 .5rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { background: var(--band); }
tbody th { font-weight: normal; background: var(--page); }
th:first-child { text-align: left; padding-left: .3rem; position: sticky; left: 0; }
.names tbody th { white-space: normal; }
@media (max-width: 30rem) { table { font-size: .8rem; } th, td { padding: .3rem .45rem; } }
.note { margin: 0 0 1.25rem; }
figure { margin: 1.75rem 0; }
figure svg { max-width: 100%; height: auto; display: block; }
pre { background: var(--band); border: 1px solid var(--line); border-radius: 6px;
  padding: .75rem; overflow-x: auto; }
"""


def page(entry: Entry, record: Record, contents: Mapping[str, Any], command: str) -> str:
    """The report of one run."""
    environment = {
        **{package: version for package, version in contents["versions"].items()},
        "platform": contents["platform"],
        "CPU": contents["cpu"],
        "cores": contents["cores"],
        "device": contents["device"],
        "allocator": contents["allocator"],
        "wall time": f"{contents['seconds']:.1f} s",
    }
    numbers = [
        (metric.name, "not finite" if metric.value is None else f"{metric.value:.6g}", metric.unit)
        for metric in record.metrics
    ]
    settings = [(name, str(value)) for name, value in contents["config"].items()]
    parts = [
        f'<p class="kicker">jbce experiment: {escape(entry.name)}</p>',
        f"<h1>{escape(entry.question)}</h1>",
        *paragraphs(entry.details),
        f"<p>What to expect: {escape(entry.expect)}</p>",
        "<h2>What was found</h2>",
        *(block_html(block) for block in record.blocks),
        "<h2>Every number</h2>",
        f'<div class="names">{_breakable(_table("", ("name", "value", "unit"), numbers))}</div>',
        "<h2>How to repeat it</h2>",
        "<p>From the root of the repository, with the extra <code>experiments</code>:</p>",
        f"<pre>{escape(command)}</pre>",
        _table("Settings", ("setting", "value"), settings),
        "<h2>Where it ran</h2>",
        _table("", ("what", "value"), [(key, str(value)) for key, value in environment.items()]),
    ]
    return document(f"{entry.name}: {entry.question}", parts)


def document(title: str, parts: Iterable[str]) -> str:
    """A page of HTML from its parts. Nothing is loaded from elsewhere."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def paragraphs(text: str) -> list[str]:
    """Text whose paragraphs are parted by empty lines."""
    return [_paragraph(part) for part in re.split(r"\n\s*\n", text) if part.strip()]


def block_html(block: Text | Table | Figure, prefix: str = "") -> str:
    """One block; what was generated is escaped. `prefix` sets names in drawings apart."""
    if isinstance(block, Text):
        return _paragraph(block.text)
    if isinstance(block, Table):
        return _table(block.title, block.columns, block.rows, block.note)
    return (
        f"<figure>\n{_inline(block, prefix)}\n"
        f"<figcaption>{escape(block.caption)}</figcaption>\n</figure>"
    )


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = ""
) -> str:
    heading = f"<h3>{escape(title)}</h3>\n" if title else ""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(
        "<tr>"
        + f'<th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    label = escape(title or columns[0], quote=True)
    return (
        f'{heading}<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        + (f'\n<p class="note">{escape(note)}</p>' if note else "")
    )


def _breakable(table: str) -> str:
    """Let the names of the rows break after a dot and an underscore."""

    def allow(name: re.Match[str]) -> str:
        return name[1] + re.sub(r"([._])", r"\1<wbr>", name[2])

    return re.sub(r'(<th scope="row">)([^<]*)', allow, table)


def _inline(figure: Figure, prefix: str) -> str:
    """The drawing as an element of the page, with names of its own for what it refers to."""
    drawing = figure.inline_svg[figure.inline_svg.index("<svg") :].strip()
    for pattern in (r'(\bid=")', r'(href="#)', r"(url\(#)"):
        drawing = re.sub(pattern, rf"\g<1>{prefix}{figure.name}-", drawing)
    label = escape(figure.caption, quote=True)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
