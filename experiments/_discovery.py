"""What there is to run, read from the files without importing them."""

import ast
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One runnable file, as its docstring describes it."""

    name: str
    module: str
    """What to import."""
    question: str
    """First line of the docstring."""
    minutes: float
    """On 2 cores, after installation."""
    expect: str
    """The headline: what a run should show."""
    details: str
    """The rest of the docstring."""


class UnknownName(Exception):
    """Nothing of this name is there to run; the message says what is."""


def discover(package: str, folder: Path) -> dict[str, Entry]:
    """Every file of `folder` that does not start with an underscore, by name.

    Raises:
        ValueError: a file's docstring lacks a question, `Minutes:` or `Expect:`.
    """
    return {
        path.stem: _describe(package, path)
        for path in sorted(folder.glob("*.py"))
        if not path.name.startswith("_")
    }


def find(name: str, entries: Mapping[str, Entry], kind: str) -> Entry:
    """The entry of this name; a dash stands for an underscore.

    Raises:
        UnknownName: there is none. The message suggests the nearest name and lists them all.
    """
    name = name.replace("-", "_")
    if name in entries:
        return entries[name]
    nearest = difflib.get_close_matches(name, entries, n=1, cutoff=0.5)
    suggestion = f" Did you mean {nearest[0]}?" if nearest else ""
    known = ", ".join(entries) or "none yet"
    raise UnknownName(f"there is no {kind} named {name!r}.{suggestion} Known: {known}.")


def _describe(package: str, path: Path) -> Entry:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{path.name}: an experiment starts with a docstring.")
    question, _, rest = docstring.partition("\n")
    # A field is one line, continued by lines that are indented.
    fields = dict(re.findall(r"^(Command|Minutes|Expect): +(.+(?:\n +.+)*)$", rest, re.MULTILINE))
    missing = {"Command", "Minutes", "Expect"} - fields.keys()
    if missing:
        raise ValueError(f"{path.name}: the docstring lacks {', '.join(sorted(missing))}.")
    details = re.sub(
        r"^(Command|Minutes|Expect): +(.+(?:\n +.+)*)\n?", "", rest, flags=re.MULTILINE
    )
    return Entry(
        name=path.stem,
        module=f"{package}.{path.stem}",
        question=question,
        minutes=float(fields["Minutes"].split()[0]),
        expect=" ".join(fields["Expect"].split()),
        details=details.strip(),
    )
