"""Issuing tokens: what a refusal costs, and what a new address of the issuer leaves as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ledger.encoding import digest_encode
from ledger.errors import MalformedError, NotFoundError, RefusedError
from ledger.registry.grants import GrantRequest, Grants
from ledger.tokens.attribution import Price, parse_token
from ledger.tokens.bundle import verify_token_bundle
from ledger.tokens.files import decode_files
from ledger.tokens.status import REVOKED, VALID, parse_status_list, status_value
from tests.simulator import DAY, ISSUER, START, World, key, library

EVA = key("eva")
HOLDER = key("a model maker").public


@pytest.fixture
def world() -> Iterator[World]:
    """A registry with one library, listed at leaf 1."""
    world = World()
    world.publish(library("pictures", EVA))
    yield world
    world.close()


def request_of(**changes: object) -> GrantRequest:
    """Returns a request that is granted."""
    request = GrantRequest((1,), None, HOLDER, None, None, ("train",), "any", "a model", START + 30 * DAY)
    return replace(request, **changes)  # type: ignore[arg-type]


def test_a_token_that_cannot_be_made_costs_no_slot(world: World) -> None:
    grants = Grants(world.registry)
    for changes in ({"price": Price("not a currency", 1)}, {"purpose": "x" * 10_000}):
        with pytest.raises(MalformedError):
            grants.issue(request_of(**changes), EVA.did)
    assert world.registry.log.head.size == 3
    assert world.registry.log.fold.statuses == {}
    with pytest.raises(NotFoundError):
        grants.status_list(0)


def test_uses_in_any_order_are_one_set(world: World) -> None:
    record = Grants(world.registry).issue(request_of(uses=("train", "search", "train", "mine")), EVA.did)
    assert parse_token(record.sd_jwt).token.uses == ("mine", "search", "train")


def test_tokens_outlive_the_address_of_their_issuer(world: World) -> None:
    """Their lists go on under the address they name; new tokens get lists of their own; and back again."""
    first = Grants(world.registry).issue(request_of(), EVA.did)
    records, issuers = [first], [ISSUER]
    for issuer in ("https://new.example/registry", ISSUER):
        world.identity = replace(world.identity, issuer=issuer)
        registry = world.reopen()
        registry.log.append(registry.sign("policy", registry.policy_body()))
        records.append(Grants(registry).issue(request_of(), EVA.did))
        issuers.append(issuer)
    grants = Grants(world.registry)
    lists = [record.status_list for record in records]
    assert lists == [0, 1, 0]
    for record, issuer in zip(records, issuers, strict=True):
        token = parse_token(record.sd_jwt).token
        assert token.status_uri == f"{issuer}/status/{record.status_list}"
        assert parse_status_list(grants.status_list(record.status_list)).uri == token.status_uri
        assert verify_token_bundle(grants.bundle(record), world.trust(), START).leaf == record.leaf
    grants.set_status(records[1].digest, REVOKED, world.identity.did)
    statuses = [
        status_value(parse_status_list(grants.status_list(record.status_list)).array, record.status_index)
        for record in records
    ]
    assert statuses == [VALID, REVOKED, VALID]


def refused(world: World, **changes: object) -> str:
    """Returns what a request is told that is refused for its files; nothing is logged for it."""
    size = world.registry.log.head.size
    with pytest.raises(RefusedError) as caught:
        Grants(world.registry).issue(request_of(**changes), EVA.did)
    assert (caught.value.code, caught.value.field) == ("files", "files")
    assert world.registry.log.head.size == size
    return caught.value.message


def test_a_token_is_on_so_many_files_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = library("more", EVA, 3)
    world.publish(other)
    leaves = (1, 3)
    first, *_, last = sorted(entry.provenance_hash for entry in other.entries)
    grants = Grants(world.registry)
    count = grants.entry_count(leaves)
    assert grants.entry_count((0, 1, 2, 99)) + len(other.entries) == count
    monkeypatch.setattr("ledger.registry.grants.MAX_FILES", count)
    record = grants.issue(request_of(manifests=leaves), EVA.did)
    assert parse_token(record.sd_jwt).token.files_count == count
    monkeypatch.setattr("ledger.registry.grants.MAX_FILES", count - 1)
    message = refused(world, manifests=leaves)
    assert f"at most {count - 1} files, these are {count}" in message
    assert "name fewer files, or fewer manifests" in message
    monkeypatch.setattr("ledger.registry.grants.MAX_FILES", 2)
    assert "these are 3" in refused(world, manifests=leaves, files=(first, last, bytes(32)))
    record = grants.issue(request_of(manifests=leaves, files=(last, first)), EVA.did)
    assert decode_files(record.files) == (first, last)


def test_only_listed_files_are_granted(world: World) -> None:
    known = world.registry.all_entries(1)[0].provenance_hash
    assert digest_encode(bytes(32)) in refused(world, files=(known, bytes(32)))
    assert "an empty set" in refused(world, files=())
