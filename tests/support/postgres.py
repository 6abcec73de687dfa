"""A PostgreSQL of the tests' own: made in a temporary folder, on a socket in it and nowhere else, ended by its id.

PostgreSQL does not run as root; started by root it runs as the user ``postgres`` that Debian's package makes.  It is
not optional: without its programs the tests that need it fail and say what to install.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg

USER: Final = "postgres"
START_SECONDS: Final = 60.0
PORT: Final = 54321
"""Part of the socket's name; nothing listens on it."""

MISSING: Final = (
    "PostgreSQL's server is not installed, and the tests need it: apt-get install --no-install-recommends postgresql, "
    "or put the folder of its programs (initdb, postgres) into PATH"
)


def program(name: str) -> str:
    """Returns the path of one of the server's programs; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    path = shutil.which(name) or (str(found[-1]) if found else None)
    if path is None:
        raise RuntimeError(MISSING)
    return path


class Cluster:
    """A server over `folder`, started and ended as often as wanted; `settings` are PostgreSQL's own."""

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        self.folder = folder
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()

    @property
    def output(self) -> Path:
        """What the server wrote."""
        return self.folder / "output"

    def make(self) -> None:
        """Makes the cluster's files."""
        command = [program("initdb"), "-D", str(self.folder / "data"), "-U", USER, "--auth=trust", "--no-sync"]
        self._call([*command, "--encoding=UTF8", "--locale=C"])

    def start(self, mount: str | None = None) -> None:
        """Starts the server and waits until it answers.

        `mount` is a script that mounts something in a namespace of the server's own, where nothing is left of it once
        the server has ended, and then runs its arguments; ``$0`` is the folder.
        """
        first = ["unshare", "--mount", "sh", "-c", mount, str(self.folder)] if mount else []
        settings = ["listen_addresses=", f"unix_socket_directories={self.folder}", f"port={PORT}", *self._settings]
        options = [word for setting in settings for word in ("-c", setting)]
        with self.output.open("ab") as output:
            command = [*first, *_as_user(), program("postgres"), "-D", str(self.folder / "data"), *options]
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError), self.connect():
                return
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL did not start: {self.output.read_text()[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends the server, by default at once but in order; SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Returns a connection of an operator's, on which each statement counts at once."""
        return psycopg.connect(self.url(database), autocommit=True)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs a statement as an operator would; returns its rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str) -> str:
        """Returns the address of a database, as the product takes it."""
        return f"postgresql://{USER}@/{database}?host={self.folder}&port={PORT}"

    def new_database(self, options: str = "") -> str:
        """Makes an empty database; returns its name."""
        name = f"d{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return name

    def end_connections(self, database: str, condition: str = "true") -> int:
        """Ends the connections to a database for which a condition over ``pg_stat_activity`` holds; says how many."""
        others = f"FROM pg_stat_activity WHERE datname = '{database}' AND {condition}"
        return len(self.execute(f"SELECT pg_terminate_backend(pid) {others}"))

    def _call(self, command: Sequence[str]) -> None:
        done = subprocess.run([*_as_user(), *command], cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stderr[-2000:]}")


def _as_user() -> list[str]:
    """Returns the words to run a program by: as a user who may, and for no longer than whoever runs the tests."""
    user = [f"--reuid={USER}", f"--regid={USER}", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, "--pdeathsig", "INT", "env", "HOME=/"]


@contextlib.contextmanager
def cluster(settings: Sequence[str] = ("fsync=off",), mount: str | None = None) -> Iterator[Cluster]:
    """A running server until the block ends, in a folder of its own that goes with it.

    By default it does not wait for the disk: a test may kill it, not the machine.  `mount` as for ``start``.
    """
    program("postgres")
    # Not below pytest's own folder, which only the user who runs the tests may enter; a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="trainmark-pg-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o700)
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        server = Cluster(folder, settings)
        try:
            server.make()
            server.start(mount)
            yield server
        finally:
            server.stop()
