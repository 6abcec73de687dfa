"""The witnesses that a log asks (port ``Cosigners``): all at once over HTTP, each within a time limit.

Whatever a witness does (nothing, rubbish, an endless answer, a signature of something else) costs no more than the
limit and counts as no cosignature.  Once the quorum is reached, the others get a moment more; one that let that moment
pass in vain is not waited for again for a while.
A witness that holds what the checkpoint does not extend, or says so, contradicts the log: it has two histories, or is
older than itself.  That is no proof, since no witness signs it, so a quorum outvotes it and it is a ``warning`` until
that witness cosigns again.  But a checkpoint that nobody cosigned is not published against it, under ``quorum none``
neither, where each witness is therefore waited for once.
Of each witness the size it cosigned last is kept in memory: a wrong guess costs one more request (409 says the size).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final
from urllib.parse import urlsplit

import httpx

from ledger.checkpoint import parse_checkpoint
from ledger.errors import BackendError, MalformedError, VerificationError, shown
from ledger.note import Signature, VerifierKey
from ledger.policy import NO_QUORUM, Policy
from ledger.witnessing import (
    MAX_ANSWER_BYTES,
    MAX_WITNESSES,
    PATH,
    SIZE_TYPE,
    AddCheckpoint,
    format_request,
    parse_answer,
    parse_size,
)

MOMENT_SECONDS: Final = 0.2
"""How long a reached quorum waits for the other witnesses: more of them say more, but a statement waits with them."""
TROUBLE_SECONDS: Final = 30.0
"""How long a reached quorum does not wait for a witness that failed."""
CLOSE_SECONDS: Final = 5.0

_logger = logging.getLogger(__name__)


class _NoCosignatureError(Exception):
    """What one witness did instead of cosigning; goes no further than this module."""


class _ContradictionError(_NoCosignatureError):
    """It holds what the checkpoint does not extend."""


@dataclass(frozen=True, slots=True)
class WitnessState:
    """Whether a witness is `failing`, or even `contradicting` the log; the `size` it cosigned last and when, in UTC
    seconds, both 0 before."""

    failing: bool
    contradicting: bool
    size: int
    answered_at: float


@dataclass(slots=True)
class _Witness:
    """One witness: its key, where it answers, the `size` it cosigned last and when, and what was wrong the last time;
    how it contradicts the log, until it cosigns again; the loop's time from which it is waited for, and whether it was
    at all."""

    key: VerifierKey
    url: str
    size: int = 0
    answered_at: float = 0.0
    trouble: str = ""
    contradiction: str = ""
    waited_from: float = 0.0
    is_known: bool = False


def addresses(policy: Policy, field: str = "policy") -> dict[str, str]:
    """Returns where each witness of a policy is asked.

    Raises:
        MalformedError: a witness without a URL to ask, or more witnesses than a note has lines for.
    """
    if len(policy.witnesses) > MAX_WITNESSES:
        raise MalformedError(
            f"at most {MAX_WITNESSES} witnesses can sign one checkpoint, found {len(policy.witnesses)}", field=field
        )
    return {name: _address(name, policy.urls.get(name), field) for name in policy.witnesses}


class HttpCosigners:
    """The witnesses of `policy`, asked for at most `seconds` each; one caller at a time.

    Raises:
        MalformedError: as :func:`addresses`.
    """

    def __init__(self, policy: Policy, seconds: float, field: str = "policy") -> None:
        urls = addresses(policy, field)
        self.policy = policy
        self._seconds = seconds
        self._witnesses = {name: _Witness(key, urls[name]) for name, key in policy.witnesses.items()}
        self._loop = asyncio.new_event_loop()
        self._http = httpx.AsyncClient(
            timeout=seconds,
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # of nobody: none is kept, or given to another
            headers={"User-Agent": "trainmark", "Accept-Encoding": "identity"},
        )
        self._thread = threading.Thread(target=self._loop.run_forever, name="log-witnesses", daemon=True)
        self._thread.start()

    def cosign(self, note: bytes, consistency: Callable[[int], Sequence[bytes]]) -> tuple[Signature, ...]:
        """Keeps the port's rules."""
        began = time.monotonic()
        lines = asyncio.run_coroutine_threadsafe(self._ask_all(note, consistency), self._loop).result()
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        _logger.debug("cosigned", extra={"witnesses": len(lines), "milliseconds": milliseconds})
        return lines

    def states(self) -> dict[str, WitnessState]:
        """Returns what each witness did last, by its name."""
        return {
            name: WitnessState(bool(w.trouble), bool(w.contradiction), w.size, w.answered_at)
            for name, w in self._witnesses.items()
        }

    @property
    def warning(self) -> str | None:
        """How witnesses contradict the log, if any do: each until it cosigns again."""
        said = (f"the witness {name} {w.contradiction}" for name, w in self._witnesses.items() if w.contradiction)
        return "; ".join(said) or None

    def close(self) -> None:
        """Keeps the port's rules."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop).result(CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _ask_all(self, note: bytes, consistency: Callable[[int], Sequence[bytes]]) -> tuple[Signature, ...]:
        found: dict[str, Signature] = {}
        tasks = {asyncio.create_task(self._ask(name, note, consistency)): name for name in self._witnesses}
        pending, until = set(tasks), self._loop.time() + self._seconds
        try:
            while pending:
                now = self._loop.time()
                if self._is_enough(found, [tasks[task] for task in pending]):
                    until = min(until, now + MOMENT_SECONDS)
                    if all(self._witnesses[tasks[task]].waited_from > now for task in pending):
                        break
                done, pending = await asyncio.wait(
                    pending, timeout=max(0.0, until - now), return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    signature = task.result()
                    if signature is not None:
                        found[tasks[task]] = signature
        finally:
            for task in pending:
                task.cancel()
                if self._witnesses[tasks[task]].waited_from <= self._loop.time():
                    self._failed(tasks[task], "has not answered in time")
            await asyncio.gather(*pending, return_exceptions=True)
        if not self.policy.is_reached(found):
            troubles = "; ".join(f"{name} {w.trouble}" for name, w in self._witnesses.items() if name not in found)
            raise BackendError(f"the witnesses' quorum {self.policy.quorum} is not reached: {troubles}", code="quorum")
        if not found and self.warning is not None:
            raise BackendError(f"nobody cosigned, and {self.warning}", code="quorum")
        return tuple(found[name] for name in self._witnesses if name in found)

    def _is_enough(self, found: Collection[str], pending: Iterable[str]) -> bool:
        """Whether these cosignatures are: where none is needed and there is none, nobody still may contradict."""
        if self.policy.quorum == NO_QUORUM and not found:
            return all(w.is_known and not w.contradiction for w in map(self._witnesses.__getitem__, pending))
        return self.policy.is_reached(found)

    async def _ask(self, name: str, note: bytes, consistency: Callable[[int], Sequence[bytes]]) -> Signature | None:
        """Returns the witness's cosignature; None, and what was wrong is written down, if there is none to be had."""
        try:
            return await self._exchange(self._witnesses[name], name, note, consistency)
        except _ContradictionError as e:
            self._contradicted(name, str(e))
        except _NoCosignatureError as e:
            self._failed(name, str(e))
        return None

    async def _exchange(
        self, witness: _Witness, name: str, note: bytes, consistency: Callable[[int], Sequence[bytes]]
    ) -> Signature:
        checkpoint, parsed = parse_checkpoint(note)
        old = witness.size if witness.size <= checkpoint.size else 0
        for is_last in (False, True):
            request = format_request(AddCheckpoint(old, tuple(consistency(old)), note))
            try:
                status, media_type, body = await self._post(witness.url, request)
                if status == 200:
                    signature = parse_answer(body, parsed.text, witness.key)
                    self._answered(name, checkpoint.size)
                    return signature
                if status != 409 or media_type != SIZE_TYPE or is_last:
                    is_other = status == 422 or (status == 409 and media_type != SIZE_TYPE)  # C2SP tlog-witness
                    error = _ContradictionError if is_other else _NoCosignatureError
                    raise error(f"answered {status}: {shown(body[:80].decode('utf-8', 'replace'))}")
                old = parse_size(body)
            except (httpx.HTTPError, OSError) as e:
                raise _NoCosignatureError(f"cannot be asked: {shown(str(e) or type(e).__name__)}") from e
            except (MalformedError, VerificationError) as e:
                raise _NoCosignatureError(f"answered what is no cosignature: {e}") from e
            if old > checkpoint.size:
                raise _ContradictionError(f"says to have cosigned {old} leaves, this log has {checkpoint.size}")
        raise AssertionError("the second answer is the last")

    async def _post(self, url: str, request: bytes) -> tuple[int, str, bytes]:
        """Returns status, media type and body of an answer, which is cut off where it gets too big to be one."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        async with self._http.stream("POST", url, content=request, headers=headers) as response:
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise MalformedError(f"at most {MAX_ANSWER_BYTES} bytes are read", field="answer")
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            return response.status_code, media_type, body

    def _answered(self, name: str, size: int) -> None:
        witness = self._witnesses[name]
        if witness.trouble:
            _logger.warning("the witness %s cosigns again", name)
        witness.size, witness.answered_at = size, time.time()
        witness.trouble, witness.contradiction, witness.waited_from, witness.is_known = "", "", 0.0, True

    def _contradicted(self, name: str, how: str) -> None:
        witness = self._witnesses[name]
        if not witness.contradiction:
            _logger.error("the witness %s contradicts this log: it %s", name, how)
        witness.trouble = witness.contradiction = how
        self._failed(name, how)

    def _failed(self, name: str, trouble: str) -> None:
        witness = self._witnesses[name]
        if not witness.trouble:  # once, not at every batch
            _logger.warning("the witness %s %s", name, trouble)
        witness.trouble, witness.is_known = trouble, True
        if witness.waited_from <= self._loop.time():  # else a busy log would never wait for it again
            witness.waited_from = self._loop.time() + TROUBLE_SECONDS


def _address(name: str, url: str | None, field: str) -> str:
    if url is None:
        raise MalformedError(f"the witness {shown(name)} has no URL at which it is asked", field=field)
    try:
        parts = urlsplit(url)
        httpx.URL(url).host.encode("idna")  # else the first request fails on it
        is_url = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    except (ValueError, httpx.InvalidURL):
        is_url = False
    if not is_url or "@" in url:
        raise MalformedError(
            f"expected a URL like https://witness.example, found {shown(url)} for {shown(name)}", field=field
        )
    return url.rstrip("/") + PATH
