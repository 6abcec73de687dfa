"""Quotas: token buckets in memory, by client address and by party (429 with ``Retry-After`` when empty).

A bucket holds one minute's worth and fills evenly.  Buckets live in this process and are forgotten when they are full
again, or when there are too many: a restart begins anew, and several processes each count for themselves.  An IPv6
client is counted by its /64, the smallest network anybody is given.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

MAX_BUCKETS = 50_000


class Quota:
    """Lets each name use `per_minute` units a minute; safe to use from several threads."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._rate = per_minute / 60
        self._clock = clock
        self._guard = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, cost: float = 1, taken: float = 0) -> int:
        """Takes `cost` units; returns 0, or the seconds to wait if they are not there (then nothing is taken).

        With what was `taken` for the same before, a cost beyond the bucket's size counts as the whole bucket.
        """
        cost, now = max(min(cost, self._size - taken), 0), self._clock()
        with self._guard:
            units, at = self._buckets.get(name, (self._size, now))
            units = min(self._size, units + (now - at) * self._rate)
            wait = 0 if units >= cost else math.ceil((cost - units) / self._rate)
            self._buckets[name] = (units if wait else units - cost, now)
            self._buckets.move_to_end(name)
            while self._buckets and (len(self._buckets) > MAX_BUCKETS or self._is_full(now)):
                self._buckets.popitem(last=False)
        return max(wait, 0)

    def _is_full(self, now: float) -> bool:
        """Whether the bucket that was used longest ago is full again; then nothing is lost with it."""
        units, at = next(iter(self._buckets.values()))
        return units + (now - at) * self._rate >= self._size


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Returns what an address is counted as."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
