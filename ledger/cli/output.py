"""What every command shares: ``--json``, lines for people, what a registry answered, and a progress bar."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from ledger.errors import BackendError, MalformedError

F = TypeVar("F", bound=Callable[..., Any])
Progress = Callable[[int, int], None]


def json_option(command: F) -> F:
    """Adds ``--json``: the answer as one JSON document on standard output, for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, for programs.")(command)


def emit(as_json: bool, value: Mapping[str, object], lines: Iterable[str]) -> None:
    """Prints `value` for programs or `lines` for people."""
    if as_json:
        click.echo(escaped(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)))
    else:
        for line in lines:
            click.echo(printable(line))


def escaped(text: str) -> str:
    """Returns JSON as a terminal or a file may get it: what is not printable, or no character at all, is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def printable(text: str) -> str:
    """Returns one line as a terminal may get it: what others wrote cannot begin another, move the cursor or turn it."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


@contextmanager
def reading_answer() -> Iterator[None]:
    """Turns what an answer of another form raises into BackendError (``protocol``): a registry may answer anything."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, MalformedError) as e:
        raise BackendError("the registry's answer is not of its form", code="protocol") from e


def note(text: str) -> None:
    """Prints a line on standard error, in the place of a bar that stands there."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    click.echo(printable(text), err=True)


@contextmanager
def progress(*phases: str) -> Iterator[Progress]:
    """Gives a ``report(done, total)`` that draws a bar on a terminal once a second has passed; silent elsewhere.

    Where there are several phases, each has the same share of the total and is counted by itself.
    """
    started, drawn = time.monotonic(), False

    def report(done: int, total: int) -> None:
        nonlocal drawn
        if not sys.stderr.isatty() or time.monotonic() - started < 1 or not total:
            return
        drawn = True
        share = total // len(phases)
        phase = min(done // share, len(phases) - 1)
        count = done - phase * share
        filled = 30 * count // share
        label = phases[phase].ljust(max(map(len, phases)))
        click.echo(f"\r{label} [{'#' * filled}{'.' * (30 - filled)}] {count}/{share}", nl=False, err=True)

    try:
        yield report
    finally:
        if drawn:
            click.echo(err=True)
