"""``trainmark log audit``: read a whole log again, and compare it with all that it showed before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import click

from ledger.cli import NO, YES
from ledger.cli.output import emit, json_option, progress
from ledger.cli.trusting import load_trust, trust_option
from ledger.files import locked, read_file
from ledger.note import MAX_NOTE_BYTES

if TYPE_CHECKING:
    from ledger.audit.asking import Difference
    from ledger.audit.auditor import Audit, Source
    from ledger.audit.watching import Watched
    from ledger.client import RegistryClient

SHOWN = 20
URLS = ("http://", "https://")


@click.command("audit")
@click.argument("where", metavar="URL|DIR")
@click.option(
    "--state",
    "state_path",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("audit"),
    show_default=True,
    help="Your own folder for this log: a copy of it, and what you have seen.",
)
@click.option("--watch", "words", multiple=True, help="A did:key, sha256:… or leaf index: what happened to it since?")
@click.option(
    "--checkpoint",
    "others",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A checkpoint of this log that somebody else was shown.",
)
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes that verify signatures; default: one per core.")
@click.option("--tiles-only", is_flag=True, help="Do not compare the log with what the registry's API says.")
@trust_option
@json_option
def audit_command(
    where: str,
    state_path: Path,
    words: tuple[str, ...],
    others: tuple[Path, ...],
    jobs: int | None,
    tiles_only: bool,
    trust_path: Path,
    as_json: bool,
) -> int:
    """Audit a log at its address or in a folder of tiles: every leaf, signature and rule, and that it only grew.

    Exit code 1: the log is not what it signed, contradicts what it showed before (the evidence is kept), holds new
    leaves that do not count, or its registry says something else than the log.
    """
    from ledger.audit.answers import compare_answers
    from ledger.audit.auditor import audit, look_again
    from ledger.audit.folder import AuditFolder

    trust = load_trust(trust_path)
    notes = [read_file(path, MAX_NOTE_BYTES, "--checkpoint") for path in others]
    differences: Sequence[Difference] = ()
    with _opened(where) as (source, client), locked(state_path, create=True), progress("auditing") as report:
        folder = AuditFolder(state_path)
        found = audit(
            source,
            trust,
            folder,
            jobs=jobs or len(os.sched_getaffinity(0)),
            watch=words,
            others=notes,
            report=report,
        )
        not_checked = list(found.not_checked)
        if client is None or tiles_only:
            not_checked.append("what the registry's API says")
        else:
            differences, left = compare_answers(
                client, found.fold, lambda: look_again(client, trust, folder), SystemRandom()
            )
            not_checked += left
    value = {
        "audited": True,
        **found.value(),
        "differences": [difference.value() for difference in differences],
        "not_checked": not_checked,
    }
    emit(as_json, value, audit_lines(found, differences, not_checked))
    return NO if found.void or differences else YES


@contextmanager
def _opened(where: str) -> Iterator[tuple[Source, RegistryClient | None]]:
    """Yields where the log is read, and the registry to ask, if it is an address."""
    if where.startswith(URLS):
        from ledger.client import RegistryClient

        with RegistryClient(where) as client:
            yield client, client
        return
    from ledger.audit.folder import LogFolder

    yield LogFolder(Path(where)), None


def audit_lines(found: Audit, differences: Sequence[Difference], not_checked: Sequence[str]) -> list[str]:
    """Returns what an audit found in lines for people."""
    fold = found.fold
    lines = [
        f"audited: {found.origin} at {found.size} leaves, {found.size - found.since} of them new",
        f"  root: {found.root.hex()}",
        f"  witnesses: {', '.join(found.witnesses) or 'none'}",
        f"  manifests: {len(fold.manifests)}, parties with more than one key: {len(fold.keys)}, "
        f"tokens: {len(fold.tokens)}, cases: {len(fold.cases)}",
        f"  leaves without effect: {len(fold.void)} void ({len(found.void)} new), {len(fold.unknown)} of unknown types",
    ]
    lines += [f"    leaf {index}: {reason}" for index, reason in found.void[:SHOWN]]
    lines += _more(len(found.void))
    for watched in found.watched:
        lines += _watched_lines(watched)
    lines += [f"  {d.what}: the registry says {d.said}, the log {d.logged}" for d in differences[:SHOWN]]
    lines += _more(len(differences))
    return lines + [f"  not checked: {sentence}" for sentence in not_checked]


def _watched_lines(watched: Watched) -> list[str]:
    if not watched.count:
        return [f"  watched {watched.word}: not in this log, which names manifests and not the files in them"]
    new = len(watched.events) + watched.more
    lines = [f"  watched {watched.word}: in {watched.count} leaves, {new} of them new"]
    lines += [f"    leaf {event.index}: {event.text}" for event in watched.events[:SHOWN]]
    lines += _more(new)
    for leaf, state in watched.after.items():
        before = watched.before.get(leaf)
        was = "new" if before is None else f"was {before}"
        lines.append(f"    manifest leaf {leaf} is {state}" + ("" if before == state else f" ({was})"))
    return lines


def _more(count: int) -> list[str]:
    return [f"    and {count - SHOWN} more"] if count > SHOWN else []
