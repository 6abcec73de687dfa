"""``trainmark demo``: the whole story on real pictures, with the commands a person would type, then attempts to cheat.

Everything runs on this machine: a registry is started as a process of its own on a free port, and stopped by its
process id.  Each step prints the command, what it answered and what that proves.  A failing step ends the demo with a
non-zero exit code: it is also a test of the installation.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ledger.errors import BackendError, ConflictError

PICTURES: Final = Path(__file__).parent / "demo_pictures"
MARKER: Final = ".trainmark-demo"
START_SECONDS: Final = 60

_SERVE: Final = (sys.executable, "-m", "ledger.cli", "serve")


@click.command("demo")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Keep everything here, to look at afterwards.")
@click.option("--serve/--no-serve", default=None, help="Leave the page running at the end; DEMO_SERVE=0 means no.")
def demo(folder: Path | None, serve: bool | None) -> None:
    """Run everything above on real pictures, in a minute."""
    from ledger.cli.demo_story import tell

    if serve is None:
        serve = os.environ.get("DEMO_SERVE", "1") != "0"
    with _stage(folder) as stage, contextlib.chdir(stage):
        started = time.monotonic()
        with Server(Path("registry")) as server:
            tell(server)
            click.secho(f"\nDone in {time.monotonic() - started:.0f} s.", bold=True)
            if folder is not None:
                click.echo(f"Everything is in {folder}: README names what lies where.")
            if serve:
                click.echo(f"The page is at {server.url}/  drop a file of {stage / 'tagged'} on it.  Ctrl-C ends.")
                with contextlib.suppress(KeyboardInterrupt):
                    signal.sigwait({signal.SIGINT, signal.SIGTERM})


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
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("made by trainmark demo; the next one empties this folder\n")
    yield folder


class Server:
    """A registry process on a free port of this machine; started and stopped as often as the story wants it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the registry and waits until it answers.

        Raises:
            BackendError: it ended, or does not answer; its last words are in ``server.log``.
        """
        environment = {**os.environ, "TRAINMARK_ANCHOR_INTERVAL": "0.5"}
        with Path("server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *_SERVE,
                    "--data-dir",
                    str(self.data_dir),
                    "--port",
                    str(self.port),
                ],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BackendError(f"the registry ended: {Path('server.log').read_text()[-500:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise BackendError("the registry did not start")

    def stop(self) -> None:
        """Stops the registry, if it runs, and waits until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
