"""The page on copies is true: its commands run as they stand, and a copy that is too old is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from api.composition import open_registry
from api.settings import Settings
from ledger.client import RegistryClient
from ledger.errors import ConflictError
from tests.support import ROOT
from tests.support.library import make_library, signing_key
from tests.support.postgres import Cluster, program
from tests.support.process import environment
from tests.support.server import Server, running_server

PAGE = (ROOT / "docs" / "guides" / "backup.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- run: ([a-z ]+) -->\n```sh\n(.*?)```\n", PAGE, re.DOTALL))
WAIT = 30.0


def run(block: str, folder: Path, env: dict[str, str]) -> str:
    """Runs a block of the page in `folder`; returns what it said."""
    programs = [str(Path(sys.executable).parent), str(Path(program("pg_dump")).parent)]
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", BLOCKS[block]],
        cwd=folder,
        env={**environment(env), "PATH": ":".join([*programs, os.environ["PATH"]])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def publish(server: Server, title: str) -> bytes:
    """Publishes a library of one file; returns its digest once the log is anchored with it."""
    key = signing_key("ada")
    with RegistryClient(server.url) as client:
        client.authenticate(key, key.did, ("publish",))
        library = make_library(key, client.policy().origin, [title.encode()], title=title)
        client.publish(library.manifest, library.terms, library.text)
        deadline = time.monotonic() + WAIT
        while (newest := next(client.anchors(), None)) is None or newest["size"] < client.policy().size:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    return library.digest()


def check_refused(settings: Settings, message: str) -> None:
    """A start is refused."""
    with pytest.raises(ConflictError, match=message) as caught, open_registry(settings):
        pass
    assert caught.value.code == "log-disagreement"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_commands_of_the_page(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    env: dict[str, str] = {}
    settings: dict[str, Any] = {}

    def new_database() -> None:
        if database == "postgres":
            cluster: Cluster = request.getfixturevalue("postgres")
            env["TRAINMARK_DATABASE"] = settings["database"] = cluster.url(cluster.new_database())

    new_database()
    folder = tmp_path / "registry"
    with running_server(folder, **settings) as server:
        first = publish(server, "before the copy")
        run(f"copy {database}", tmp_path, env)
        second = publish(server, "after the copy")
    settings["port"] = server.settings.port

    # The disk is lost; the chain is not, others keep it.
    folder.rename(tmp_path / "newest")
    new_database()
    assert "all agree: leaves, every tile and every row" in run(f"put back {database}", tmp_path, env)
    shutil.copy(tmp_path / "newest" / "chain.db", folder)
    check_refused(Settings(data_dir=folder, **settings), "the chain holds 5 leaves, the log has 3: refusing to run")

    # Newer tiles are found: the database is older than they, and then brought forward.
    said = run("forward", tmp_path, env)
    assert "the database had 3 leaves, now it has 5; 1 manifests entered" in said
    with running_server(folder, **settings) as server, RegistryClient(server.url) as client:
        found = list(client.resolve([first, second]))
    assert [[claim["state"] for claim in answer["claims"]] for answer in found] == [["listed"], ["listed"]]


def test_every_block_is_run() -> None:
    assert set(BLOCKS) == {
        *(f"{what} {database}" for what in ("copy", "put back") for database in ("sqlite", "postgres")),
        "forward",
    }
    assert PAGE.count("```sh") == len(BLOCKS)
