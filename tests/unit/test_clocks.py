"""Clocks that jump, forward and back, between statements and across starts: what counts them, and what does not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.clock import TOLD_SECONDS, ForwardClock
from ledger.assertion import audience_of, make_assertion
from ledger.checkpoint import parse_checkpoint
from ledger.encoding import b64url_encode, sha256
from ledger.errors import RefusedError
from ledger.merkle import verify_consistency
from ledger.proof import verify_proof
from ledger.registry.anchoring import STUCK_SECONDS, Anchoring
from ledger.registry.grants import Grants
from ledger.registry.proving import prove
from ledger.state import Fold
from ledger.tokens.status import parse_status_list
from tests.simulator import DAY, START, Clock, World, key, library
from tests.support.chain import Chain, ChainAnchor
from tests.support.server import Server, running_server
from tests.unit.test_registry_grants import request_of

EVA = key("eva")
JUMPS = (3600, -7200, 400 * DAY, -800 * DAY, 400 * DAY, -1)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_a_log_is_one_history_whatever_the_clock_does(world: World) -> None:
    """Each statement is said at another time, half of them after a start at that time."""
    heads = []
    for number, jump in enumerate(JUMPS):
        world.clock.now += jump
        made = library(f"library {number}", EVA)
        registry = world.reopen() if number % 2 else world.registry
        receipt = world.publish(made)
        assert receipt.decision.outcome == "list"
        heads.append(registry.log.head)
        result = verify_proof(prove(registry, made.entries[0].provenance_hash), world.trust())
        assert result.leaf == receipt.logged.index
    size = world.registry.log.head.size
    assert size == 1 + 2 * len(JUMPS)
    fold = Fold(world.leaves())
    assert (fold.void, fold.size) == ({}, size)
    for head in heads:
        proof = world.registry.log.consistency(head.size, size)
        verify_consistency(head.size, size, head.root, world.registry.log.head.root, proof)
        assert parse_checkpoint(head.note)[0].root == head.root


def test_a_status_list_is_signed_for_the_time_it_is_asked_at(world: World) -> None:
    world.publish(library("pictures", EVA))
    grants = Grants(world.registry)
    grants.issue(request_of(), EVA.did)
    size = world.registry.log.head.size
    for jump in JUMPS:
        world.clock.now += jump
        found = parse_status_list(grants.status_list(0))
        assert found.issued_at == world.clock.now < found.expires_at
    assert world.registry.log.head.size == size  # only a change is logged


def test_a_grant_counts_from_the_time_of_the_registry(world: World) -> None:
    world.publish(library("pictures", EVA))
    world.clock.now += 31 * DAY
    with pytest.raises(RefusedError, match="the expiry must be in the future"):
        Grants(world.registry).issue(request_of(), EVA.did)
    world.clock.now -= 31 * DAY
    Grants(world.registry).issue(request_of(), EVA.did)


def test_a_transaction_waits_by_the_steady_clock(world: World) -> None:
    steady, chain = Clock(), Chain()
    anchoring = Anchoring(world.registry, ChainAnchor(chain), steady)
    anchoring.step()
    world.clock.now += DAY
    assert anchoring.step() == ()  # the day did not pass
    world.clock.now -= 2 * DAY
    steady.now += STUCK_SECONDS
    anchoring.step()
    assert chain.submitted == [1, 1]


# The time of one process


def test_the_time_never_goes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="api")
    wall = Clock(100)
    clock = ForwardClock(wall)
    read = []
    for now in (100, 101, 101 - TOLD_SECONDS, 50, 40, 101, 102, 60, 10_000):
        wall.now = now
        read.append(clock())
    assert read == [100, 101, 101, 101, 101, 101, 102, 102, 10_000]
    told = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in told] == [
        "the clock went back by 51 seconds",
        "the clock went back by 42 seconds",
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("clocks")) as server:
        yield server


def test_what_has_expired_stays_so_when_the_clock_is_put_back(server: Server) -> None:
    wall = Clock(START)
    server.running.registry.clock = ForwardClock(wall)
    issuer = server.running.writer.registry.identity.issuer

    def ask(number: int, now: int) -> httpx.Response:
        jti = b64url_encode(sha256(b"jti %d" % number)[:16])
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": make_assertion(EVA, EVA.did, audience_of(issuer), now, jti),
            "scope": "publish",
        }
        return httpx.post(f"{server.url}/oauth/token", data=form)

    def speak(token: str) -> int:
        body = {"Authorization": f"Bearer {token}"}
        return httpx.post(f"{server.url}/v1/manifests", headers=body, content=b"{}").status_code

    first = ask(1, START)
    assert first.status_code == 200
    token: Any = first.json()["access_token"]
    assert speak(token) == 400  # it is let in, and says nothing
    wall.now += DAY
    assert speak(token) == 401
    assert ask(2, wall.now).status_code == 200  # what has expired is forgotten now
    wall.now -= DAY
    assert speak(token) == 401
    replayed = ask(1, START)
    assert (replayed.status_code, replayed.json()["code"]) == (401, "expired-assertion")
