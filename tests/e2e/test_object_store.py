"""A registry whose tiles and blobs are in buckets: published, started anew, audited without it, checked, damaged."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from obstore.store import S3Store

from api.composition import Running, open_registry
from api.settings import Settings
from ledger.client import RegistryClient
from ledger.errors import BackendError, ConflictError, RefusedError
from ledger.proof import verify_proof
from ledger.trust import Trust, format_trust
from tests.e2e import test_api_story as story
from tests.e2e.test_postgres import answers
from tests.support import ROOT
from tests.support.library import make_library, signing_key
from tests.support.objects import ObjectStore
from tests.support.process import START_SECONDS, ServerProcess, call
from tests.support.publishing import Publisher
from tests.support.server import running_server


@pytest.fixture
def bucket(s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket in which anybody may read what lies below ``log``, known to the environment."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    name = s3.new_bucket("log")
    monkeypatch.setenv("TRAINMARK_TILES", f"s3://{name}/log")
    monkeypatch.setenv("TRAINMARK_BLOBS", f"s3://{name}/blobs")
    return name


def opened(folder: Path) -> AbstractContextManager[Running]:
    return open_registry(Settings(data_dir=folder))


def names(url: str) -> list[str]:
    return [found["path"] for page in S3Store.from_url(url).list() for found in page]


def audited(url: str, trust: Trust, folder: Path) -> int:
    """Audits the log at `url` into `folder`, a fresh one; returns how many leaves it has."""
    trust_file = folder.with_suffix(".json")
    trust_file.write_bytes(format_trust(trust))
    said = call("log", "audit", url, "--state", folder, "--trust", trust_file, "--tiles-only", "--json")
    assert said.code == 0, said.out + said.err
    return int(said.value["size"])


def test_a_registry_in_buckets(s3: ObjectStore, bucket: str, tmp_path: Path) -> None:
    folder, ada = tmp_path / "data", signing_key("buckets")
    with running_server(folder) as first, story.client_of(first, ada) as client:
        policy = client.policy()
        library = make_library(ada, policy.origin, [b"bucket 1", b"bucket 2"])
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
        story.anchored(client, library.digest())
        size, port, trust = client.policy().size, first.settings.port, story.trust_of(policy)
        before = answers(client, leaf, library.digest(0), library.digest(1))
        assert audited(first.url, trust, tmp_path / "asked") == size
    assert {"log", "blobs"}.isdisjoint(path.name for path in folder.iterdir())
    assert len(names(f"s3://{bucket}/blobs")) == 4
    assert "checkpoint" in names(f"s3://{bucket}/log")

    with running_server(folder, port=port) as second, RegistryClient(second.url) as client:
        assert answers(client, leaf, library.digest(0), library.digest(1)) == before
        assert second.registry.rebuild() == [leaf]
        assert verify_proof(client.proof(library.digest()), trust).creator_id == ada.did

    # Nobody runs now: the bucket alone is the log.
    assert audited(f"{s3.url}/{bucket}/log", trust, tmp_path / "alone") == size
    said = call("log", "fsck", "--data-dir", folder, "--deep")
    assert (said.code, "all agree" in said.out) == (0, True), said.out + said.err

    tile = f"tile/entries/000.p/{size}"
    S3Store.from_url(f"s3://{bucket}/log").put(tile, b"other leaves")
    said = call("log", "fsck", "--data-dir", folder, "--deep")
    assert (said.code, f"disagreement: {tile}: it has 12 bytes" in said.out) == (1, True), said.out + said.err
    S3Store.from_url(f"s3://{bucket}/log").delete(f"tile/0/000.p/{size}")
    with pytest.raises(ConflictError, match=f"tile: no tile/0/000.p/{size}") as caught, opened(folder):
        pass
    assert caught.value.code == "log-disagreement"


def test_killed_while_publishing(bucket: str, tmp_path: Path) -> None:
    places = {name: value for name, value in os.environ.items() if name in ("TRAINMARK_TILES", "TRAINMARK_BLOBS")}
    server = ServerProcess(tmp_path / "registry", places)
    try:
        server.start()
        publisher = Publisher(server.url, 0)
        publisher.start()
        publisher.first.wait(START_SECONDS)
        server.kill()
        publisher.join(60)
        assert isinstance(publisher.ended_by, BackendError), publisher.ended_by
        server.start()
        with RegistryClient(server.url) as client:
            found = list(client.resolve(publisher.history.acknowledged))
    finally:
        server.stop()
    leaves = list(publisher.history.acknowledged.values())
    assert leaves
    assert [[claim["leaf"] for claim in answer["claims"]] for answer in found] == [[leaf] for leaf in leaves]
    said = call("log", "fsck", "--data-dir", tmp_path / "registry", "--deep")
    assert (said.code, "all agree" in said.out) == (0, True), said.out + said.err


def test_the_guide_moves_a_registry_into_buckets(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "registry"
    guide = (ROOT / "docs/guides/operator.md").read_text(encoding="utf-8")
    [block] = [block for block in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) if "S3TileStore" in block]
    with monkeypatch.context() as without:
        without.delenv("TRAINMARK_TILES")
        without.delenv("TRAINMARK_BLOBS")
        with opened(folder) as running:
            blob = running.writer.registry.blobs.put(b"a blob")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=environment, check=True)
    shutil.rmtree(folder / "log")
    shutil.rmtree(folder / "blobs")
    assert call("log", "fsck", "--data-dir", folder, "--deep").code == 0
    with opened(folder) as running:
        assert running.writer.registry.blobs.get(blob) == b"a blob"


def test_keys_are_not_made_anew_beside_a_published_log(bucket: str, tmp_path: Path) -> None:
    S3Store.from_url(f"s3://{bucket}/log").put("checkpoint", b"a note")
    with pytest.raises(RefusedError) as caught, opened(tmp_path / "data"):
        pass
    assert caught.value.code == "keys-incomplete"
    assert list((tmp_path / "data" / "keys").glob("*.pem")) == []
