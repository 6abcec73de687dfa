"""Public blobs on a real IPFS node: same CIDs, nothing private, a node that is away, erasure, and reading them back."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from api import sharer
from ledger.canonical import Object
from ledger.cid import CHUNK_BYTES, cid_encode, cid_of
from ledger.encoding import sha256
from ledger.errors import BackendError, MalformedError, NotFoundError
from ledger.ipfs import IpfsNode
from ledger.registry.sharing import SharedBlobStore, Sharing
from ledger.store.files import FolderBlobStore
from ledger.store.outbox import SqliteOutbox
from tests.e2e import test_api_story as story
from tests.simulator import World, key, library
from tests.support.ipfs import IpfsServer
from tests.support.library import Library, make_library, signing_key
from tests.support.process import free_port
from tests.support.server import Server, running_server


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsServer]:
    """A node that runs, unless a test has stopped it."""
    server = IpfsServer(tmp_path_factory.mktemp("ipfs"))
    server.start()
    yield server
    server.stop()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)


def blobs_of(library: Library) -> list[bytes]:
    """Returns the four blobs of a library: header, entries, terms, text."""
    entries = b"[" + b",".join(entry.data for entry in library.manifest.entries) + b"]"
    return [library.manifest.header.data, entries, library.terms, library.text]


def cids_of(library: Library) -> set[bytes]:
    return {cid_of(blob) for blob in blobs_of(library)}


# -- the node alone


@pytest.mark.parametrize("size", [0, 34, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 5 * CHUNK_BYTES + 7])
def test_the_node_has_the_same_cids(node: IpfsServer, size: int) -> None:
    data = b"".join(sha256(b"%d %d" % (size, n)) for n in range(size // 32 + 1))[:size]
    with closing(IpfsNode(node.address)) as client:
        client.put(data)
        client.put(data)
        assert cid_of(data) in node.pins()
        assert client.get(cid_of(data)) == data
        client.remove(cid_of(data))
        client.remove(cid_of(data))
        assert cid_of(data) not in node.pins()


@pytest.mark.parametrize("address", ["", "nonsense", "http://127.0.0.1:5001", "/ip4/127.0.0.1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(MalformedError, match="TRAINMARK_IPFS: expected an address like"):
        IpfsNode(address, "TRAINMARK_IPFS")


def test_a_node_that_is_away() -> None:
    client = IpfsNode(f"/ip4/127.0.0.1/tcp/{free_port()}")
    for call in (lambda: client.put(b"a"), lambda: client.get(cid_of(b"a")), lambda: client.remove(cid_of(b"a"))):
        with pytest.raises(BackendError, match="ipfs: ") as caught:
            call()
        assert caught.value.code == "unavailable"


class Liar(BaseHTTPRequestHandler):
    """A node that has one CID and one content for everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = json.dumps({"Hash": cid_encode(cid_of(b"other"))}).encode() if "/add" in self.path else b"other"
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Full(BaseHTTPRequestHandler):
    """A node that has no space left."""

    removed: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_add = "/add" in self.path
        if not is_add:
            self.removed.append(self.path)
        said = b'{"Message":"no space left on device","Code":0,"Type":"error"}' if is_add else b'{"Pins":[]}'
        self.send_response(500 if is_add else 200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_node_that_takes_nothing_more_lets_go(tmp_path: Path) -> None:
    world = World()
    kept, erased = (world.publish(library(name, key("eva"))).logged.index for name in ("kept", "erased"))
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    outbox.pin(erased, {b"1" * 32: cid_of(b"header")})
    world.review(erased, "erased")
    with ThreadingHTTPServer(("127.0.0.1", 0), Full) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            node = IpfsNode(f"/ip4/127.0.0.1/tcp/{server.server_port}")
            with pytest.raises(BackendError, match="the node says no"):
                Sharing(world.registry, outbox, node).step()
            node.close()
        finally:
            server.shutdown()
    assert (outbox.todo(), outbox.unpins()) == ([kept], [])
    assert len(Full.removed) == 1
    outbox.close()
    world.close()


def test_an_erasure_asks_no_node(tmp_path: Path) -> None:
    """Sharing was off while it was erased, and is on again while the node is away."""
    world = World()
    pictures = library("pictures", key("eva"))
    leaf = world.publish(pictures).logged.index
    outbox, node = SqliteOutbox(tmp_path / "outbox.db"), IpfsNode(f"/ip4/127.0.0.1/tcp/{free_port()}")
    outbox.pin(leaf, {pictures.header.digest: cid_of(b"header")})
    world.review(leaf, "erased")
    world.registry.close()
    away = replace(world, blobs=SharedBlobStore(world.blobs, outbox, node), _open=None)
    assert away.registry.log.fold.manifest_state(leaf) == "ended"
    with pytest.raises(BackendError, match="the node does not answer"):
        Sharing(away.registry, outbox, node).step()
    assert (outbox.cid(pictures.header.digest), outbox.unpins()) == (None, [cid_of(b"header")])
    away.close()
    outbox.close()


def test_a_node_that_lies() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            client = IpfsNode(f"/ip4/127.0.0.1/tcp/{server.server_port}")
            assert client.get(cid_of(b"other")) == b"other"
            for call in (lambda: client.put(b"a"), lambda: client.get(cid_of(b"a"))):
                with pytest.raises(BackendError) as caught:
                    call()
                assert caught.value.code == "corrupt"
            client.close()
        finally:
            server.shutdown()


# -- a registry that shares


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the node be asked more often than in life."""
    monkeypatch.setattr(sharer, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(sharer, "FIRST_PAUSE", 0.1)


def review(server: Server, leaf: int, outcome: str, visibility: str | None = None) -> None:
    registry = server.running.writer.registry
    body: Object = {"leaf": leaf, "outcome": outcome, "visibility": visibility, "evidence": None}
    registry.speak(registry.sign("review", body).data, registry.identity.did)


def publish(server: Server, name: str) -> tuple[int, Library]:
    """Publishes a library of one's own license text; returns its leaf."""
    ada = signing_key(f"ipfs {name}")
    with story.client_of(server, ada) as client:
        library = make_library(ada, client.policy().origin, [name.encode()], title=name)
        return client.publish(library.manifest, library.terms, library.text).leaf, library


@pytest.mark.usefixtures("often")
def test_what_is_public_is_shared_until_it_is_not(node: IpfsServer, tmp_path: Path) -> None:
    with running_server(tmp_path, ipfs=node.address) as server:
        kept, one = publish(server, "kept")
        hidden, other = publish(server, "hidden")
        until(lambda: cids_of(one) | cids_of(other) <= node.pins())
        review(server, hidden, "listed", "private")
        review(server, kept, "delisted")
        until(lambda: not (cids_of(other) - cids_of(one)) & node.pins())
        review(server, hidden, "listed", "public")
        until(lambda: cids_of(other) <= node.pins())
        review(server, hidden, "erased")
        until(lambda: not (cids_of(other) - cids_of(one)) & node.pins())
        assert cids_of(one) <= node.pins()
        until(lambda: server.running.warning is None)
        with pytest.raises(NotFoundError):
            server.registry.blobs.get(other.manifest.header.digest)


@pytest.mark.usefixtures("often")
def test_nothing_private_ever_gets_to_the_node(node: IpfsServer, tmp_path: Path) -> None:
    with running_server(tmp_path) as server:  # without a node, so that nothing is shared before it is hidden
        leaf, private = publish(server, "private")
        review(server, leaf, "listed", "invite")
        gone, erased = publish(server, "erased before")
        review(server, gone, "erased")
    with running_server(tmp_path, ipfs=node.address) as server:
        _, public = publish(server, "public")
        until(lambda: cids_of(public) <= node.pins())
        assert not (cids_of(private) | cids_of(erased)) - cids_of(public) & node.pins()


@pytest.mark.usefixtures("often")
def test_a_node_that_is_away_delays_and_loses_nothing(node: IpfsServer, tmp_path: Path) -> None:
    node.stop()
    try:
        with running_server(tmp_path, ipfs=node.address) as server:
            began = time.monotonic()
            _, first = publish(server, "away 1")
            assert time.monotonic() - began < 5
            until(lambda: server.running.warning is not None)
            assert "blobs wait for the IPFS node" in httpx.get(f"{server.url}/healthz").json()["warning"]
        with running_server(tmp_path, ipfs=node.address) as server:
            _, lost = publish(server, "away 2")
            header = lost.manifest.header
            server.registry.blobs.delete(header.digest)
            _, second = publish(server, "away 3")
    finally:
        node.start()
    with running_server(tmp_path, ipfs=node.address) as server:
        until(lambda: cids_of(first) | cids_of(second) <= node.pins())
        until(lambda: f"no blob sha256:{header.digest.hex()}" in str(server.running.warning))
        server.registry.blobs.put(header.data)
        until(lambda: cids_of(lost) <= node.pins() and server.running.warning is None)


@pytest.mark.usefixtures("often")
def test_lost_blobs_come_back_from_the_node(node: IpfsServer, tmp_path: Path) -> None:
    with running_server(tmp_path, ipfs=node.address) as server:
        leaf, library = publish(server, "lost")
        until(lambda: cids_of(library) <= node.pins())
        shutil.rmtree(tmp_path / "blobs")
        blobs = server.registry.blobs
        assert sorted(blobs.digests()) == sorted(map(sha256, blobs_of(library)))
        assert server.registry.rebuild() == [leaf]
        assert [blobs.get(sha256(blob)) for blob in blobs_of(library)] == blobs_of(library)
        [header, *_] = blobs_of(library)
        blobs.delete(sha256(header))  # before the node has heard of it
        with pytest.raises(NotFoundError):
            blobs.get(sha256(header))
        blobs.put(header)
    with running_server(tmp_path) as server:  # and stay, without a node
        assert [server.registry.blobs.get(sha256(blob)) for blob in blobs_of(library)] == blobs_of(library)


def test_a_blob_that_is_erased_while_it_is_fetched_does_not_come_back(node: IpfsServer, tmp_path: Path) -> None:
    class Slow(IpfsNode):
        def get(self, cid: bytes) -> bytes:
            data = super().get(cid)
            shared.delete(sha256(data))
            return data

    main = FolderBlobStore(tmp_path / "blobs")
    with closing(SqliteOutbox(tmp_path / "outbox.db")) as outbox, closing(Slow(node.address)) as slow:
        shared = SharedBlobStore(main, outbox, slow)
        slow.put(b"erased")
        outbox.pin(1, {sha256(b"erased"): cid_of(b"erased")})
        with pytest.raises(NotFoundError, match="no blob"):
            shared.get(sha256(b"erased"))
    assert list(main.digests()) == []
