"""Token buckets: how much, how fast again, for whom, and that they do not pile up."""

from __future__ import annotations

import pytest

from api import quota
from api.quota import Quota, network_of


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_then_nothing_then_evenly_again() -> None:
    clock = Clock()
    bucket = Quota(60, clock)
    assert [bucket.take("a") for _ in range(60)] == [0] * 60
    assert bucket.take("a") == 1
    clock.now += 1
    assert bucket.take("a") == 0
    assert bucket.take("a") == 1


def test_names_do_not_share() -> None:
    bucket = Quota(1, Clock())
    assert (bucket.take("a"), bucket.take("b")) == (0, 0)
    assert bucket.take("a") == 60


def test_what_is_refused_costs_nothing() -> None:
    clock = Clock()
    bucket = Quota(60, clock)
    assert bucket.take("a", 50) == 0
    assert bucket.take("a", 30) == 20
    assert bucket.take("a", 10) == 0


def test_a_cost_beyond_the_size_takes_all() -> None:
    bucket = Quota(60, Clock())
    assert bucket.take("a", 1000) == 0
    assert bucket.take("a") == 1


def test_a_cost_of_nothing_leaves_nothing_behind() -> None:
    bucket = Quota(60, Clock())
    assert bucket.take("a", 0) == 0
    assert list(bucket._buckets) == []


def test_a_bucket_never_overflows() -> None:
    clock = Clock()
    bucket = Quota(60, clock)
    bucket.take("a")
    clock.now += 3600
    assert bucket.take("a", 60) == 0
    assert bucket.take("a") == 1


def test_full_and_surplus_buckets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "MAX_BUCKETS", 10)
    clock = Clock()
    bucket = Quota(60, clock)
    for n in range(100):
        bucket.take(f"a{n}", 60)
    assert len(bucket._buckets) == 10
    clock.now += 61
    bucket.take("last")
    assert list(bucket._buckets) == ["last"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "unknown"),
        ("testclient", "unknown"),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address) == network
