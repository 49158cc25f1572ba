"""The command: `python -m experiments [NAME | benchmark NAME] [--options]`, or `gallery`."""

import importlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ._data import MissingData
from ._discovery import Entry, UnknownName, discover, find

FOLDER = Path(__file__).parent
RUNS = FOLDER.parent / "runs"


def main(argv: Sequence[str] | None = None, *, runs: Path = RUNS) -> int:
    """Run what is asked for and return the exit status.

    Args:
        argv: the arguments; those of the process by default.
        runs: where the results go, in a folder (or, for a benchmark, a file) per name.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            _list("experiment", "", experiments())
        elif arguments[0] == "gallery":
            return _gallery(arguments[1:], runs)
        elif arguments[0] != "benchmark":
            _experiment(find(arguments[0], experiments(), "experiment"), arguments[1:], runs)
        elif not arguments[1:] or arguments[1] in ("-h", "--help"):
            _list("suite", "benchmark ", benchmarks())
        else:
            _benchmark(find(arguments[1], benchmarks(), "suite"), arguments[2:], runs)
    except UnknownName as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MissingData as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] in ("experiments", "jbce"):
            raise
        print(
            f"error: {error}\nThe experiments need an extra, which brings all that is missing: "
            "python -m pip install -e '.[experiments]'",
            file=sys.stderr,
        )
        return 1
    return 0


def experiments() -> dict[str, Entry]:
    """The experiments, by name."""
    return discover("experiments", FOLDER)


def benchmarks() -> dict[str, Entry]:
    """The benchmark suites, by name."""
    return discover("experiments.benchmarks", FOLDER / "benchmarks")


def _list(kind: str, prefix: str, entries: Mapping[str, Entry]) -> None:
    from ._terminal import show_text

    for entry in entries.values():
        show_text(f"{entry.name}  ({entry.minutes:g} min)", style="bold")
        show_text(entry.question)
        show_text(f"Expect: {entry.expect}\n")
    if not entries:
        show_text(f"There is no {kind} yet.\n")
    show_text(f"Run one:       python -m experiments {prefix}NAME")
    show_text(f"Its options:   python -m experiments {prefix}NAME --help")
    if not prefix:
        show_text("Benchmarks:    python -m experiments benchmark")
        show_text("One page:      python -m experiments gallery")


def _experiment(entry: Entry, options: Sequence[str], runs: Path) -> None:
    import tyro

    from ._record import Record, write_text
    from ._report import page
    from ._terminal import show_text

    module = importlib.import_module(entry.module)
    config = tyro.cli(
        module.Config,
        prog=f"python -m experiments {entry.name}",
        description=entry.question,
        args=options,
    )
    show_text(entry.question + "\n", style="bold")
    record = Record()
    module.run(config, record)
    folder = runs / entry.name
    contents = record.write(folder, name=entry.name, config=config)
    command = shlex.join(["python", "-m", "experiments", entry.name, *options])
    write_text(folder / "report.html", page(entry, record, contents, command))
    show_text(f"Took {contents['seconds']:.1f} s. The report: {_short(folder)}/report.html")
    show_text("Beside it: metrics.json, and the figures where there are any.")


def _benchmark(entry: Entry, options: Sequence[str], runs: Path) -> None:
    import tyro

    from ._benchmark import show_rows, write_rows
    from ._terminal import show_text

    module = importlib.import_module(entry.module)
    config = tyro.cli(
        module.Config,
        prog=f"python -m experiments benchmark {entry.name}",
        description=entry.question,
        args=options,
    )
    path = runs / "benchmark" / f"{entry.name}.json"
    rows = write_rows(path, module.run(config), suite=entry.name, config=config)
    show_rows(entry.question, rows)
    show_text(f"Written: {_short(path)}")


def _gallery(options: Sequence[str], runs: Path) -> int:
    from ._gallery import gallery, last_runs, table
    from ._record import write_text
    from ._terminal import show_text

    if list(options) not in ([], ["--write"]):
        print(
            "error: gallery makes one page of the last runs; its only option is --write, which "
            f"renews experiments/README.md too, but {shlex.join(options)} came.",
            file=sys.stderr,
        )
        return 2
    entries = experiments()
    found = last_runs(entries, runs)
    write_text(runs / "gallery.html", gallery(entries, found))
    show_text(f"{len(found)} of {len(entries)} experiments: {_short(runs)}/gallery.html")
    missing = [name for name in entries if name not in found]
    if missing:
        show_text(f"Not run yet: {', '.join(missing)}.")
    if options:
        write_text(FOLDER / "README.md", table(entries, found))
        show_text(f"Written: {_short(FOLDER)}/README.md")
    return 0


def _short(path: Path) -> Path:
    """From here where that is shorter, as one would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
