"""Rows for people and for programs: table, wide, json, jsonl, csv, name."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from operator import itemgetter
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "wide", "json", "jsonl", "csv", "name")

COLOURS = {
    "free": "green",
    "locked": "yellow",
    "cleaning": "cyan",
    "set_aside": "cyan",
    "offline": "red",
    "drained": "magenta",
    "quarantined": "red",
    "pending": "magenta",
    "attention": "red",
}
"""Of the states of a machine."""


def output_options(command: F) -> F:
    """`-o FORMAT`, and `-q` for names alone; the command gets `output`."""
    quiet = click.option("-q", "output", flag_value="name", help="Names alone; short for -o name.")
    chosen = click.option(
        "-o",
        "output",
        type=click.Choice(FORMATS),
        default="table",
        help="Form of the output.  [default: table]",
    )
    return quiet(chosen(command))


def show(
    rows: Sequence[Any],
    output: str,
    columns: Mapping[str, Callable[[Any], object]],
    more: Mapping[str, Callable[[Any], object]] | None = None,
    nothing: str = "",
) -> None:
    """Print rows. `columns` are shown in a table, with `more` in a wide one and in CSV; JSON has everything."""
    wide = {**columns, **(more or {})}
    if output == "json":
        print(dumps([as_json(row) for row in rows], indent=2))
    elif output == "jsonl":
        for row in rows:
            print(line(row))
    elif output == "name":
        name = next(iter(columns.values()))
        for row in rows:
            print(plain(str(name(row))))
    elif output == "csv":
        print(_csv(rows, wide), end="")
    elif rows:
        _table(rows, wide if output == "wide" else columns)
    elif nothing:
        print(nothing, file=sys.stderr)


def show_one(row: Any, output: str, lines: Mapping[str, object], name: str) -> None:
    """Print one thing: as a list of facts, or in the chosen form."""
    if output in ("json", "jsonl"):
        print(dumps(as_json(row), indent=2 if output == "json" else None))
    elif output == "name":
        print(plain(name))
    elif output == "csv":
        facts = {key.replace(" ", "_"): value for key, value in lines.items()}
        print(_csv([facts], {key: itemgetter(key) for key in facts}), end="")
    else:
        width = max(map(len, lines), default=0)
        for key, value in lines.items():
            if value not in ("", None):
                print(f"{key:<{width}}  {plain(str(value))}")


def line(row: Any) -> str:
    """As one line of JSON."""
    return dumps(as_json(row))


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON for people too: letters as they are, what would move a terminal's cursor as `\\u009b`."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)


def as_json(row: Any) -> Any:
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else row


def plain(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours: jobs and comments come from anybody."""
    return "".join(one if one.isprintable() or one == "\n" else "�" for one in text)


def _csv(rows: Sequence[Any], columns: Mapping[str, Callable[[Any], object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([plain(str(value(row))) for value in columns.values()] for row in rows)
    return out.getvalue()


def _table(rows: Sequence[Any], columns: Mapping[str, Callable[[Any], object]]) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[plain(str(value(row)).replace("\n", " ")) for value in columns.values()] for row in rows]
    natural = [max(map(cell_len, column)) for column in zip(list(columns), *cells, strict=True)]
    room = Console().width if sys.stdout.isatty() else 10_000
    widths = fitting(natural, room - GAP * len(natural))
    console = Console(highlight=False, width=sum(widths) + GAP * len(widths))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for name, width in zip(columns, widths, strict=True):
        table.add_column(name.upper(), no_wrap=True, overflow="ellipsis", width=width)
    for line in cells:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in line))
    with console.capture() as capture:
        console.print(table)
    print("\n".join(printed.rstrip() for printed in capture.get().splitlines()))


GAP, NARROWEST = 2, 7
"""Blanks between columns; and what is left of one that gives way, at least."""


def fitting(natural: Sequence[int], room: int) -> list[int]:
    """Widths of columns, for so much room together: the widest gives way first; the first, the name, never."""
    widths = list(natural)
    while sum(widths) > room and max(widths[1:], default=0) > NARROWEST:
        widths[widths.index(max(widths[1:]), 1)] -= 1
    return widths


# Times, in words


def span(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `4 d`; empty for none."""
    if seconds is None:
        return ""
    whole = round(max(0.0, seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7_200:
        return f"{whole // 60} min"
    if whole < 2 * 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60:02} min"
    return f"{whole // 86_400} d"


def clock(us: int) -> str:
    """A moment in local time; empty for none."""
    from datetime import datetime

    return datetime.fromtimestamp(us / 1e6).astimezone().strftime("%Y-%m-%d %H:%M:%S") if us else ""
