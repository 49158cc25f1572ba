"""Tables and paragraphs on the terminal; nothing is cut off, however narrow it is."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def show_text(text: str, style: str = "") -> None:
    """One paragraph, wrapped; the text is taken as it is (no markup)."""
    Console(highlight=False).print(Text(text, style=style))


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = ""
) -> None:
    """A table: the first column to the left, the others to the right; a long cell is folded."""
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    console.print(table)
    if note:
        console.print(Text(note, style="dim"))
        console.print()
