"""What an auditor is told by the API of a real registry: the truth is no difference, each lie is one.

A lie is made on the way: the registry answers, and one thing in the answer is changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from ledger.audit import answers, asking
from ledger.audit.answers import NEVER, compare_answers
from ledger.audit.auditor import audit, look_again
from ledger.audit.folder import AuditFolder
from ledger.canonical import Object
from ledger.client import RegistryClient
from ledger.keys import Signer
from ledger.note import parse_vkey
from ledger.policy import format_policy, parse_policy
from ledger.state import Fold
from ledger.statements import key_add_body, sign_statement
from ledger.trust import Trust
from tests.simulator import dispute_body, review_body
from tests.support.library import make_library, signing_key
from tests.support.server import Server, running_server

Change = Callable[[str, Any], object]
ADA, EVE = signing_key("answers ada"), signing_key("answers eve")


class Lying(httpx.BaseTransport):
    """Asks the registry, and changes what it says; what is `replaced` is answered by these bytes, None by 500."""

    def __init__(self, change: Change, replaced: Mapping[str, bytes | None]) -> None:
        self._http, self._change, self._replaced = httpx.HTTPTransport(), change, replaced

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path in self._replaced:
            other = self._replaced[path]
            return httpx.Response(500 if other is None else 200, stream=httpx.ByteStream(other or b""))
        response = self._http.handle_request(request)
        data = response.read()
        if response.status_code == 200 and "json" in response.headers["content-type"]:
            lines = [json.loads(line) for line in data.splitlines()]
            for line in lines:
                self._change(path, line)
            data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return httpx.Response(response.status_code, stream=httpx.ByteStream(data))

    def close(self) -> None:
        self._http.close()


@dataclass
class Told:
    """A registry with something of each kind in its log, and its auditor."""

    server: Server
    state: Path
    trust: Trust
    leaf: int
    case: int = 0
    status_before: bytes = b""
    fold: Fold = field(default_factory=Fold)

    def audit(self) -> None:
        """Audits the log as it is now."""
        with RegistryClient(self.server.url) as client:
            self.fold = audit(client, self.trust, AuditFolder(self.state)).fold

    def compare(self, change: Change, replaced: Mapping[str, bytes | None] = {}) -> tuple[list[str], list[str]]:
        """Returns what the registry says otherwise, and what was not compared."""
        transport = Lying(change, replaced)
        with RegistryClient(self.server.url, transport=transport, sleep=lambda _: None) as client:
            folder = AuditFolder(self.state)
            found, left = compare_answers(client, self.fold, lambda: look_again(client, self.trust, folder), Random(7))
        return [difference.what for difference in found], left

    def say(self, kind: str, body: Object, key: Signer | None = None) -> int:
        """Has a statement logged, by the registry unless a key is given."""
        own = self.server.registry.identity
        signer, by = (own.key, own.did) if key is None else (key, key.did)
        with client_of(self.server, signer) as client:
            return client.speak(sign_statement(kind, by, signer, self.trust.policy.logs[0].name, body)).leaf


def client_of(server: Server, key: Signer) -> RegistryClient:
    client = RegistryClient(server.url)
    client.authenticate(key, key.did, ("publish", "statement", "token"))
    return client


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with running_server(tmp_path_factory.mktemp("registry")) as server, client_of(server, ADA) as client:
        policy = client.policy()
        text = format_policy([parse_vkey(policy.log_vkey)])
        trust = Trust(text, parse_policy(text), policy.registry, (), {})
        library = make_library(ADA, policy.origin, [b"answers 1", b"answers 2"])
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
        other = make_library(ADA, policy.origin, [b"answers 3"], title="Hidden")
        hidden = client.publish(other.manifest, other.terms, other.text).leaf
        state = tmp_path_factory.mktemp("audit")
        told = Told(server, state, trust, leaf)
        told.say("review", review_body(hidden, "listed", "private"))
        told.say("key", key_add_body(ADA.did, EVE, recovery=False), ADA)
        told.say("identity", {"creator": ADA.did, "level": "domain", "evidence": None})
        told.case = told.say("dispute", dispute_body("open", leaf), EVE)
        token = client.issue_token(
            {
                "manifests": [leaf],
                "files": None,
                "holder": EVE.did,
                "licensee": {"name": "A Lab", "id": "lab-1"},
                "price": {"currency": "EUR", "minor": 12},
                "uses": ["train"],
                "audience": "any",
                "purpose": "research",
                "expires_at": "2099-01-01T00:00:00Z",
            }
        )
        told.status_before = client.status_list(0).encode()
        with client_of(server, server.registry.identity.key) as own:
            own.set_token_status(token.digest, "revoked")
        told.audit()
        yield told


def put(of: str, **changed: object) -> Change:
    """Changes members of the answer at one path."""

    def change(path: str, value: Any) -> None:
        if path == of:
            value.update(changed)

    return change


def nothing(path: str, value: Any) -> None:
    """Changes nothing."""


def test_the_truth_is_no_difference(told: Told) -> None:
    assert told.compare(nothing) == ([], [NEVER])
    assert (len(told.fold.cases), len(told.fold.statuses), len(told.fold.identities)) == (1, 1, 1)


def each(of: str, **changed: object) -> Change:
    """Changes members of each item of a list."""

    def change(path: str, value: Any) -> None:
        if path == of:
            for item in value.get("items", value.get("claims", ())):
                item.update(changed)

    return change


def emptied(of: str) -> Change:
    """Leaves nothing in a list."""
    return put(of, items=[], claims=[])


def both(one: Change, other: Change) -> Change:
    """Changes two things."""

    def change(path: str, value: Any) -> None:
        one(path, value)
        other(path, value)

    return change


KEYS = [{"key": ADA.did, "recovery": False, "added": -1, "revoked": None, "since": None}]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda t: put("/v1/policy", issuer="https://other.example"), ["policy: issuer"]),
        (lambda t: put("/v1/policy", token_keys=[EVE.did]), ["policy: token_keys"]),
        (lambda t: emptied("/v1/datasets"), ["manifest leaf {leaf} in the list"]),
        (lambda t: each("/v1/datasets", state="ended"), ["manifest leaf {leaf} in the list: state"]),
        (
            lambda t: each("/v1/datasets", leaf=0),
            ["manifest leaf 0 in the list: state", "manifest leaf {leaf} in the list"],
        ),
        (
            lambda t: each("/v1/datasets", creator={"id": EVE.did, "identity": "attested"}),
            ["manifest leaf {leaf} in the list: creator", "manifest leaf {leaf} in the list: identity"],
        ),
        (lambda t: put(f"/v1/datasets/{t.leaf}", state="ended"), []),  # which is asked only where the list differs
        (
            lambda t: both(each("/v1/datasets", state="ended"), put(f"/v1/datasets/{t.leaf}", state="ended")),
            ["manifest leaf {leaf}: state", "manifest leaf {leaf} in the list: state"],
        ),
        (lambda t: put(f"/v1/creators/{ADA.did}", keys=KEYS), ["party {ada}: keys"]),
        (lambda t: put(f"/v1/creators/{ADA.did}", identity=None), ["party {ada}: identity"]),
        (lambda t: put(f"/v1/cases/{t.case}", held=7), ["case {case}: held"]),
        (lambda t: put(f"/v1/cases/{t.case}", by=ADA.did), ["case {case}: by"]),
        (lambda t: each("/v1/resolve", state="ended"), ["file"] * 4),
        (lambda t: each("/v1/resolve", creator={"id": EVE.did, "identity": "domain"}), ["file"] * 4),
        (lambda t: emptied("/v1/resolve"), ["file"] * 4),
    ],
)
def test_a_lie_is_a_difference(told: Told, change: Callable[[Told], Change], wrong: list[str]) -> None:
    found, left = told.compare(change(told))
    expected = [one.format(leaf=told.leaf, case=told.case, ada=ADA.did) for one in wrong]
    assert all(what.startswith(one) for what, one in zip(found, expected, strict=True)), found
    assert left == [NEVER]


def test_a_status_list_of_before_is_a_difference(told: Told) -> None:
    found, left = told.compare(nothing, {"/status/0": told.status_before})
    assert (found, left) == ([f"status list {told.server.url}/status/0: digest"], [NEVER])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/datasets", "manifests"),
        ("/v1/cases/{case}", "cases"),
        ("/status/0", "status lists"),
        ("/v1/anchors", "anchors"),
        ("/v1/resolve", "files"),
    ],
)
@pytest.mark.parametrize("data", [None, b"rubbish", b'{"items": [{"leaf": true}], "next": null}'])
def test_what_was_found_is_kept_when_another_request_fails(
    told: Told, path: str, name: str, data: bytes | None
) -> None:
    replaced = {path.format(case=told.case): data}
    found, left = told.compare(put("/v1/policy", issuer="https://other.example"), replaced)
    assert found[:1] == ["policy: issuer"]
    if len(found) == 1:
        assert left[0] == NEVER
        assert left[1].startswith(f"what the registry's API says of {name}: ")
    else:
        assert (found[1], data) == (f"case {told.case}: leaf", b'{"items": [{"leaf": true}], "next": null}')


def test_no_more_leaves_excuse_a_lie_than_the_log_signed(told: Told) -> None:
    beyond = put("/v1/policy", issuer="https://other.example", size=2**53 - 1)
    assert told.compare(beyond) == (["policy: issuer"], [NEVER])
    beyond = put(f"/v1/creators/{ADA.did}", keys=[], size=told.fold.size + 1)
    assert told.compare(beyond) == ([f"party {ADA.did}: keys"], [NEVER])
    found, left = told.compare(put("/v1/policy", rules="sha256:", size=2**53 - 1), {"/checkpoint": None})
    assert (found, left[1].startswith("that the log has grown: ")) == (["policy: rules"], True)
    anchor = {"size": 2**53 - 1, "chain": "eip155:1", "transaction": "0x", "state": "final"}
    found, _ = told.compare(nothing, {"/v1/anchors": json.dumps({"items": [anchor], "next": None}).encode()})
    assert found == [f"anchor over {2**53 - 1} leaves"]


def test_what_changed_while_the_log_was_read_is_left_open_and_named(told: Told) -> None:
    before = told.fold
    told.say("review", review_body(told.leaf, "delisted"))
    now = told.server.registry.log.head.size
    try:
        found, left = told.compare(put("/v1/policy", issuer="https://other.example", size=now))
        assert (found, left[0]) == ([], NEVER)
        assert left[1].startswith(
            f"what changed while the log was read: policy: issuer, manifest leaf {told.leaf}: state"
        )
        shown = AuditFolder(told.state).load().shown
        assert [signed.checkpoint.size for signed in shown] == [now]  # the log is held to it
        assert told.compare(put("/v1/policy", issuer="x", size=now + 1))[0] == ["policy: issuer"]
        told.audit()
        assert told.compare(nothing) == ([], [NEVER])
    finally:
        told.say("review", review_body(told.leaf, "listed", "public"))
        told.audit()
    assert told.fold.size > before.size


def test_a_list_without_an_end(told: Told) -> None:
    def endless(path: str, value: Any) -> None:
        if path == "/v1/datasets":
            [item] = value["items"]
            top = endless.top = endless.top - 100  # type: ignore[attr-defined]
            value["items"] = [{**item, "leaf": top + 99 - n} for n in range(100)]
            value["next"] = top

    endless.top = 2**53 - 1  # type: ignore[attr-defined]
    found, left = told.compare(endless)
    assert (found, left[1].startswith("the registry's list of manifests: more than 10000 ")) == (
        ["list of manifests"],
        True,
    )


def test_enough_differences_are_enough(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_FOUND", 2)
    found, left = told.compare(put("/v1/policy", issuer="x", origin="y", rules="z"))
    assert (found, left[1:]) == (
        ["policy: origin", "policy: issuer"],
        ["what else the registry's API says: 2 differences are enough"],
    )


def test_what_was_not_drawn_is_named(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ASKED", 0)
    found, left = told.compare(put("/v1/policy", issuer="x"))
    assert found == ["policy: issuer"]
    assert left[1:] == [
        f"what the registry's API says of {count} of {count} {name}: 0 were drawn"
        for count, name in ((1, "parties"), (1, "cases"), (1, "status lists"), (1, "manifests' files"))
    ]


def test_what_the_log_has_and_the_registry_denies(told: Told) -> None:
    class Denying(Lying):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.startswith((f"/v1/datasets/{told.leaf}", "/v1/cases/", "/status/")):
                return httpx.Response(404)
            return super().handle_request(request)

    transport = Denying(emptied("/v1/datasets"), {})
    with RegistryClient(told.server.url, transport=transport) as client:
        found, left = compare_answers(client, told.fold, lambda: told.fold.size, Random(7))
    assert [(difference.what, difference.said) for difference in found] == [
        (f"manifest leaf {told.leaf}", "nothing"),
        (f"manifest leaf {told.leaf} in the list", "nothing"),
        (f"case {told.case}", "nothing"),
        (f"status list {told.server.url}/status/0", "nothing"),
    ]
    assert left == [NEVER]


def test_a_list_in_which_a_manifest_comes_twice(told: Told) -> None:
    def twice(path: str, value: Any) -> None:
        if path == "/v1/datasets":
            value["items"] *= 2

    found, left = told.compare(twice)
    assert (found, len(left), "'the order of manifests'" in left[1]) == ([], 2, True)


def test_a_manifest_that_was_logged_while_the_log_was_read(told: Told) -> None:
    with client_of(told.server, ADA) as client:
        library = make_library(ADA, told.trust.policy.logs[0].name, [b"answers later"], title="Later")
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
    assert leaf >= told.fold.size
    found, left = told.compare(nothing)
    assert (found, left[0], len(left)) == ([], NEVER, 2)
    assert left[1].startswith("what changed while the log was read: list of manifests")  # and perhaps an anchor
    told.audit()
    assert told.compare(nothing) == ([], [NEVER])
    found, _ = told.compare(emptied("/v1/datasets"))
    assert found == [f"manifest leaf {told.leaf} in the list", f"manifest leaf {leaf} in the list"]
