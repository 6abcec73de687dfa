"""The sharing thread: what goes wrong is told and tried again, ever more slowly, and told no more once it works."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from api import sharer
from api.sharer import Sharer
from ledger.errors import BackendError
from ledger.ipfs import IpfsNode
from ledger.registry.sharing import Sharing
from ledger.store.outbox import SqliteOutbox
from tests.simulator import World


class Scripted(Sharing):
    """Fails as it is told, then works; `at` is when it was asked."""

    failures: list[Exception]
    at: list[float]

    def step(self) -> None:
        self.at.append(time.monotonic())
        if self.failures:
            raise self.failures.pop(0)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_trouble_comes_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharer, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(sharer, "IDLE_SECONDS", 0.01)
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    sharing = Scripted(World().registry, outbox, IpfsNode("/ip4/127.0.0.1/tcp/1"))
    away = BackendError("does not answer", code="unavailable", field="ipfs")
    sharing.at, sharing.failures = [], [away, away, away, ZeroDivisionError("a defect")]
    thread = Sharer(sharing)
    thread.start()
    try:
        until(lambda: thread.trouble == "blobs wait for the IPFS node: ipfs: does not answer")
        until(lambda: "ZeroDivisionError" in str(thread.trouble))
        until(lambda: thread.trouble is None)
        until(lambda: len(sharing.at) > 15)
    finally:
        thread.close()
        outbox.close()
    gaps = [after - before for before, after in zip(sharing.at, sharing.at[1:], strict=False)]
    assert [gap > wanted for gap, wanted in zip(gaps, (0.05, 0.1, 0.2, 0.4), strict=False)] == [True] * 4
    assert min(gaps[4:]) < 0.05
