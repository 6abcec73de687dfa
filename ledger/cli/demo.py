"""``trainmark demo``: the whole story on real pictures, with the commands a person would type, then attempts to cheat.

Everything runs on this machine: a registry is started as a process of its own on a free port, and stopped by its
process id.  Each step prints the command, what it answered and what that proves.  A failing step ends the demo with a
non-zero exit code: it is also a test of the installation.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ledger.cli.demo_server import Server
from ledger.cli.registry_settings import registry_packages
from ledger.errors import ConflictError

MARKER: Final = ".trainmark-demo"


@click.command("demo")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep everything here, to look at afterwards.",
)
@click.option("--serve/--no-serve", default=None, help="Leave the page running at the end; DEMO_SERVE=0 means no.")
def demo(folder: Path | None, serve: bool | None) -> None:
    """Tell the whole story on real pictures, on this machine alone, in a minute; then try to cheat."""
    with registry_packages():
        import uvicorn  # noqa: F401

        import api.app  # noqa: F401

    from ledger.cli.demo_story import tell

    if serve is None:
        serve = os.environ.get("DEMO_SERVE", "1") != "0"
    signal.signal(signal.SIGTERM, _interrupted)  # whatever ends the demo ends its registry too
    with _stage(folder) as stage, contextlib.chdir(stage):
        started = time.monotonic()
        with Server(Path("registry")) as server:
            tell(server)
            click.secho(f"\nDone in {time.monotonic() - started:.0f} s.", bold=True)
            if folder is not None:
                click.echo(f"Everything is in {folder}; the project's README says what lies where.")
                tools = shlex.quote(str(Path(sys.executable).parent))
                click.echo(f"To repeat a command: cd {shlex.quote(str(stage))}; export PATH={tools}:$PATH")
            if serve:
                with contextlib.suppress(KeyboardInterrupt):  # from the moment it is said
                    click.echo(f"The page is at {server.url}/  drop a file of {stage / 'tagged'} on it.  Ctrl-C ends.")
                    threading.Event().wait()


def _interrupted(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _stage(folder: Path | None) -> Iterator[Path]:
    """Gives an empty folder: the one asked for, if it is empty or an earlier demo's, or a passing one."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="trainmark-demo-") as temporary:
            yield Path(temporary)
        return
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise ConflictError("holds something that is not an earlier demo; name another folder", field="--dir")
        click.echo(f"{folder} holds an earlier demo, which is replaced.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("made by trainmark demo; the next one empties this folder\n")
    yield folder
