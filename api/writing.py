"""Those who write take turns before they take a thread: one write of each party at a time, the next ones in order.

So a party that writes much, or whose write takes long, holds one thread and waits with the rest.  A few may wait; who
comes then is told to come again (429).  Writes have threads of their own, so that reads never wait for one behind them.
A body has come before a turn is waited for: whoever lets it trickle holds up nobody.  Big bodies need much memory when
they are read: ``BIG_AT_ONCE`` at a time, and one of each address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import anyio
from anyio.to_thread import run_sync
from fastapi import Request

from api.bodies import Bodies
from api.problems import RETRY_SECONDS, ProblemError, too_many
from api.quota import network_of
from ledger.errors import BackendError

Result = TypeVar("Result")

WRITERS: Final = 16
MAX_WAITING: Final = 8
"""Who may wait for one turn."""

BIG_AT_ONCE: Final = 3


class Turns:
    """One turn of each name at a time; whoever waits for it gets it in the order of coming."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()  # while somebody holds or awaits it

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Waits for a turn and gives it back at the end of the block.

        Raises:
            ProblemError: 429: ``MAX_WAITING`` wait for it already.
        """
        lock = self._locks.setdefault(name, anyio.Lock())
        if lock.statistics().tasks_waiting >= MAX_WAITING:
            raise ProblemError(too_many(f"{MAX_WAITING} writes of {name} wait already", RETRY_SECONDS))
        async with lock:
            yield


class Writing:
    """Does the writes of one running application; begins none once `is_ending` says so."""

    def __init__(self, bodies: Bodies, is_ending: Callable[[], bool]) -> None:
        self._bodies = bodies
        self._is_ending = is_ending
        self._turns = Turns()
        self._big = anyio.CapacityLimiter(BIG_AT_ONCE)
        self._threads = anyio.CapacityLimiter(WRITERS)

    async def run(self, request: Request, party: str, work: Callable[[bytes], Result]) -> Result:
        """Returns what `work` makes of the request's body, in the turn of `party` and a thread.

        Raises:
            BackendError: ``shutting-down``: the write was not begun, another process will do it.
        """
        address = network_of(request.client.host if request.client else "")
        async with AsyncExitStack() as stack:
            body = await stack.enter_async_context(self._bodies.of(request, address))
            await stack.enter_async_context(self._turns.of(party))
            if body.is_big:
                # Anybody may call themselves as many parties as they like; slots are for those who wait for no turn.
                await stack.enter_async_context(self._turns.of(f"address {address}"))
                await stack.enter_async_context(self._big)
            if self._is_ending():
                raise BackendError("the registry is shutting down; this was not begun", code="shutting-down")
            return await run_sync(lambda: work(body.read()), limiter=self._threads)
