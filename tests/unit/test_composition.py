"""What a start writes, and what it writes not: a registry that the chain contradicts is left as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from api.composition import open_registry
from api.settings import Settings
from ledger.errors import ConflictError
from ledger.registry import payloads
from ledger.statements import manifest_body, sign_statement
from tests.simulator import key, library

EVA = key("eva")


def settings(folder: Path) -> Settings:
    """Returns the settings of a registry in a folder that anchors when it is told to."""
    return Settings(data_dir=folder, anchor_interval=3600)


def contents(folder: Path) -> dict[str, bytes]:
    """Returns what is published in a registry's folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("log/**/*") if path.is_file()}


def _older(data: Path, backup: Path) -> None:
    for name in ("log", "blobs", "registry.db"):
        path = data / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(backup, data, dirs_exist_ok=True, ignore=shutil.ignore_patterns("chain.db*"))


def _lost(data: Path, _: Path) -> None:
    shutil.rmtree(data / "log")
    (data / "registry.db").unlink()


@pytest.mark.parametrize(("rolled_back", "leaves"), [(_older, 2), (_lost, 0)])
def test_a_refused_start_publishes_nothing(
    tmp_path: Path, rolled_back: Callable[[Path, Path], None], leaves: int
) -> None:
    """The backup was made between a manifest and its review, which the next start logs."""
    data, backup, works = tmp_path / "data", tmp_path / "backup", library("birds", EVA)
    with open_registry(settings(data)) as running:
        registry = running.writer.registry
        body = manifest_body(works.header.digest)
        registry.speak(sign_statement("manifest", EVA.did, EVA, registry.identity.origin, body).data, EVA.did)
        payloads.store(payloads.Payload(works.header, works.entries, works.terms, works.text), registry.blobs)
    shutil.copytree(data, backup)
    with open_registry(settings(data)) as running:
        assert running.registry.log.head.size == 3
        running.writer.anchorer.step()
    rolled_back(data, backup)
    before = contents(data)
    with (
        pytest.raises(ConflictError, match=f"the chain holds 3 leaves, the log has {leaves}: refusing to run"),
        open_registry(settings(data)),
    ):
        pass
    assert contents(data) == before
