"""Tables on the terminal, or wherever standard output goes."""

from collections.abc import Collection, Sequence
from typing import Any

from . import _words
from ._evaluate import Evaluation
from ._status import extra

_MEANS = {"log_loss": "log loss (nats)", "brier_score": "Brier score", "accuracy": "accuracy"}
_GAP = 3  # spaces between columns, one of them the box's
_LEAST = ("Brier", "positive", "ECE", "accuracy", "ROC AUC")  # of a group, what goes first


def console() -> Any:
    """Standard output, where names of columns are no markup."""
    with extra():
        from rich.console import Console
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=False)


def print_table(
    on: Any,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    words: Collection[str] = (),
) -> None:
    """One table; its first `left` columns and those named in `words` are words, else numbers."""
    with extra():
        from rich import box
        from rich.table import Table
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False)
    for i, head in enumerate(heads):
        is_words = i < left or head in words
        table.add_column(
            _words.shown(head),
            justify="left" if is_words else "right",
            overflow="fold" if is_words else "ellipsis",
            no_wrap=not is_words,
        )
    for row in rows:
        table.add_row(*row)
    on.print(table)
    on.print()


def show(found: Evaluation) -> None:
    """The tables of `jbce evaluate`."""
    on = console()
    on.print(str(found.path), soft_wrap=True)
    for line in _words.summary(found):
        on.print(line)
    on.print()
    rows = _words.metric_rows(found.overall)
    names = [_words.shown(model) for model in found.models]
    for columns in _that_fit(rows, names, on.width):
        heads = ["metric", *(names[i] for i in columns)]
        print_table(on, heads, [[title, *(cells[i] for i in columns)] for title, cells in rows])
    for line in _words.notes(found):
        on.print(line)
    if found.comparisons:
        on.print()
        for name, title in _MEANS.items():
            heads = [title, "difference", "interval", "p"]
            print_table(on, heads, list(_words.difference_rows(found, name)))
        on.print(_words.difference_note(found))
    if found.groups:
        on.print()
        left = 2 if len(found.models) > 1 else 1
        heads, cells = _without_least(*_words.group_table(found), left, on.width)
        print_table(on, heads, cells, left=left)


def _without_least(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: int, width: int
) -> tuple[list[str], list[list[str]]]:
    """Without as many numbers as must go so that no name is broken; the page has them all."""
    kept = list(range(len(heads)))

    def wide() -> int:
        return sum(max(len(heads[i]), *(len(row[i]) for row in rows)) + _GAP for i in kept)

    for title in _LEAST:
        if wide() - _GAP > width and title in heads[left:]:
            kept.remove(heads.index(title))
    return [heads[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _that_fit(
    rows: Sequence[tuple[str, Sequence[str]]], names: Sequence[str], width: int
) -> list[list[int]]:
    """The models, in as many tables as there must be."""
    left = max(len(title) for title, _ in rows) + _GAP
    tables: list[list[int]] = [[]]
    used = left
    for i, name in enumerate(names):
        wide = max(len(name), *(len(cells[i]) for _, cells in rows)) + _GAP
        if tables[-1] and used + wide > width:
            tables.append([])
            used = left
        tables[-1].append(i)
        used += wide
    return tables
