"""What commands make of a registry that is down, answers nonsense, or lies: an error, never a yes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from ledger.cli.output import emit
from ledger.encoding import digest_encode, sha256
from ledger.images.content import content_hash
from ledger.registry.proving import prove
from ledger.trust import format_trust
from tests.simulator import Library, World, entry, identity, key, license_of
from tests.support.pictures import png
from tests.support.process import Said, call

Answer = tuple[int, bytes]
RAW = "x\x1b[31m\x7f\x9b31m\u2028\u202e\ufeff\U000e0041\udcff caf\u00e9 \U0001f3a8\n"
PICTURE = png()
DATASET = "urn:uuid:00000000-0000-4000-8000-00000000000b"


def test_what_is_for_programs_moves_no_cursor_either(capsys: pytest.CaptureFixture[str]) -> None:
    """What others wrote is escaped, and a program reads it as they wrote it."""
    emit(True, {RAW: [RAW]}, [])
    out = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in out)
    assert "caf\u00e9 \U0001f3a8" in out
    assert json.loads(out) == {RAW: [RAW]}


class Registry(ThreadingHTTPServer):
    """A registry that gives `answer` (path, body) to everything."""

    daemon_threads = True
    answer: Callable[[str, bytes], Answer] = staticmethod(lambda path, body: (404, b""))

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing when a client hangs up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version: ClassVar[str] = "HTTP/1.1"  # type: ignore[misc]
    server: Registry

    def do_GET(self) -> None:
        self.reply()

    def do_POST(self) -> None:
        self.reply()

    def reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, data = self.server.answer(self.path, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True, scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The current folder: a corpus of one picture, a creator with a library of it, and an honest registry's trust file.

    The tests leave it as it is.
    """
    with contextlib.chdir(tmp_path_factory.mktemp("answers")):
        Path("corpus").mkdir()
        Path("corpus/a.png").write_bytes(PICTURE)
        world = World()
        Path("trust.json").write_bytes(format_trust(world.trust()))
        world.close()
        new = ("license", "new", "--preset", "open", "--id", "ADA-1", "--url", "https://ada.example/1")
        declared = ("--title", "a", "--rights", "owned", "--release", "not-required", "--privacy", "none")
        assert call("init", "--no-passphrase", "--name", "Ada Lens", "--url", "https://ada.example/").code == 0
        assert call(*new).code == 0
        assert call("manifest", "corpus", "-o", "out", "--license", "ADA-1.license.json", *declared).code == 0
        yield


class Honest:
    """A registry in which the corpus's one picture is free for all; `changed` replaces what a path is answered with."""

    def __init__(self, world: World, changed: dict[str, Answer | Callable[[], Answer]] | None = None) -> None:
        own = digest_encode(sha256(PICTURE))
        facts = {"provenance_hash": own, "published_hash": own, "content_hash": None}
        library = Library.of(key("eva"), [entry("a", **facts)], license_of(require=[]))
        self.leaf = world.publish(library).logged.index
        self.note = world.registry.log.head.note
        self.proof = prove(world.registry, sha256(PICTURE), self.leaf)
        self.changed = changed or {}

    def __call__(self, path: str, body: bytes) -> Answer:
        for start, answer in self.changed.items():
            if path.startswith(start):
                return answer() if callable(answer) else answer
        if path == "/checkpoint":
            return 200, self.note
        if path == "/v1/resolve":
            return 200, b"".join(self.line(json.loads(line)) for line in body.splitlines())
        if path.startswith("/v1/proofs/"):
            return 200, self.proof
        return 404, b""

    def line(self, digest: str, claims: object = None) -> bytes:
        found = [{"leaf": self.leaf}] if digest == digest_encode(sha256(PICTURE)) else []
        return json.dumps({"digest": digest, "claims": found if claims is None else claims}).encode() + b"\n"


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def check(registry: Registry) -> Said:
    return call("check", "corpus", "--registry", registry.url, "--json")


def test_check_asks_nobody_over_plain_http(registry: Registry, world: World) -> None:
    said = call("check", "corpus", "--registry", "http://registry.example")
    assert (said.code, said.out) == (2, "")
    assert "[insecure]" in said.err


def test_check_allows_what_an_honest_registry_proves(registry: Registry, world: World) -> None:
    registry.answer = Honest(world)
    said = check(registry)
    assert (said.code, said.value["verdicts"][0]["reasons"]) == (0, ["licensed"])


@pytest.mark.parametrize(
    "wrong",
    [
        (200, b""),
        (200, b"<html>welcome to this network: please log in</html>"),
        (200, b"\xff\xfe\x00"),
        (200, b"{}"),
        (200, b"[]\n"),
        (200, b"null\n"),
        (200, b"[" * 100_000),
        (204, b""),
        (301, b""),
        (400, b"{}"),
        (403, b""),
        (404, b""),
        (500, b"Traceback (most recent call last)"),
    ],
    ids=lambda answer: f"{answer[0]}-{answer[1][:12]!r}",
)
@pytest.mark.parametrize("path", ["/checkpoint", "/v1/resolve", "/v1/proofs/", "/"])
def test_check_denies_whatever_goes_wrong(registry: Registry, world: World, path: str, wrong: Answer) -> None:
    registry.answer = Honest(world, {path: wrong})
    said = check(registry)
    assert (said.code, said.value["counts"]) == (1, {"allow": 0, "review": 0, "deny": 1, "aside": 0})
    assert "unforeseen" not in said.err


@pytest.mark.parametrize(
    "claims",
    [
        None,
        "listed",
        {},
        [None],
        ["0"],
        [{}],
        [{"leaf": None}],
        [{"leaf": "1"}],
        [{"leaf": 1.5}],
        [{"leaf": True}],
        [{"leaf": -1}],
        [{"leaf": 10**30}],
        [{"leaf": 0}],
        [[]],
    ],
    ids=repr,
)
def test_check_denies_whatever_a_claim_is_called(registry: Registry, world: World, claims: object) -> None:
    honest = Honest(world)
    line = json.dumps({"digest": digest_encode(sha256(PICTURE)), "claims": claims}).encode() + b"\n"
    other = honest.line(digest_encode(content_hash(PICTURE) or b""), [])

    def answer(path: str, body: bytes) -> Answer:
        if path != "/v1/resolve":
            return honest(path, body)
        return 200, b"".join(line if sha256(PICTURE).hex().encode() in asked else other for asked in body.splitlines())

    registry.answer = answer
    said = check(registry)
    assert (said.code, said.value["counts"]) == (1, {"allow": 0, "review": 0, "deny": 1, "aside": 0})
    assert "unforeseen" not in said.err


def test_check_denies_a_proof_of_something_else(registry: Registry, world: World) -> None:
    honest = Honest(world)
    other = Library.of(key("bob"), [entry("b")], license_of(require=[]), {"dataset_id": DATASET})
    leaf = world.publish(other).logged.index
    elsewhere = World(identity("elsewhere"))
    foreign = Honest(elsewhere)
    elsewhere.close()
    flipped = bytearray(honest.proof)
    flipped[len(flipped) // 2] ^= 1
    proofs = {
        "of another work": prove(world.registry, other.entries[0].provenance_hash, leaf),
        "of another log": foreign.proof,
        "with a bit turned": bytes(flipped),
        "of an older log": honest.proof,  # the log has grown by the other library
    }
    for what, data in proofs.items():
        registry.answer = Honest(
            World(), {"/checkpoint": (200, world.registry.log.head.note), "/v1/proofs/": (200, data)}
        )
        said = check(registry)
        assert (said.code, said.value["counts"]["deny"]) == (1, 1), what
        reasons = said.value["verdicts"][0]["reasons"]
        assert reasons == (["stale"] if what == "of an older log" else ["proof-refused"]), what


@pytest.mark.parametrize("long", ["file", "picture"])
def test_check_denies_what_is_answered_at_too_great_a_length_and_nothing_else(
    registry: Registry, world: World, tmp_path: Path, long: str
) -> None:
    """Nobody knows what the answer says: who claims the picture in a file has a say as who claims the file."""
    honest, (a, b) = Honest(world), (tmp_path / "a.png", tmp_path / "b.png")
    a.write_bytes(PICTURE)
    b.write_bytes(png("L"))
    digest = digest_encode(sha256(b.read_bytes()) if long == "file" else content_hash(PICTURE) or b"")

    def answer(path: str, body: bytes) -> Answer:
        if path != "/v1/resolve":
            return honest(path, body)
        asked = [json.loads(line) for line in body.splitlines()]
        return 200, b"".join(b" " * (1 << 20) * (one == digest) + honest.line(one) for one in asked)

    registry.answer = answer
    said = call("check", str(tmp_path), "--registry", registry.url, "--json")
    found = {v["file"]: (v["verdict"], v["reasons"]) for v in said.value["verdicts"]}
    assert found["a.png"] == (("allow", ["licensed"]) if long == "file" else ("deny", ["error"]))
    assert found["b.png"] == ("deny", ["error"] if long == "file" else ["unknown"])
    assert "unforeseen" not in said.err


def test_check_tells_of_names_that_no_line_can_hold(registry: Registry, world: World) -> None:
    names = {os.fsdecode(b"\xffbad.png"), "a\n  allow  b.png"}
    Path("odd").mkdir()
    for name in names:
        Path("odd", name).write_bytes(b"no picture")
    registry.answer = Honest(world)
    command = ("check", "odd", "--registry", registry.url)
    said = call(*command, "--json", "-o", "report.ndjson")
    assert said.code == 1
    assert {v["file"] for v in said.value["verdicts"]} == names
    said.out.encode()
    assert {json.loads(line)["file"] for line in Path("report.ndjson").read_bytes().splitlines()} == names
    lines = call(*command).out.splitlines()
    assert len([line for line in lines if line.startswith("  allow")]) == 0
    assert len([line for line in lines if ".png: " in line]) == len(names)


NONSENSE: list[Answer] = [
    (200, b""),
    (200, b"<html></html>"),
    (200, b"{}"),
    (200, b"[]"),
    (200, b'{"claims":[]}\n'),
    (500, b"{}"),
    (302, b""),
]
HASH = digest_encode(sha256(PICTURE))


@pytest.mark.parametrize("wrong", NONSENSE, ids=lambda answer: f"{answer[0]}-{answer[1][:12]!r}")
@pytest.mark.parametrize(
    "command",
    [
        ("resolve", "corpus/a.png"),
        ("prove", "corpus/a.png", "-o", "x.proof.json"),
        ("trust", "add", "--yes", "--trust", "new.json"),
        ("publish", "out"),
        ("withdraw", "out"),
        ("withdraw", "3"),
        ("token", "issue", "out", "--purpose", "x", "-o", "x.token.json"),
        ("review", "list", "--key", ".trainmark/signing.key.pem"),
        ("review", "approve", "3", "--key", ".trainmark/signing.key.pem"),
    ],
    ids=" ".join,
)
def test_nonsense_is_an_error_with_a_message(registry: Registry, command: tuple[str, ...], wrong: Answer) -> None:
    registry.answer = lambda path, body: wrong
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    option = "--to" if command[0] in ("publish", "withdraw", "token") else "--registry"
    where = (registry.url,) if command[0] == "trust" else (option, registry.url)
    said = call(*command, *where, "--json")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("trainmark: ")
    assert "unforeseen" not in said.err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


CLAIM: dict[str, object] = {
    "leaf": 3,
    "entry": 0,
    "kind": "published",
    "state": "listed",
    "contested": False,
    "creator": {"id": "did:key:z6Mk", "name": "Eva\x1b[2J"},
    "license": {"id": "A", "training": {"answer": "yes", "conditions": []}},
    "anchor": None,
}


def resolving(claim: object) -> Callable[[str, bytes], Answer]:
    def answer(path: str, body: bytes) -> Answer:
        lines = [{"digest": json.loads(asked), "claims": [claim]} for asked in body.splitlines()]
        return 200, b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    return answer


@pytest.mark.parametrize("left_out", [*CLAIM, "nothing"])
def test_resolve_shows_a_claim_or_says_that_it_is_none(registry: Registry, left_out: str) -> None:
    registry.answer = resolving({name: value for name, value in CLAIM.items() if name != left_out})
    said = call("resolve", HASH, "--registry", registry.url)
    if left_out == "nothing":
        assert said.code == 0
        assert "  Eva\ufffd[2J (did:key:z6Mk)" in said.out  # a name cannot clear the screen
    else:
        assert (said.code, said.out) == (3, "")
        assert said.err == "trainmark: the registry's answer is not of its form [protocol]\n"


def test_prove_writes_no_proof_of_something_else(registry: Registry, world: World) -> None:
    honest = Honest(world)
    other = Library.of(key("bob"), [entry("b")], license_of(require=[]), {"dataset_id": DATASET})
    leaf = world.publish(other).logged.index
    command = ("prove", "corpus/a.png", "-o", "x.proof.json", "--registry", registry.url)
    for trust in ("trust.json", "none.json"):
        registry.answer = honest
        said = call(*command, "--trust", trust)
        assert said.code == 0
        assert said.out.endswith("  not anchored yet: it proves no time; ask again in a minute\n")
        Path("x.proof.json").unlink()
        for wrong in (prove(world.registry, other.entries[0].provenance_hash, leaf), honest.proof[:-1], b"{}"):
            registry.answer = Honest(World(), {"/v1/proofs/": (200, wrong)})
            said = call(*command, "--trust", trust)
            assert (said.code, said.err) == (3, "trainmark: the registry's answer is not of its form [protocol]\n")
            assert not Path("x.proof.json").exists()


def test_a_registry_does_not_name_the_file(registry: Registry) -> None:
    def answer(path: str, body: bytes) -> Answer:
        return 200, json.dumps({"digest": HASH, "claims": [], "file": "another"}).encode() + b"\n"

    registry.answer = answer
    said = call("resolve", HASH, "--registry", registry.url, "--json")
    assert (said.code, said.value["answers"][0]["file"]) == (1, HASH)


def test_trust_add_takes_no_keys_that_are_none(registry: Registry) -> None:
    world = World()
    good = {
        "registry": world.identity.did,
        "origin": world.identity.origin,
        "log_vkey": world.registry.log.vkey,
        "issuer": registry.url,
        "token_keys": [world.identity.did],
        "rules": digest_encode(bytes(32)),
        "size": 1,
        "anchors": [],
    }
    world.close()
    registry.answer = lambda path, body: (200, json.dumps(good).encode())
    add = ("trust", "add", registry.url, "--yes", "--trust", "new.json", "--json")
    assert call(*add).code == 0
    Path("new.json").unlink()
    for changed in ({"registry": "did:key:z6Mk"}, {"log_vkey": "a+b+c"}, {"anchors": [{"kind": "evm"}]}, {"size": -1}):
        wrong = {**good, **changed}
        registry.answer = lambda path, body, wrong=wrong: (200, json.dumps(wrong).encode())  # type: ignore[misc]
        said = call(*add)
        assert said.code in (2, 3), changed
        assert said.out == ""
        assert "unforeseen" not in said.err
        assert not Path("new.json").exists()


@pytest.mark.parametrize("command", [("serve",), ("demo", "--dir", "demo")])
def test_what_a_registry_needs_is_missed_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as if it was not installed
    before = sorted(Path().iterdir())
    said = call(*command)
    assert (said.code, said.out) == (2, "")
    assert "a registry needs more packages (uvicorn): pip install '.[registry]' in the checkout" in said.err
    assert sorted(Path().iterdir()) == before
