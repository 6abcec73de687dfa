"""The client against registries that answer wrongly: what it refuses, what it repeats, what it never gives away.

The answers are made up by a transport, since no registry of ours would give them; the client against a real one is in
tests/e2e.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from ledger.assertion import audience_of, verify_assertion
from ledger.client import MAX_JSON_BYTES, MAX_LINE_BYTES, MAX_WAIT, TRIES, RegistryClient
from ledger.encoding import digest_encode, sha256
from ledger.errors import (
    BackendError,
    ConflictError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TrainmarkError,
    VerificationError,
)
from ledger.statements import Statement, sign_statement
from ledger.tiles import ENTRIES, MAX_TILE_BYTES, Tile
from tests.support.library import make_library, signing_key

URL = "https://registry.example"
KEY = signing_key("client")
NOW = 1_790_000_000
POLICY = {
    "registry": KEY.did,
    "origin": "registry.example",
    "log_vkey": "registry.example+00000000+AAAA",
    "issuer": URL,
    "token_keys": [KEY.did],
    "rules": digest_encode(bytes(32)),
    "size": 1,
    "anchors": [],
}

Answer = Callable[[httpx.Request], httpx.Response]


class Registry:
    """Answers by path, and keeps what was asked; `waits` are the pauses of the client."""

    def __init__(self, **answers: httpx.Response | Answer) -> None:
        self.answers = answers
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        name = request.url.path.removeprefix("/v1/").strip("/").replace("/", "_")
        answer = self.answers.get(name, self.answers.get("other"))
        if callable(answer):
            answer = answer(request)
        elif answer is None:
            answer = httpx.Response(404)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=answer.stream)  # nothing is read yet

    def client(self, url: str = URL, now: Callable[[], float] = lambda: NOW) -> RegistryClient:
        return RegistryClient(url, transport=httpx.MockTransport(self), sleep=self.waits.append, clock=now)


def value(content: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=content)


def problem(status: int, **members: object) -> httpx.Response:
    content = {"code": "some-code", "detail": "some detail", "field": "place", **members}
    return httpx.Response(status, content=json.dumps(content), headers={"Content-Type": "application/problem+json"})


def raised(call: Callable[[], object]) -> TrainmarkError:
    with pytest.raises(TrainmarkError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        *("registry.example", "ftp://registry.example", "https://", "https://x/?a=1", "https://x/#a", "https://a:b@x"),
        *(
            "http://[::1",
            "http://x:y",
            "http://.",
            "http://a..b",
            "http://xn--a",
            "http://\x00",
            f"http://{'a' * 64}.x",
        ),
    ],
)
def test_a_registry_has_an_http_address(url: str) -> None:
    with pytest.raises(MalformedError, match="url"):
        RegistryClient(url)


# Refusals


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, MalformedError),
        (401, RefusedError),
        (403, RefusedError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, RefusedError),
        (422, VerificationError),
        (429, BackendError),
        (500, BackendError),
        (503, BackendError),
        (418, BackendError),
    ],
)
def test_a_refusal_is_the_error_it_stands_for(status: int, kind: type[TrainmarkError]) -> None:
    error = raised(Registry(policy=problem(status)).client().policy)
    assert type(error) is kind
    assert (error.code, error.field, error.message) == ("some-code", "place", "some detail")


def test_what_a_registry_writes_cannot_move_the_cursor() -> None:
    error = raised(Registry(policy=problem(404, detail="a\x1b[2Jb\nc" + "d" * 10_000, field=None)).client().policy)
    assert error.message.startswith("a[2Jbcd")
    assert len(error.message) <= 500


def test_a_refusal_without_problem_details_is_told_by_its_number() -> None:
    assert "answers 404" in raised(Registry(policy=httpx.Response(404, text="<h1>")).client().policy).message
    assert raised(Registry(policy=problem(404, code=7)).client().policy).code == "protocol"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    registry = Registry(policy=httpx.Response(status, headers={"Location": "https://other.example/"}))
    assert isinstance(raised(registry.client().policy), BackendError)
    assert [request.url.host for request in registry.requests] == ["registry.example"]


def test_no_cookie_is_kept() -> None:
    """Whoever answers once could else make every later request too big, or know who asks."""
    answer = value(POLICY)
    answer.headers["Set-Cookie"] = "who=you; Path=/"
    registry = Registry(policy=answer)
    with registry.client() as client:
        client.policy()
        client.policy()
    assert ["cookie" in request.headers for request in registry.requests] == [False, False]


def test_a_registry_that_cannot_be_reached() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    error = raised(Registry(policy=broken).client().policy)
    assert (type(error), error.code) == (BackendError, "unreachable")


# Repeating


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_it_is_told_and_not_for_ever(status: int) -> None:
    answers = iter(
        [
            httpx.Response(status, headers={"Retry-After": "7"}),
            httpx.Response(status, headers={"Retry-After": "86400"}),
            httpx.Response(status, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
            value(POLICY),
        ]
    )
    registry = Registry(policy=lambda request: next(answers))
    assert registry.client().policy().registry == KEY.did
    assert registry.waits == [7.0, MAX_WAIT, 4.0]


def test_it_gives_up_after_a_few_tries() -> None:
    registry = Registry(policy=problem(503, code="disk-full"))
    assert raised(registry.client().policy).code == "disk-full"
    assert len(registry.requests) == TRIES
    assert len(registry.waits) == TRIES - 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 500, 502])
def test_nothing_else_is_repeated(status: int) -> None:
    registry = Registry(policy=httpx.Response(status))
    raised(registry.client().policy)
    assert (len(registry.requests), registry.waits) == (1, [])


# Forms and caps


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", json.dumps({**POLICY, "size": -1}).encode(), json.dumps({"x": 1}).encode()],
)
def test_another_form_is_an_error_of_the_registry(content: bytes) -> None:
    error = raised(Registry(policy=httpx.Response(200, content=content)).client().policy)
    assert (type(error), error.code) == (BackendError, "protocol")


def test_an_answer_is_read_up_to_its_cap_only() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1 << 16
            yield bytes(1 << 16)

    error = raised(Registry(policy=lambda request: httpx.Response(200, content=endless())).client().policy)
    assert (type(error), error.code) == (BackendError, "protocol")
    assert taken <= MAX_JSON_BYTES + (2 << 16)


def test_compressed_answers_are_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10_000_000), mtime=0)
    registry = Registry(policy=lambda request: httpx.Response(200, content=bomb, headers={"Content-Encoding": "gzip"}))
    error = raised(registry.client().policy)
    assert (type(error), error.code) == (BackendError, "protocol")
    assert registry.requests[0].headers["accept-encoding"] == "identity"


BUNDLE = Tile(ENTRIES, 0, 1)


def packed(content: bytes, coding: str = "gzip", status: int = 200) -> Registry:
    headers = {"Content-Encoding": coding}
    return Registry(other=lambda request: httpx.Response(status, stream=httpx.ByteStream(content), headers=headers))


def test_an_entry_bundle_may_come_compressed() -> None:
    registry = packed(gzip.compress(b"leaves", mtime=0))
    assert registry.client().tile(BUNDLE) == b"leaves"
    assert registry.requests[0].headers["accept-encoding"] == "gzip, identity"
    plain = Registry(other=httpx.Response(200, content=b"leaves"))
    assert plain.client().tile(BUNDLE) == b"leaves"


@pytest.mark.parametrize(
    ("content", "coding"),
    [
        (gzip.compress(bytes(MAX_TILE_BYTES + 1), mtime=0), "gzip"),
        (gzip.compress(b"leaves", mtime=0)[:-1], "gzip"),
        (b"leaves", "gzip"),
        (b"leaves", "br"),
        (gzip.compress(b"leaves", mtime=0), "gzip, gzip"),
    ],
)
def test_an_entry_bundle_is_unpacked_up_to_its_cap_only(content: bytes, coding: str) -> None:
    error = raised(lambda: packed(content, coding).client().tile(BUNDLE))
    assert (type(error), error.code) == (BackendError, "protocol")


def test_a_tile_of_hashes_does_not_come_compressed() -> None:
    registry = packed(gzip.compress(bytes(32), mtime=0))
    assert raised(lambda: registry.client().tile(Tile(0, 0, 1))).code == "protocol"
    assert registry.requests[0].headers["accept-encoding"] == "identity"


def test_a_refusal_may_come_compressed_where_a_bundle_may() -> None:
    assert (
        type(raised(lambda: packed(gzip.compress(b"<html>", mtime=0), status=404).client().tile(BUNDLE)))
        is NotFoundError
    )


@pytest.mark.parametrize("call", ["checkpoint", "tile", "license", "proof", "status_list"])
def test_every_answer_has_a_cap(call: str) -> None:
    client = Registry(other=lambda request: httpx.Response(200, content=bytes(20 << 20))).client()
    calls: dict[str, Callable[[], object]] = {
        "checkpoint": client.checkpoint,
        "tile": lambda: client.tile(Tile(0, 0)),
        "license": lambda: client.license(bytes(32)),
        "proof": lambda: client.proof(bytes(32)),
        "status_list": lambda: client.status_list(0),
    }
    assert raised(calls[call]).code == "protocol"


@pytest.mark.parametrize(
    ("seconds", "part", "parts", "comes"),
    [
        (1.0, b"x", 29, True),
        (1.0, b"x", 1_000, False),
        (2.0, b"x" * 1_000, 200, False),
        (2.0, b"x" * 40_000, 200, True),
        (29.0, b"x" * 500_000, 5, True),
    ],
    ids=["a slow one", "drops", "a trickle", "a slow line", "bursts"],
)
def test_an_answer_that_hardly_comes_is_left(
    monkeypatch: pytest.MonkeyPatch, seconds: float, part: bytes, parts: int, comes: bool
) -> None:
    """No single read is slow here; what counts is how long all of them have taken for what they brought."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def body() -> Iterator[bytes]:
        nonlocal now
        for _ in range(parts):
            now += seconds
            yield part

    client = Registry(other=lambda request: httpx.Response(200, content=body())).client()
    if comes:
        assert client.proof(bytes(32)) == part * parts
        return
    error = raised(lambda: client.proof(bytes(32)))
    assert (type(error), error.code, "timed out" in error.message) == (BackendError, "unreachable", True)
    assert now < 100


# Resolving


def test_what_the_caller_does_between_two_answers_is_no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=(line + b"\n" for line in answers_to(request).splitlines()))

    for _ in Registry(resolve=answer).client().resolve([sha256(b"%d" % n) for n in range(5)]):
        now += 10_000


def answers_to(request: httpx.Request, change: Callable[[list[bytes]], list[bytes]] = lambda lines: lines) -> bytes:
    asked = [json.loads(line) for line in request.content.splitlines()]
    lines = [json.dumps({"digest": digest, "size": 1, "claims": []}).encode() for digest in asked]
    return b"".join(line + b"\n" for line in change(lines))


def test_digests_go_in_batches_of_ten_thousand() -> None:
    registry = Registry(resolve=lambda request: httpx.Response(200, content=answers_to(request)))
    digests = [sha256(b"%d" % n) for n in range(20_001)]
    found = list(registry.client().resolve(iter(digests)))
    assert [answer["digest"] for answer in found] == [digest_encode(digest) for digest in digests]
    assert [request.content.count(b"\n") for request in registry.requests] == [10_000, 10_000, 1]
    assert list(registry.client().resolve([])) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[0]],
        lambda lines: lines[::-1],
        lambda lines: [lines[0], *lines[:-1]],
        lambda lines: [b"{}", *lines[1:]],
        lambda lines: [b"null", *lines[1:]],
        lambda lines: [b"", *lines[1:]],
        lambda lines: [lines[0].replace(b"[]", b"{}"), *lines[1:]],
        lambda lines: [b" " * MAX_LINE_BYTES + lines[0], *lines[1:]],
    ],
)
def test_answers_to_something_else_are_refused(change: Callable[[list[bytes]], list[bytes]]) -> None:
    registry = Registry(resolve=lambda request: httpx.Response(200, content=answers_to(request, change)))
    digests = [sha256(b"%d" % n) for n in range(3)]
    error = raised(lambda: list(registry.client().resolve(digests)))
    assert (type(error), error.code) == (BackendError, "protocol")


def test_a_cut_off_batch_is_refused() -> None:
    registry = Registry(resolve=lambda request: httpx.Response(200, content=answers_to(request)[:-1]))
    assert "cut off" in raised(lambda: list(registry.client().resolve([bytes(32)]))).message


@pytest.mark.parametrize("part", [b"x", b"x\n"], ids=["goes on", "has many lines"])
def test_a_batch_that_does_not_end_is_left(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.client.MAX_BATCH_BYTES", 50_000)
    sent: list[bytes] = []

    def endless() -> Iterator[bytes]:
        while len(sent) < 1_000:
            sent.append(part * 1_000)
            yield sent[-1]

    registry = Registry(resolve=lambda request: httpx.Response(200, content=endless()))
    assert raised(lambda: list(registry.client().resolve([bytes(32)]))).code == "protocol"
    assert len(sent) <= 51


def test_a_long_answer_fails_its_digest_alone() -> None:
    def change(lines: list[bytes]) -> list[bytes]:
        lines[1] = b" " * (MAX_LINE_BYTES - len(lines[1])) + lines[1]  # just short enough
        lines[2] = b" " * (MAX_LINE_BYTES + 1 - len(lines[2])) + lines[2]
        lines[4] = b" " * (5 * MAX_LINE_BYTES) + lines[4]
        return lines

    def answer(request: httpx.Request) -> httpx.Response:
        data = answers_to(request, change)
        return httpx.Response(200, content=(data[at : at + 65_536] for at in range(0, len(data), 65_536)))

    digests = [sha256(b"%d" % n) for n in range(6)]
    failed: list[bytes] = []

    def fail(digest: bytes, error: BackendError) -> None:
        assert (error.code, digest_encode(digest) in error.message) == ("protocol", True)
        failed.append(digest)

    found = [a["digest"] for a in Registry(resolve=answer).client().resolve(digests, failed=fail)]
    assert found == [digest_encode(digests[n]) for n in (0, 1, 3, 5)]
    assert failed == [digests[2], digests[4]]
    assert raised(lambda: list(Registry(resolve=answer).client().resolve(digests))).code == "protocol"


def test_a_list_that_does_not_end_is_left() -> None:
    registry = Registry(anchors=value({"items": [{"size": 1}], "next": 5}))
    assert raised(lambda: list(registry.client().anchors())).code == "protocol"
    assert len(registry.requests) == 2


@pytest.mark.parametrize("page", [{"items": [], "next": 5}, {"items": [{"size": 6}], "next": "5"}], ids=str)
def test_a_page_goes_on_from_what_is_on_it(page: dict[str, object]) -> None:
    """Else a list without items has no end either: each page is empty, each cursor smaller."""
    registry = Registry(anchors=value(page))
    assert raised(lambda: list(registry.client().anchors())).code == "protocol"
    assert len(registry.requests) == 1


# Speaking


def token(request: httpx.Request) -> httpx.Response:
    return value({"access_token": "secret", "token_type": "Bearer", "expires_in": 600, "scope": "statement"})


def spoken() -> Statement:
    body: Any = {"kind": "statement", "refs": [], "evidence": digest_encode(bytes(32))}
    return sign_statement("record", KEY.did, KEY, "registry.example", body)


def test_an_assertion_is_made_for_the_registry_that_is_asked() -> None:
    registry = Registry(policy=value(POLICY), oauth_token=token)
    registry.client().authenticate(KEY, KEY.did, ("publish", "statement"))
    form = dict(httpx.QueryParams(registry.requests[-1].content.decode()))
    assert form["scope"] == "publish statement"
    assert verify_assertion(form["client_assertion"], audience_of(URL), NOW).subject == KEY.did


def test_nothing_is_signed_for_another_registry() -> None:
    registry = Registry(policy=value({**POLICY, "issuer": "https://other.example"}), oauth_token=token)
    assert raised(lambda: registry.client().authenticate(KEY, KEY.did, ("publish",))).code == "wrong-issuer"
    assert [request.url.path for request in registry.requests] == ["/v1/policy"]


def test_no_token_goes_over_plain_http_to_another_machine() -> None:
    url = "http://registry.example"
    registry = Registry(policy=value({**POLICY, "issuer": url}), oauth_token=token)
    assert raised(lambda: registry.client(url).authenticate(KEY, KEY.did, ("publish",))).code == "insecure"
    assert registry.requests == []


def test_writing_needs_authentication() -> None:
    registry = Registry()
    client, library = registry.client(), make_library(KEY, "registry.example")
    for call in (
        lambda: client.publish(library.manifest, library.terms, library.text),
        lambda: client.speak(spoken()),
        lambda: client.issue_token({}),
        client.reviews,
        lambda: client.token(bytes(32)),
    ):
        assert raised(call).code == "no-token"
    assert registry.requests == []


def test_a_token_is_replaced_before_it_ends() -> None:
    now = [float(NOW)]
    logged = value({"leaf": 1, "size": 2, "checkpoint": "note"})
    registry = Registry(policy=value(POLICY), oauth_token=token, statements=lambda request: logged)
    client = registry.client(now=lambda: now[0])
    client.authenticate(KEY, KEY.did, ("statement",))
    for seconds in (0, 560, 20, 0):
        now[0] += seconds
        assert client.speak(spoken()).leaf == 1
    paths = [request.url.path.rsplit("/", 1)[1] for request in registry.requests]
    assert paths == ["policy", "token", "statements", "statements", "token", "statements", "statements"]
    assert registry.requests[-1].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "ä", 7])
def test_a_token_cannot_bring_headers_of_its_own(text: object) -> None:
    answer = value({"access_token": text, "token_type": "Bearer", "expires_in": 600, "scope": "statement"})
    registry = Registry(policy=value(POLICY), oauth_token=answer)
    assert raised(lambda: registry.client().authenticate(KEY, KEY.did, ("statement",))).code == "protocol"


@pytest.mark.parametrize(
    "changed", [{"decision": "sell"}, {"leaf": True}, {"manifest": "x"}, {"reasons": [1]}, {"checkpoint": None}]
)
def test_a_receipt_has_its_form(changed: dict[str, object]) -> None:
    receipt = {"leaf": 1, "size": 2, "checkpoint": "note", "manifest": digest_encode(bytes(32)), "decision": "list"}
    answer = value({**receipt, "reasons": [], **changed}, 201)
    client = Registry(policy=value(POLICY), oauth_token=token, manifests=answer).client()
    client.authenticate(KEY, KEY.did, ("publish",))
    library = make_library(KEY, "registry.example")
    error = raised(lambda: client.publish(library.manifest, library.terms, library.text))
    assert error.code == "protocol"
