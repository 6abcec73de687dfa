"""A witness for other logs, as an ASGI application: ``POST /add-checkpoint`` (C2SP tlog-witness), and nothing else.

What a checkpoint must be to be cosigned is in :mod:`ledger.witnessing`.  The order here is what makes a witness one:
check and write down in one transaction, on the disk, and only then sign.  A process killed in between has written
down what nobody got a cosignature for, which costs the log one more request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from ledger.errors import (
    BackendError,
    ConflictError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TrainmarkError,
    VerificationError,
)
from ledger.files import locked
from ledger.keys import Signer
from ledger.note import COSIGNATURE, VerifierKey, cosign_note, format_signatures, format_vkey
from ledger.ports import Clock
from ledger.witness.state import STATE_FILE, WitnessState, forgotten
from ledger.witnessing import (
    MAX_REQUEST_BYTES,
    PATH,
    SIZE_TYPE,
    Seen,
    check_extends,
    format_size,
    parse_request,
    read_checkpoint,
)

KEY_FILE: Final = "witness.pem"
BODY_SECONDS: Final = 20.0
TEXT: Final = "text/plain; charset=utf-8"

_STATUSES: Final[tuple[tuple[type[TrainmarkError], int], ...]] = (
    (MalformedError, 400),
    (RefusedError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (VerificationError, 422),
    (BackendError, 503),
)

_logger = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered."""

    status: int
    body: bytes
    media_type: str = TEXT
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Witness:
    """The witness `name`, which follows `logs`: of each key the log of that name."""

    def __init__(self, name: str, key: Signer, logs: Sequence[VerifierKey], state: WitnessState, clock: Clock) -> None:
        self.name = name
        self._key = key
        self._logs = tuple(logs)
        self._state = state
        self._clock = clock

    @property
    def vkey(self) -> str:
        """The witness's public key, for the policy of logs and of those who trust it."""
        return format_vkey(VerifierKey(self.name, COSIGNATURE, self._key.public))

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answers one request: a cosignature, or the status and the reason of a refusal."""
        try:
            request = parse_request(body)
            origin, new, note = read_checkpoint(request, self._logs)
            held = Seen()

            def decide(seen: Seen) -> Seen:
                nonlocal held
                held = seen
                check_extends(request, new, seen)
                # A clock that was set back must not say that a bigger tree was the biggest one earlier.
                return replace(new, at=max(self._clock(), seen.at))

            try:
                written = self._state.advance(origin, request.note, decide)
            except ConflictError as e:
                if e.code == "stale-size":
                    return Answer(409, format_size(held.size), SIZE_TYPE)
                raise
        except TrainmarkError as e:
            if e.code in ("other-root", "consistency"):  # signed by the log's own key: it may have two histories
                _logger.warning("refused to cosign: %s\n%s", e, _readable(request.note))
            status = next(status for kind, status in _STATUSES if isinstance(e, kind))
            return Answer(status, f"{e} [{e.code}]\n".encode())
        return Answer(200, format_signatures([cosign_note(note.text, self.name, self._key, written.at)]).encode())


@contextmanager
def open_witness(
    folder: Path, name: str, logs: Sequence[VerifierKey], clock: Clock, get_key: Callable[[Path], Signer]
) -> Iterator[Witness]:
    """Opens the witness in `folder`, or makes one; `get_key` reads the key at a path, or makes it
    where there is none.

    Raises:
        ConflictError: ``in-use``: another process runs it.
        RefusedError: ``witness-state``: its key is there and its state is missing or empty, or the other way round: it
            does not know any more what it cosigned; ``other-witness``.
        BackendError: the folder cannot be used.
    """
    with locked(folder, create=True):
        has_key = (folder / KEY_FILE).exists()
        state = WitnessState(folder / STATE_FILE, name, create=not has_key)  # it is on the disk before there is a key
        try:
            if not has_key and not state.is_empty():
                raise forgotten(f"{KEY_FILE} is missing")
            yield Witness(name, get_key(folder / KEY_FILE), logs, state, clock)
        finally:
            state.close()


def _readable(note: bytes) -> str:
    """Returns a note as an operator's terminal may get it: what is not printable is escaped, all else as it is."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in note.decode())


class WitnessApp:
    """The ASGI application."""

    def __init__(self, witness: Witness, body_seconds: float = BODY_SECONDS) -> None:
        self._witness = witness
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request (ASGI 3)."""
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        headers = [
            (b"content-type", answer.media_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body if scope["method"] != "HEAD" else b""})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        if scope["path"] != PATH:
            return Answer(404, f"a witness answers at {PATH}\n".encode())
        if scope["method"] != "POST":
            return Answer(405, b"expected POST\n", headers=((b"allow", b"POST"),))
        body = b""
        try:
            async with asyncio.timeout(self._body_seconds):
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > MAX_REQUEST_BYTES:
                        text = f"at most {MAX_REQUEST_BYTES} bytes are taken here\n"
                        return Answer(413, text.encode(), headers=((b"connection", b"close"),))
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            return Answer(408, b"the body did not come in time\n", headers=((b"connection", b"close"),))
        return await asyncio.to_thread(self._witness.add_checkpoint, body)
