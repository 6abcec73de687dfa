"""The thread that anchors: what it tells, what it survives, and how often it sends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from itertools import chain as joined
from itertools import repeat

import pytest

from api.anchorer import Anchorer
from ledger.errors import BackendError, ConflictError
from ledger.ports import Anchor
from ledger.registry.anchoring import Anchoring
from tests.simulator import World, key, library
from tests.support.chain import Chain, ChainAnchor

EVA = key("eva")


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.publish(library("first", EVA))
    yield world
    world.close()


def until(what: Callable[[], object]) -> None:
    """Waits until something is so."""
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def until_sent(chain: Chain, count: int) -> None:
    """Waits for this many transactions."""
    until(lambda: len(chain.submitted) == count)


def anchorer_of(world: World, chain: Chain, interval: float) -> Anchorer:
    return Anchorer(world.registry, lambda: ChainAnchor(chain), interval)


def test_an_error_of_the_program_is_told_and_the_thread_goes_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    chain = Chain(is_instant=True)
    errors = joined([ValueError("a mistake"), ZeroDivisionError("another")], repeat(None))

    def connect() -> Anchor:
        if error := next(errors):
            raise error
        return ChainAnchor(chain)

    anchorer = Anchorer(world.registry, connect, 0.2)
    with caplog.at_level(logging.ERROR, "api.anchorer"):
        anchorer.start()
        try:
            until(lambda: anchorer.warning and "ValueError" in anchorer.warning)
            until(lambda: anchorer.warning and "ZeroDivisionError" in anchorer.warning)
            until(lambda: anchorer.changes)
            until(lambda: anchorer.warning is None)
        finally:
            anchorer.close()
    assert chain.submitted == [3]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, ZeroDivisionError]


def test_a_chain_that_does_not_answer_is_a_warning_until_it_does(world: World) -> None:
    chain = Chain(is_instant=True, is_down=True)
    anchorer = anchorer_of(world, chain, 0.02)
    with pytest.raises(BackendError):
        anchorer.open(must_answer=True)
    anchorer.open(must_answer=False)
    assert anchorer.warning == (
        "the chain could not be asked, so the log was not compared with it: the node does not answer"
    )
    anchorer.start()
    try:
        until(lambda: anchorer.warning == "the node does not answer")
        chain.is_down = False
        until(lambda: anchorer.changes)
        until(lambda: anchorer.warning is None)
    finally:
        anchorer.close()


def test_what_goes_wrong_is_reported_once_and_each_anchor(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "api.anchorer")
    chain = Chain(is_instant=True, is_down=True)
    asked = 0

    def connect() -> Anchor:
        nonlocal asked
        asked += 1
        if chain.is_down:
            raise BackendError("the node cannot be reached", code="unreachable")
        return ChainAnchor(chain)

    anchorer = Anchorer(world.registry, connect, 0.02)
    anchorer.start()
    try:
        until(lambda: asked > 3)
        chain.is_down = False
        until(lambda: anchorer.changes)
        until(lambda: anchorer.warning is None)
    finally:
        anchorer.close()
    told, again, anchor = caplog.records
    assert [told.getMessage(), again.getMessage()] == ["anchoring: the node cannot be reached", "anchoring goes on"]
    assert anchor.getMessage() == "anchor"
    assert (anchor.__dict__["size"], anchor.__dict__["state"]) == (3, "final")
    assert anchor.__dict__["milliseconds"] >= 0


def test_a_log_that_the_chain_contradicts_is_told(world: World) -> None:
    """The chain answers only after the start."""
    chain = Chain(is_instant=True)
    older = World()
    older.publish(library("another", EVA))
    older.publish(library("and more", EVA))
    Anchoring(older.registry, ChainAnchor(chain)).step()
    with pytest.raises(ConflictError):
        anchorer_of(world, chain, 60).open(must_answer=False)
    older.close()
    world.reopen()
    chain.is_down = True
    anchorer = anchorer_of(world, chain, 0.02)
    anchorer.open(must_answer=False)
    world.publish(library("written meanwhile", EVA))
    chain.is_down = False
    anchorer.start()
    try:
        until(lambda: world.registry.log.broken)
        for _ in range(50):
            assert anchorer.warning is not None
            assert "the chain holds" in anchorer.warning
            time.sleep(0.002)
    finally:
        anchorer.close()
    assert anchorer.changes == 0


def test_heads_are_sent_once_in_an_interval(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two steps the newest transaction is followed, and nothing is sent, however much is logged."""
    monkeypatch.setattr("api.anchorer.FOLLOW_SECONDS", 0.01)
    chain = Chain()
    anchorer = anchorer_of(world, chain, 3600)
    anchorer.start()
    try:
        until(lambda: chain.submitted)
        world.publish(library("second", EVA))
        chain.mine()
        until(lambda: [row.state for row in world.catalog.anchors(None, 9)] == ["mined"])
        chain.finalize()
        until(lambda: [row.state for row in world.catalog.anchors(None, 9)] == ["final"])
    finally:
        anchorer.close()
    assert chain.submitted == [3]


def test_each_interval_sends_a_head(world: World) -> None:
    chain = Chain()
    anchorer = anchorer_of(world, chain, 0.05)
    anchorer.start()
    try:
        for sent in range(1, 4):
            until_sent(chain, sent)
            chain.mine()  # and never final
            world.publish(library(f"more {sent}", EVA))
    finally:
        anchorer.close()
    assert chain.submitted[:3] == [3, 5, 7]
