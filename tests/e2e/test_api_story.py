"""A registry over HTTP from the first publication to the verified proof; crowds, rivals, restarts, tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import schemas
from ledger.canonical import Object, canonical
from ledger.checkpoint import parse_checkpoint
from ledger.client import RegistryClient, RegistryPolicy
from ledger.encoding import b64url_encode, digest_encode, sha256
from ledger.errors import ConflictError, MalformedError, NotFoundError, RefusedError, VerificationError
from ledger.keys import Signer, thumbprint
from ledger.manifests import Manifest
from ledger.merkle import leaf_hash, leaf_hashes, root, verify_inclusion
from ledger.note import parse_vkey, verify_note
from ledger.policy import format_policy, parse_policy
from ledger.proof import verify_proof
from ledger.registry.listing import RULES
from ledger.state import Fold
from ledger.statements import parse_statement, sign_statement, statement_value
from ledger.terms import parse_terms, verify_text
from ledger.tokens.bundle import verify_token_bundle
from ledger.trust import Trust, TrustedEvm, format_trust, parse_trust
from tests.support.library import Library, make_library, signing_key
from tests.support.server import Server, running_server

DAY = 86_400
SCOPES = ("publish", "statement", "token")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("registry")) as server:
        yield server


def client_of(server: Server, key: Signer) -> RegistryClient:
    client = RegistryClient(server.url)
    client.authenticate(key, key.did, SCOPES)
    return client


def trust_of(policy: RegistryPolicy, block_hash: str | None = None) -> Trust:
    """What a careful person would write down about the registry, by another way than the bundle."""
    assert policy.anchor is not None
    chain = policy.anchor
    text = format_policy([parse_vkey(policy.log_vkey)])
    line = TrustedEvm("development", chain.chain, chain.genesis, chain.contract, chain.publisher)
    blocks = {f"{chain.chain}/{chain.genesis}": frozenset({bytes.fromhex(block_hash[2:])} if block_hash else ())}
    return parse_trust(format_trust(Trust(text, parse_policy(text), policy.registry, (line,), blocks)))


def anchored(client: RegistryClient, digest: bytes) -> dict[str, Any]:
    """Returns the one claim on `digest` once an anchor covers it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        [answer] = client.resolve([digest])
        schemas.Resolved.model_validate(answer)
        [claim] = answer["claims"]
        if claim["anchor"] is not None and claim["anchor"]["state"] == "final":
            return dict(claim)
        time.sleep(0.1)
    raise AssertionError("no anchor came")


def test_publish_resolve_prove_verify(server: Server) -> None:
    ada = signing_key("story ada")
    with client_of(server, ada) as client:
        policy = client.policy()
        library = make_library(ada, policy.origin, [b"story 1", b"story 2", b"story 3"])
        [before] = client.resolve([library.digest(1)])
        assert before["claims"] == []

        receipt = client.publish(library.manifest, library.terms, library.text)
        assert (receipt.decision, receipt.reasons) == ("list", ())
        assert receipt.manifest == library.manifest.header.digest
        checkpoint, note = parse_checkpoint(receipt.checkpoint)
        verify_note(note, parse_vkey(policy.log_vkey))
        assert checkpoint.size == receipt.size > receipt.leaf

        claim = anchored(client, library.digest(1))
        assert (claim["leaf"], claim["entry"], claim["kind"], claim["state"]) == (
            receipt.leaf,
            1,
            "provenance",
            "listed",
        )
        assert claim["license"]["training"]["answer"] == "conditions"
        assert claim["anchor"]["operator_class"] == "development"
        assert claim["logged_at"] is None

        data = client.proof(library.digest(1))
        result = verify_proof(data, trust_of(policy, claim["anchor"]["block_hash"]))
        assert result.creator_id == ada.did
        assert result.logged_before is not None
        assert abs(result.logged_before - time.time()) < 60
        assert verify_proof(data, trust_of(policy)).logged_before is None

        # Also by the hash of the published copy, and that one alone.
        [published] = client.resolve([library.manifest.entries[2].published_hash])
        assert [c["kind"] for c in published["claims"]] == ["published"]


def test_the_same_again_is_the_same_leaf(server: Server) -> None:
    ada = signing_key("again")
    with client_of(server, ada) as client:
        library = make_library(ada, client.policy().origin, [b"again"])
        first = client.publish(library.manifest, library.terms, library.text)
        generation, *_ = server.app.state.answers.version
        assert client.publish(library.manifest, library.terms, library.text).leaf == first.leaf
        # The catalog may have changed though the log did not grow: kept answers count no more.
        assert server.app.state.answers.version[0] > generation


def test_the_log_is_what_the_tiles_say(server: Server) -> None:
    with RegistryClient(server.url) as client:
        policy = client.policy()
        checkpoint, note = parse_checkpoint(client.checkpoint())
        verify_note(note, parse_vkey(policy.log_vkey))
        leaves = list(client.leaves(checkpoint.size))
        assert root(leaf_hashes(leaves)) == checkpoint.root
        fold = Fold(leaves)
        assert (fold.void, fold.unknown, fold.registry) == ({}, [], policy.registry)
        assert fold.policy is not None
        assert fold.policy.rules == sha256(httpx.get(f"{server.url}/v1/rules").content) == sha256(RULES.encode())
        verify_inclusion(leaf_hash(leaves[0]), 0, 1, [], root(leaf_hashes(leaves[:1])))


def test_what_is_not_true_is_not_logged(server: Server) -> None:
    ada, eve = signing_key("true"), signing_key("false")
    with client_of(server, ada) as client, client_of(server, eve) as other:
        origin = client.policy().origin
        library = make_library(ada, origin, [b"true"])
        size = client.policy().size

        with pytest.raises(RefusedError) as forbidden:
            other.publish(library.manifest, library.terms, library.text)
        there = make_library(ada, "other.example/log", [b"true"])
        with pytest.raises(RefusedError) as elsewhere:
            client.publish(there.manifest, there.terms, there.text)
        changed = make_library(ada, origin, [b"true"], license_preset="open")
        with pytest.raises(VerificationError) as text:
            client.publish(library.manifest, library.terms, changed.text)
        with pytest.raises(RefusedError) as terms:
            client.publish(library.manifest, changed.terms, changed.text)
        forged = _signed_by(make_library(eve, origin, [b"true"], by=ada.did), library)
        with pytest.raises(VerificationError) as signature:
            client.publish(forged, library.terms, library.text)
        assert [e.value.code for e in (forbidden, elsewhere, text, terms, signature)] == [
            "forbidden",
            "wrong-log",
            "terms-digest",
            "terms-digest",
            "bad-signature",
        ]
        assert client.policy().size == size
        [answer] = client.resolve([library.digest()])
        assert answer["claims"] == []


def _signed_by(forged: Library, real: Library) -> Manifest:
    """Returns the manifest of `real` with the signature of `forged`'s statement."""
    [own], [other] = real.manifest.statements, forged.manifest.statements
    value = statement_value(own)
    assert isinstance(value, dict)
    statement = parse_statement(canonical({**value, "sig": b64url_encode(other.sig)}))
    return replace(real.manifest, statements=(statement,))


def test_rules_reject_and_versions_conflict(server: Server) -> None:
    ada = signing_key("rules")
    with client_of(server, ada) as client:
        origin = client.policy().origin
        missing = make_library(ada, origin, [b"rules 1"], title="Missing", release_status="missing")
        receipt = client.publish(missing.manifest, missing.terms, missing.text)
        assert receipt.decision == "reject"
        assert receipt.reasons == ("000000.png: release_status missing",)
        [answer] = client.resolve([missing.digest()])
        assert [c["state"] for c in answer["claims"]] == ["ended"]

        first = make_library(ada, origin, [b"rules 2"], title="Conflict")
        leaf = client.publish(first.manifest, first.terms, first.text).leaf
        second = make_library(ada, origin, [b"rules 3"], title="Conflict")
        with pytest.raises(ConflictError) as caught:
            client.publish(second.manifest, second.terms, second.text)
        assert caught.value.code == "version-conflict"
        third = make_library(ada, origin, [b"rules 3"], title="Conflict", supersedes=(leaf,))
        client.publish(third.manifest, third.terms, third.text)
        states = [a["claims"][0]["state"] for a in client.resolve([first.digest(), third.digest()])]
        assert states == ["ended", "listed"]


def test_a_copy_waits_for_a_person(server: Server) -> None:
    ada, bob = signing_key("original"), signing_key("copyist")
    registry = server.registry.identity
    with client_of(server, ada) as client, client_of(server, bob) as other, client_of(server, registry.key) as own:
        original = make_library(ada, registry.origin, [b"copied"])
        client.publish(original.manifest, original.terms, original.text)
        copy = make_library(bob, registry.origin, [b"copied"])
        receipt = other.publish(copy.manifest, copy.terms, copy.text)
        assert receipt.decision == "wait"
        [answer] = client.resolve([original.digest()])
        assert [(c["state"], c["contested"]) for c in answer["claims"]] == [("listed", False), ("logged", False)]

        [item] = [item for item in own.reviews() if item["leaf"] == receipt.leaf]
        schemas.Waiting.model_validate(item)
        body: dict[str, Any] = {"leaf": receipt.leaf, "outcome": "listed", "visibility": "public", "evidence": None}
        own.speak(sign_statement("review", registry.did, registry.key, registry.origin, body))
        [answer] = client.resolve([original.digest()])
        assert [(c["state"], c["contested"]) for c in answer["claims"]] == [("listed", True), ("listed", True)]
        policy = client.policy()
        for leaf in (claim["leaf"] for claim in answer["claims"]):
            assert verify_proof(client.proof(original.digest(), leaf), trust_of(policy)).creator_id in (
                ada.did,
                bob.did,
            )

        body = {"leaf": receipt.leaf, "outcome": "erased", "visibility": None, "evidence": None}
        own.speak(sign_statement("review", registry.did, registry.key, registry.origin, body))
        [answer] = client.resolve([original.digest()])
        assert [(c["state"], c["contested"]) for c in answer["claims"]] == [("listed", False)]
        with pytest.raises(NotFoundError):
            client.dataset(receipt.leaf)


def test_withdrawing_keeps_the_notice(server: Server) -> None:
    ada = signing_key("withdraw")
    with client_of(server, ada) as client:
        origin = client.policy().origin
        library = make_library(ada, origin, [b"withdraw"])
        leaf = client.publish(library.manifest, library.terms, library.text).leaf

        def withdraw(days: int) -> None:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * DAY))
            client.speak(sign_statement("withdraw", ada.did, ada, origin, {"leaf": leaf, "effective_at": at}))

        with pytest.raises(RefusedError) as caught:
            withdraw(29)
        assert caught.value.code == "notice"
        withdraw(31)
        [answer] = client.resolve([library.digest()])
        assert [c["state"] for c in answer["claims"]] == ["withdrawing"]


def test_reading_licenses_datasets_and_creators(server: Server) -> None:
    ada = signing_key("reading")
    with client_of(server, ada) as client, httpx.Client(base_url=server.url) as http:
        library = make_library(ada, client.policy().origin, [b"reading %d" % n for n in range(7)], title="Read me")
        leaf = client.publish(library.manifest, library.terms, library.text).leaf

        header = library.manifest.header
        terms, text = client.license(header.license_digest)
        verify_text(parse_terms(terms), text)
        path = f"/v1/licenses/{digest_encode(header.license_digest)}"
        assert http.get(path, headers={"Accept": "text/plain"}).content == text
        assert "immutable" in http.get(path).headers["cache-control"]
        schemas.LicensePage.model_validate(http.get("/v1/licenses").json())

        dataset = client.dataset(leaf)
        schemas.Dataset.model_validate(dataset)
        assert (dataset["state"], dataset["entry_count"], dataset["header"]["title"]) == ("listed", 7, "Read me")
        assert leaf in [item["leaf"] for item in client.datasets()]

        names, after = [], -1
        while True:
            page = http.get(f"/v1/datasets/{leaf}/entries", params={"limit": 3, "after": after}).json()
            schemas.EntryPage.model_validate(page)
            names += [entry["path"] for entry in page["items"]]
            if page["next"] is None:
                break
            after = page["next"]
        assert names == [entry.path for entry in library.manifest.entries]

        creator = http.get(f"/v1/creators/{ada.did}").json()
        schemas.Party.model_validate(creator)
        assert (creator["name"], [item["leaf"] for item in creator["items"]]) == ("Ada Lens", [leaf])
        nobody = http.get(f"/v1/creators/{signing_key('nobody').did}").json()
        schemas.Party.model_validate(nobody)
        assert ([key["key"] for key in nobody["keys"]], nobody["items"]) == ([signing_key("nobody").did], [])

        schemas.Policy.model_validate(http.get("/v1/policy").json())
        schemas.AnchorPage.model_validate(http.get("/v1/anchors").json())
        schemas.Health.model_validate(http.get("/healthz").json())
        keys = http.get("/.well-known/jwks.json").json()
        schemas.KeySet.model_validate(keys)
        assert [key["kid"] for key in keys["keys"]] == [thumbprint(server.registry.identity.token_key.public)]


def test_lists_go_on_where_they_stopped(server: Server) -> None:
    ada = signing_key("pages")
    with client_of(server, ada) as client, httpx.Client(base_url=server.url) as http:
        origin = client.policy().origin
        leaves = []
        for n in range(5):
            library = make_library(ada, origin, [b"page %d" % n], title=f"Page {n}")
            leaves.append(client.publish(library.manifest, library.terms, library.text).leaf)
        found: list[int] = []
        query: dict[str, int] = {"limit": 2}
        while True:
            page = http.get(f"/v1/creators/{ada.did}", params=query).json()
            assert len(page["items"]) <= 2
            found += [item["leaf"] for item in page["items"]]
            if page["next"] is None:
                break
            query["before"] = page["next"]
        assert found == leaves[::-1]
        first = http.get("/v1/licenses", params={"limit": 1}).json()
        second = http.get("/v1/licenses", params={"limit": 1, "after": first["next"]}).json()
        assert first["items"][0]["digest"] == first["next"]
        assert second["items"] == [] or second["items"][0]["digest"] > first["next"]


def test_a_partys_pages_go_on_behind_what_is_hidden(server: Server) -> None:
    bob, eve = signing_key("hides"), signing_key("between")
    registry = server.registry
    leaves = []
    with client_of(server, bob) as client, client_of(server, eve) as other:
        origin = client.policy().origin
        for n in range(6):
            library = make_library(bob, origin, [b"hides %d" % n], title=f"Hides {n}")
            leaves.append(client.publish(library.manifest, library.terms, library.text).leaf)
            rival = make_library(eve, origin, [b"between %d" % n], title=f"Between {n}")
            other.publish(rival.manifest, rival.terms, rival.text)
    for leaf in leaves[3:]:
        body: Object = {"leaf": leaf, "outcome": "listed", "visibility": "private", "evidence": None}
        registry.log.append(registry.sign("review", body))
    pages: list[list[int]] = []
    before: int | None = None
    with httpx.Client(base_url=server.url) as http:
        while True:
            query = {"limit": 2} if before is None else {"limit": 2, "before": before}
            page = http.get(f"/v1/creators/{bob.did}", params=query).json()
            schemas.Party.model_validate(page)
            pages.append([item["leaf"] for item in page["items"]])
            before = page["next"]
            if before is None:
                break
    # Each page looks at as many manifests as it may hold, whoever else has published.
    assert pages == [[], [leaves[2]], [leaves[1], leaves[0]], []]


def test_eight_publish_at_once(server: Server) -> None:
    names = [f"crowd {n}" for n in range(8)]

    def publish(name: str) -> list[int]:
        key = signing_key(name)
        with client_of(server, key) as client:
            origin = client.policy().origin
            leaves = []
            for n in range(5):
                library = make_library(key, origin, [f"{name} {n}".encode()], title=f"{name} {n}")
                receipt = client.publish(library.manifest, library.terms, library.text)
                [answer] = client.resolve([library.digest()])
                assert [c["state"] for c in answer["claims"]] == ["listed"]  # what was acknowledged is seen
                leaves.append(receipt.leaf)
            return leaves

    with ThreadPoolExecutor(len(names)) as pool:
        leaves = [leaf for found in pool.map(publish, names) for leaf in found]
    assert len(set(leaves)) == 40
    test_the_log_is_what_the_tiles_say(server)


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    ada = signing_key("restart")
    with running_server(tmp_path) as first, client_of(first, ada) as client:
        policy = client.policy()
        library = make_library(ada, policy.origin, [b"restart"])
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
        claim = anchored(client, library.digest())
        [before] = client.resolve([library.digest()])
        port, bearer = first.settings.port, client._authorization()
    with running_server(tmp_path, port=port) as second, RegistryClient(second.url) as client:
        after = client.policy()
        assert (after.registry, after.origin, after.log_vkey, after.anchor) == (
            policy.registry,
            policy.origin,
            policy.log_vkey,
            policy.anchor,
        )
        [answer] = client.resolve([library.digest()])
        assert answer["claims"] == before["claims"]
        result = verify_proof(client.proof(library.digest()), trust_of(policy, claim["anchor"]["block_hash"]))
        assert result.logged_before is not None
        # Bearer tokens live on, and used assertions stay used: both are in the database.
        again = httpx.post(f"{second.url}/v1/statements", content=b"{}", headers=bearer)
        assert again.status_code == 400
        assert client.dataset(leaf)["state"] == "listed"


# Tokens


def grant(leaf: int, holder_key: Signer, **changed: Any) -> dict[str, Any]:
    return {
        "manifests": [leaf],
        "files": None,
        "holder": holder_key.did,
        "licensee": {"name": "Model Lab", "id": "lab-1"},
        "price": {"currency": "EUR", "minor": 1200},
        "uses": ["train"],
        "audience": "any",
        "purpose": "Train a model of avatars",
        "expires_at": "2099-01-01T00:00:00Z",
        **changed,
    }


def test_a_token_is_issued_verified_and_revoked(server: Server) -> None:
    ada, lab = signing_key("token ada"), signing_key("token lab")
    registry = server.registry.identity
    with client_of(server, ada) as client, client_of(server, registry.key) as own:
        policy = client.policy()
        library = make_library(ada, policy.origin, [b"token 1", b"token 2"])
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
        issued = client.issue_token(grant(leaf, lab, files=[digest_encode(library.digest(1))]))
        result = verify_token_bundle(client.token(issued.digest), trust_of(policy), int(time.time()))
        assert (result.digest, result.leaf, result.token.files_count) == (issued.digest, issued.leaf, 1)

        [item] = client.tokens()
        schemas.TokenSummary.model_validate(item)
        assert (item["token"], item["status"]) == (digest_encode(issued.digest), "valid")

        with pytest.raises(RefusedError) as caught:
            client.set_token_status(issued.digest, "revoked")
        assert caught.value.code == "forbidden"
        own.set_token_status(issued.digest, "revoked")
        [item] = client.tokens()
        assert item["status"] == "revoked"
        with pytest.raises(VerificationError) as revoked:
            verify_token_bundle(client.token(issued.digest), trust_of(policy), int(time.time()))
        assert revoked.value.code == "revoked"


def test_a_token_is_nobody_elses_business(server: Server) -> None:
    ada, eve = signing_key("private ada"), signing_key("private eve")
    with client_of(server, ada) as client, client_of(server, eve) as other:
        library = make_library(ada, client.policy().origin, [b"private"])
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
        issued = client.issue_token(grant(leaf, eve))
        with pytest.raises(NotFoundError):
            other.token(issued.digest)
        assert list(other.tokens()) == []
        with pytest.raises(RefusedError) as caught:
            other.issue_token(grant(leaf, eve))
        assert caught.value.code == "forbidden"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"manifests": [2, 1]}, "manifests"),
        ({"manifests": ["1"]}, "manifests[0]"),
        ({"files": []}, "files"),
        ({"files": ["x"]}, "files[0]"),
        ({"holder": "ada"}, "holder"),
        ({"price": {"currency": "EUR", "minor": 1.5}}, "price.minor"),
        ({"price": {"currency": "EUR"}}, "price"),
        ({"uses": ["trane"]}, "uses"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"note": "x"}, "body"),
    ],
)
def test_another_form_of_grant_is_malformed(server: Server, changed: dict[str, Any], field: str) -> None:
    ada = signing_key("form ada")
    with client_of(server, ada) as client, pytest.raises(MalformedError) as caught:
        client.issue_token(grant(1, ada, **changed))
    assert caught.value.field == field


def test_status_lists_are_public_and_signed(server: Server) -> None:
    answer = httpx.get(f"{server.url}/status/0")
    if answer.status_code == 404:
        test_a_token_is_issued_verified_and_revoked(server)
        answer = httpx.get(f"{server.url}/status/0")
    assert answer.headers["content-type"] == "application/statuslist+jwt"
    assert httpx.get(f"{server.url}/status/77").status_code == 404
    assert httpx.get(f"{server.url}/status/-1").status_code == 400
