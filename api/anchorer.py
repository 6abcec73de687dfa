"""The thread that anchors: when the chain is asked, and what of that people are told.

A step (:meth:`ledger.registry.anchoring.Anchoring.step`) is due once in each interval; between two, only the newest
transaction under way is looked at.  Whatever goes wrong is told by ``warning`` and tried again; the thread ends only
when it is stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ledger.errors import BackendError, TrainmarkError
from ledger.ports import Anchor, AnchorRow, ChainIdentity
from ledger.registry.anchoring import Anchoring
from ledger.registry.service import Registry

FOLLOW_SECONDS: Final = 5.0
"""How often the newest transaction under way is looked at, where the interval is longer."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Anchorer:
    """Anchors the log from a thread of its own, each `interval` seconds, on the chain that `connect` opens.

    `identity` is None until the chain was reached once; `trouble` is what went wrong last.
    """

    registry: Registry
    connect: Callable[[], Anchor]
    interval: float
    trouble: str | None = None
    identity: ChainIdentity | None = None
    _anchor: Anchor | None = None
    _anchoring: Anchoring | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def warning(self) -> str | None:
        """What is wrong with anchoring or with the log's writing now, for people."""
        broken = self.registry.log.broken
        return self.trouble if broken is None else str(broken)

    @property
    def changes(self) -> int:
        """How many times an anchor was written down, new or changed."""
        return 0 if self._anchoring is None else self._anchoring.changes

    def open(self, *, must_answer: bool) -> None:
        """Opens the chain and compares its head with the log.

        Raises:
            ConflictError: ``log-disagreement``: the chain holds what the log does not.
            BackendError: the chain does not answer, where it must; else that is a warning, and it is asked again.
        """
        try:
            self._connected().compare()
        except BackendError as e:
            if must_answer:
                raise
            self._say(f"the chain could not be asked, so the log was not compared with it: {e}")

    def _connected(self) -> Anchoring:
        if self._anchor is None:
            self._anchor = self.connect()
            self.identity = self._anchor.identity
        if self._anchoring is None:
            self._anchoring = Anchoring(self.registry, self._anchor)
        return self._anchoring

    def step(self) -> tuple[AnchorRow, ...]:
        """Does what there is to do on the chain now, and returns the anchors that changed; from one thread at a time.

        Raises:
            TrainmarkError: it did not work; repeat it later.
        """
        anchoring, began = self._connected(), time.monotonic()
        changed = anchoring.step()
        self._say(anchoring.warning)
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        for row in changed:
            extra = {"size": row.size, "state": row.state, "transaction": row.transaction}
            _logger.info("anchor", extra={**extra, "milliseconds": milliseconds})
        return changed

    def _say(self, trouble: str | None) -> None:
        """Keeps what is wrong now, and says so once, not at every interval."""
        if trouble is not None and trouble != self.trouble:
            _logger.warning("anchoring: %s", trouble)
        if trouble is None and self.trouble is not None:
            _logger.warning("anchoring goes on")
        self.trouble = trouble

    def start(self) -> None:
        """Begins to anchor in the background."""
        self._thread = threading.Thread(target=self._run, name="anchorer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = pause = 0.0
        while not self._stop.wait(pause):
            longest = self.interval
            try:
                if time.monotonic() >= due:
                    due = time.monotonic() + self.interval
                    self.step()
                else:
                    self._connected().follow(1)
                if self._connected().under_way:
                    longest = FOLLOW_SECONDS
            except TrainmarkError as e:
                self._say(str(e))
            except Exception as e:  # outermost border of this thread: nobody else would ever see it
                self.trouble = f"anchoring met an error of this program ({type(e).__name__}), see its output"
                _logger.exception("anchoring failed; it is tried again in %g seconds", self.interval)
            pause = max(min(due - time.monotonic(), longest), 0.0)

    def close(self) -> None:
        """Stops the thread and closes the chain."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._anchor is not None:
            self._anchor.close()
