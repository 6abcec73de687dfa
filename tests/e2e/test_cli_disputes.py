"""Cases, reviews and identities on a real registry: opened, answered, held, decided, erased; and what is refused."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.client import RegistryClient
from ledger.encoding import b64url_decode, digest_encode, sha256
from ledger.keys import SigningKey
from ledger.statements import DisputeBody, IdentityBody, ReviewBody, Statement, parse_statement
from tests.e2e.test_cli_keys import Creator
from tests.e2e.test_cli_story import SILENT, ok, refused
from tests.support.process import call
from tests.support.server import running_server

REGISTRY_KEY = ("--key", "registry/keys/registry.pem")


class Registry:
    """A registry, its own people, and two creators."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ada = Creator(url, "ada")
        self.eve = Creator(url, "eve")

    def review(self, command: str, *arguments: object, **options: Any) -> Any:
        """Runs a command of the registry's people."""
        return call("review", command, *arguments, "--registry", self.url, *REGISTRY_KEY, **options)

    def state(self, leaf: int) -> dict[str, Any]:
        """Returns what ``review show`` says."""
        value: dict[str, Any] = ok(self.review("show", leaf, "--json")).value
        return value

    def dispute(self, who: Creator, command: str, *arguments: object) -> Any:
        """Runs a command of whoever objects or answers."""
        return call("dispute", command, "--to", self.url, "--home", who.home, *arguments)

    def statement(self, leaf: int) -> Statement:
        """Returns the statement at a leaf."""
        with RegistryClient(self.url) as client:
            return parse_statement(list(client.leaves(client.policy().size))[leaf])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("disputes")
    with contextlib.chdir(folder), running_server(folder / "registry") as server:
        yield Registry(server.url)


@pytest.fixture(autouse=True)
def _in_the_folder(registry: Registry) -> None:
    """Every test runs in the fixture's folder."""


def test_a_case_from_its_opening_to_the_decision(registry: Registry) -> None:
    leaf = registry.ada.publish("disputed", 1)
    Path("letter.pdf").write_bytes(b"it is mine")
    open_ = ("open", leaf, "--entry", 0, "--evidence", "letter.pdf")
    opened = ok(registry.dispute(registry.eve, *open_, "--json")).value
    case = opened["case"]
    assert (opened["leaf"], opened["entries"], opened["by"], opened["creator"], opened["held"]) == (
        leaf,
        [0],
        registry.eve.did,
        registry.ada.did,
        None,
    )
    # The log has the commitment, the salt is here, and both are the file.
    kept = json.loads(Path("letter.pdf.commitment.json").read_bytes())
    assert stat.S_IMODE(Path("letter.pdf.commitment.json").stat().st_mode) == 0o600
    assert digest_encode(sha256(b64url_decode(kept["salt"], "salt", 32) + b"it is mine")) == kept["commitment"]
    body = registry.statement(case).body
    assert isinstance(body, DisputeBody)
    assert digest_encode(body.evidence or b"") == kept["commitment"] == opened["evidence"]
    assert ok(registry.dispute(registry.eve, *open_, "--json")).value == opened  # again it is the same case
    assert registry.state(leaf)["state"] == "listed"

    line = f"case {case}  open: {registry.eve.did} about entries 0 of leaf {leaf} by {registry.ada.did}"
    for told in (registry.dispute(registry.ada, "list"), registry.dispute(registry.eve, "list")):
        assert ok(told).out.startswith(line)
    assert line in ok(registry.review("list")).out
    answered = ok(registry.dispute(registry.ada, "answer", case, "--json")).value
    assert isinstance(registry.statement(answered["statement"]).body, DisputeBody)

    held = ok(registry.review("hold", case, "--json")).value
    assert (held["entries"], held["outcome"]) == ([0], "held")
    assert ok(registry.review("hold", case, "--json")).value == held
    assert f"case {case}  held at leaf {held['statement']}: " in ok(registry.review("show", leaf)).out
    refused_grant = call("resolve", "t-disputed/a.png", "--registry", registry.url, "--json").value
    assert refused_grant["answers"][0]["claims"][0]["state"] == "disputed"
    decided = ok(registry.review("decide", case, "--outcome", "upheld", "--json")).value
    assert (decided["entries"], decided["outcome"]) == ([0], "upheld")
    assert ok(registry.review("decide", case, "--outcome", "upheld", "--json")).value == decided
    refused(registry.review("decide", case, "--outcome", "rejected"), 1, "the case is decided [void]")
    refused(registry.dispute(registry.ada, "answer", case, "--evidence", "letter.pdf"), 1, "the case is decided [void]")
    ended = call("resolve", "t-disputed/a.png", "--registry", registry.url, "--json").value
    assert ended["answers"][0]["claims"][0]["state"] == "ended"
    assert ok(registry.dispute(registry.eve, "list")).out == "no case is open\n"
    assert f"case {case}  upheld at leaf {decided['statement']}: " in ok(registry.review("show", leaf)).out


def test_a_decision_over_all_lifts_the_hold(registry: Registry) -> None:
    leaf = registry.ada.publish("lifted", 2)
    case = ok(registry.dispute(registry.eve, "open", leaf, "--entry", 0, "--json")).value["case"]
    assert ok(registry.review("hold", case, "--all", "--json")).value["entries"] == []
    assert registry.state(leaf)["state"] == "disputed"
    said = ok(registry.review("decide", case, "--outcome", "settled"))
    assert said.out.startswith(f"case {case} about leaf {leaf} is settled (logged as leaf ")
    assert registry.state(leaf)["state"] == "listed"


def test_evidence_that_changed_is_not_committed_to(registry: Registry) -> None:
    leaf = registry.ada.publish("evident", 3)
    Path("note.txt").write_text("first")
    ok(registry.dispute(registry.eve, "open", leaf, "--evidence", "note.txt"))
    before = Path("note.txt.commitment.json").read_bytes()
    Path("note.txt").write_text("second")
    said = registry.dispute(registry.eve, "open", leaf, "--evidence", "note.txt")
    refused(said, 3, "--evidence: 'note.txt' is not the file that 'note.txt.commitment.json' commits to")
    assert Path("note.txt.commitment.json").read_bytes() == before
    Path("note.txt.commitment.json").write_bytes(b"{}")
    refused(registry.dispute(registry.eve, "open", leaf, "--evidence", "note.txt"), 2, "commitment: missing key")


def test_who_may_say_what(registry: Registry) -> None:
    leaf = registry.ada.publish("whose", 4)
    case = ok(registry.dispute(registry.eve, "open", leaf, "--json")).value["case"]
    said = registry.dispute(registry.eve, "answer", case)
    refused(said, 1, f"CASE: case {case} is about a manifest of {registry.ada.did}, who alone answers it; you are")
    for command in (("hold", case), ("decide", case, "--outcome", "upheld"), ("show", leaf), ("erase", leaf, "--yes")):
        said = call("review", *command, "--registry", registry.url, "--key", "eve/signing.key.pem")
        refused(said, 1, "[key-invalid]")
    said = call("identity", registry.eve.did, "attested", "--registry", registry.url, "--key", "eve/signing.key.pem")
    refused(said, 1, "[key-invalid]")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("open", 99999), 2, "trainmark: LEAF: there is no leaf 99999 [not-found]"),
        (("open", 0), 2, "trainmark: LEAF: leaf 0 is no manifest [not-found]"),
        (("open", "picture.png"), 2, "'picture.png' is not a valid integer"),
        (("open", "LISTED", "--entry", 7), 2, "--entry: leaf {leaf} has 1 entries, from 0; there is no 7 [malformed]"),
        (("open", "LISTED", "--evidence", "none"), 2, "trainmark: --evidence: there is no file 'none' [not-found]"),
        (("open", "LISTED", "--to", SILENT), 3, "[unreachable]"),
        (("open", "LISTED", "--home", "none"), 2, "no creator in none: make one with 'trainmark init'"),
        (("answer", 99999), 2, "there is no leaf 99999 [not-found]"),
        (("answer", 0), 2, "leaf 0 opened no case [not-found]"),
        (("list", "--to", SILENT), 3, "[unreachable]"),
    ],
)
def test_dispute_refuses(registry: Registry, arguments: tuple[object, ...], code: int, message: str) -> None:
    leaf = registry.ada.publish("plain", 5) if not Path("plain").exists() else 0
    if leaf == 0:
        leaf = ok(registry.ada.publish_again("plain")).value["leaf"]
    size = registry.ada.size()
    command, *rest = [leaf if argument == "LISTED" else argument for argument in arguments]
    refused(registry.dispute(registry.eve, str(command), *rest), code, message.format(leaf=leaf))
    assert registry.ada.size() == size


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", 99999), 2, "there is no leaf 99999 [not-found]"),
        (("show", 0), 2, "leaf 0 is no manifest [not-found]"),
        (("hold", 0), 2, "leaf 0 opened no case [not-found]"),
        (("decide", 99999, "--outcome", "upheld"), 2, "there is no leaf 99999 [not-found]"),
        (("decide", 0), 2, "Missing option '--outcome'"),
        (("decide", 0, "--outcome", "lost"), 2, "'lost' is not one of 'upheld', 'rejected', 'settled'"),
        (("delist", 0), 2, "trainmark: LEAF: leaf 0 is no manifest [not-found]"),
        (("erase", 99999, "--yes"), 2, "trainmark: LEAF: there is no leaf 99999 [not-found]"),
        (("erase", 1), 2, "nobody is there to answer the question: give --yes"),
        (("show", 1, "--registry", SILENT), 3, "[unreachable]"),
    ],
)
def test_review_refuses(registry: Registry, arguments: tuple[object, ...], code: int, message: str) -> None:
    size = registry.ada.size()
    command, *rest = arguments
    refused(call("review", command, "--registry", registry.url, *REGISTRY_KEY, *rest), code, message)
    assert registry.ada.size() == size


def test_a_move_names_entries_that_are_there_and_not_all_besides(registry: Registry) -> None:
    leaf = registry.ada.publish("numbered", 6)
    case = ok(registry.dispute(registry.eve, "open", leaf, "--json")).value["case"]
    refused(
        registry.review("hold", case, "--entry", 3), 2, f"--entry: leaf {leaf} has 1 entries, from 0; there is no 3"
    )
    refused(registry.review("hold", case, "--entry", 0, "--all"), 2, "give --entry or --all, not both")
    assert registry.state(leaf)["state"] == "listed"


def test_delist_and_erase(registry: Registry) -> None:
    leaf = registry.ada.publish("unwanted", 7)
    Path("order.txt").write_text("a court's order")
    delisted = ok(registry.review("delist", leaf, "--evidence", "order.txt", "--json")).value
    body = registry.statement(delisted["statement"]).body
    assert isinstance(body, ReviewBody)
    assert (body.outcome, digest_encode(body.evidence or b"")) == ("delisted", delisted["evidence"])
    assert registry.state(leaf)["state"] == "ended"
    ok(registry.review("approve", leaf))
    refused(registry.review("erase", leaf, answers="n\n"), 130, "interrupted")
    assert registry.state(leaf)["dataset"] is not None
    erased = ok(
        registry.review(
            "erase",
            leaf,
            answers="y\n",
        )
    ).out
    assert erased.startswith(f"leaf {leaf} is erased (logged as leaf ")
    shown = registry.state(leaf)
    assert (shown["state"], shown["dataset"]) == ("ended", None)
    assert [said["outcome"] for said in shown["reviews"]] == ["listed", "delisted", "listed", "erased"]
    assert "the registry has no payload of it" in ok(registry.review("show", leaf)).out
    assert ok(registry.review("erase", leaf, "--yes")).out == erased
    refused(registry.review("approve", leaf), 1, "[erased]")


def test_an_earlier_proof_of_what_is_erased_still_verifies(registry: Registry) -> None:
    leaf = registry.ada.publish("proved", 8)
    ok(call("trust", "add", registry.url, "--yes", "--class", "development"))
    ok(call("prove", "t-proved/a.png", "-o", "proved.proof.json", "--registry", registry.url))
    ok(registry.review("erase", leaf, "--yes"))
    assert ok(call("verify", "proved.proof.json", "--json")).value["verified"] is True
    assert call("prove", "t-proved/a.png", "-o", "later.proof.json", "--registry", registry.url).code == 1


def test_an_identity_is_stated(registry: Registry) -> None:
    identity = ("identity", "--registry", registry.url, *REGISTRY_KEY, "--json", registry.ada.did)
    said = ok(call(*identity, "domain")).value
    assert isinstance(registry.statement(said["statement"]).body, IdentityBody)
    assert ok(call(*identity, "domain")).value == said
    leaf = registry.ada.publish("known", 9)
    with RegistryClient(registry.url) as client:
        assert client.dataset(leaf)["creator"]["identity"] == "domain"
    Path("passport.txt").write_text("seen")
    attested = ok(call(*identity, "attested", "--evidence", "passport.txt")).value
    assert attested["evidence"] == json.loads(Path("passport.txt.commitment.json").read_bytes())["commitment"]
    again = ok(call(*identity, "domain")).value  # said anew after another one took its place
    assert again["statement"] > attested["statement"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("me", "self"), 2, "trainmark: CREATOR: expected did:key:z6Mk"),
        ((SigningKey(bytes(32)).did, "sure"), 2, "'sure' is not one of 'self', 'domain', 'attested'"),
        ((SigningKey(bytes(32)).did, "self", "--registry", SILENT), 3, "[unreachable]"),
        ((SigningKey(bytes(32)).did, "self", "--key", "none.pem"), 2, "--key: there is no file 'none.pem'"),
    ],
)
def test_identity_refuses(registry: Registry, arguments: tuple[str, ...], code: int, message: str) -> None:
    size = registry.ada.size()
    refused(call("identity", "--registry", registry.url, *REGISTRY_KEY, *arguments), code, message)
    assert registry.ada.size() == size


def test_cases_are_shown_to_those_they_concern(registry: Registry) -> None:
    leaf = registry.ada.publish("private", 10)
    case = ok(registry.dispute(registry.eve, "open", leaf, "--json")).value["case"]
    mallory = Creator(registry.url, "mallory")
    assert ok(registry.dispute(mallory, "list", "--json")).value["cases"] == []
    listed = ok(registry.dispute(registry.ada, "list", "--json")).value["cases"]
    assert case in [one["case"] for one in listed]
