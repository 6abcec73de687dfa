"""A registry over HTTP, from the outside: what creators, model-makers and auditors ask of it (docs/format.md, 4 and 8).

::

    with RegistryClient("https://registry.example") as registry:
        for answer in registry.resolve(digests): ...
        registry.authenticate(key, did, ("publish",))
        registry.publish(manifest, terms, text)

What a registry answers is not trusted: each answer has a cap and a form, and whoever wants to know whether it is true
verifies a proof bundle against a trust file of one's own.  Redirects are refused, and compressed answers but for entry
bundles.  An answer may take as long as its timeout, and longer only while ``SLOWEST`` bytes of it come a second.  429
and 503 are repeated a few times, after as long as ``Retry-After`` says but at most ``MAX_WAIT`` seconds; nothing else
is.
"""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import islice
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlencode, urlsplit

import httpx

from ledger.assertion import (
    CLIENT_ASSERTION_TYPE,
    GRANT_TYPE,
    JTI_BYTES,
    TOKEN_PATH,
    audience_of,
    make_assertion,
)
from ledger.canonical import load_json
from ledger.encoding import b64url_encode, digest_decode, digest_encode, gunzip
from ledger.errors import (
    BackendError,
    ConflictError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TrainmarkError,
    VerificationError,
    shown,
)
from ledger.keys import Signer
from ledger.manifests import Manifest, format_manifest
from ledger.note import MAX_NOTE_BYTES
from ledger.ports import ChainIdentity
from ledger.proof import MAX_PROOF_BYTES
from ledger.statements import Statement
from ledger.terms import MAX_LICENSE_TEXT_BYTES, MAX_TERMS_BYTES
from ledger.tiles import ENTRIES, MAX_TILE_BYTES, Tile, format_path, read_leaves

Json: TypeAlias = dict[str, Any]

BATCH: Final = 10_000
STATEMENTS: Final = 1024
PAGE: Final = 100
REVIEWS_PAGE: Final = 20
TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
LONG_TIMEOUT: Final = httpx.Timeout(600.0, connect=10.0)
SLOWEST: Final = 16 * 1024
"""Bytes a second below which an answer is not waited for once its timeout is over."""
TRIES: Final = 5
MAX_WAIT: Final = 30.0
EARLY_SECONDS: Final = 30
"""How long before its end a bearer token is replaced."""

MAX_PROBLEM_BYTES: Final = 64 * 1024
MAX_JSON_BYTES: Final = 4 << 20
MAX_LINE_BYTES: Final = 1 << 20
MAX_ANSWER_DEPTH: Final = 16
MAX_BATCH_BYTES: Final = BATCH * MAX_LINE_BYTES
"""Of an answer that is read line by line: at no time is more than one line of it in memory."""
MAX_TOKEN_BYTES: Final = 256 << 20
MAX_TEXT_CHARS: Final = 500

_ERRORS: Final[dict[int, type[TrainmarkError]]] = {
    400: MalformedError,
    401: RefusedError,
    403: RefusedError,
    404: NotFoundError,
    409: ConflictError,
    413: RefusedError,
    422: VerificationError,
}


@dataclass(frozen=True, slots=True)
class RegistryPolicy:
    """What a registry says of itself; `anchor` is the chain it anchors on, `anchor_class` its own word for it."""

    registry: str
    origin: str
    log_vkey: str
    issuer: str
    token_keys: tuple[str, ...]
    rules: str
    size: int
    anchor: ChainIdentity | None
    anchor_class: str | None


@dataclass(frozen=True, slots=True)
class LoggedAt:
    """A statement's `leaf`, and the checkpoint note of `size` leaves that covers it; not verified."""

    leaf: int
    size: int
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class PublishReceipt:
    """Where a manifest was logged, and what the registry's rules said: ``list``, ``reject`` or ``wait``."""

    leaf: int
    size: int
    checkpoint: bytes
    manifest: bytes
    decision: Literal["list", "reject", "wait"]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token: `digest` of its issuer-signed JWT, and the leaf that logs it."""

    digest: bytes
    leaf: int


@dataclass(frozen=True, slots=True)
class PartyKey:
    """What a registry says of a key: it counts for leaves after `added` (-1: from the start) up to `revoked`."""

    key: str
    recovery: bool
    added: int
    revoked: int | None
    since: int | None

    @property
    def signs(self) -> bool:
        """Whether it signs all that its party says, now."""
        return not self.recovery and self.revoked is None


@dataclass(slots=True)
class _Bearer:
    """Who speaks, and the token of the moment; replaced shortly before it ends."""

    key: Signer
    by: str
    scopes: tuple[str, ...]
    token: str = ""
    ends_at: float = 0.0


class RegistryClient:
    """One registry at `url`; from one thread at a time."""

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Connects to nothing yet; `clock` gives UTC seconds.

        Raises:
            MalformedError: not an http(s) URL without query.
        """
        malformed = MalformedError(f"expected a URL like https://registry.example, found {shown(url)}", field="url")
        try:
            parts = urlsplit(url)
            httpx.URL(url).host.encode("idna")  # else the first request fails on it
        except (ValueError, httpx.InvalidURL) as e:
            raise malformed from e
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or "@" in url:
            raise malformed
        self.url = url.rstrip("/")
        self.is_private = parts.scheme == "https" or _is_loopback(parts.hostname)
        """Whether nobody between here and the registry reads or changes what is said: https, or this machine."""
        self._sleep = sleep
        self._clock = clock
        self._bearer: _Bearer | None = None
        self._http = httpx.Client(
            transport=transport,
            timeout=TIMEOUT,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # of nobody: none is kept
            headers={"User-Agent": "trainmark", "Accept-Encoding": "identity"},
        )

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; may be called twice."""
        self._http.close()

    # -- who may write

    def authenticate(self, key: Signer, by: str, scopes: Sequence[str]) -> None:
        """Gets a bearer token to speak for the party `by`, and a new one whenever it ends.

        Raises:
            RefusedError: ``insecure``: plain http to another machine; ``wrong-issuer``: the registry says to be at
                another address, so that what is signed here could be used there; else the registry's refusal.
        """
        if not self.is_private:
            raise RefusedError("a token goes over https, or stays on this machine", code="insecure", field="url")
        issuer = self.policy().issuer
        if issuer != self.url:
            raise RefusedError(
                f"the registry says to be {shown(issuer)}; use that address if you trust it",
                code="wrong-issuer",
                field="url",
            )
        self._bearer = _Bearer(key, by, tuple(scopes))
        self._authorization()

    def _authorization(self) -> dict[str, str]:
        bearer = self._bearer
        if bearer is None:
            raise RefusedError("authenticate first", code="no-token")
        if self._clock() >= bearer.ends_at - EARLY_SECONDS:
            now = int(self._clock())
            jti = b64url_encode(secrets.token_bytes(JTI_BYTES))
            form = {
                "grant_type": GRANT_TYPE,
                "client_assertion_type": CLIENT_ASSERTION_TYPE,
                "client_assertion": make_assertion(bearer.key, bearer.by, audience_of(self.url), now, jti),
                "scope": " ".join(bearer.scopes),
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._json("POST", TOKEN_PATH, urlencode(form).encode(), headers)
            with _reading("access token"):
                bearer.token, bearer.ends_at = _text(answer["access_token"]), now + _whole(answer["expires_in"])
                if not bearer.token.isascii() or not bearer.token.isprintable():
                    raise ValueError("not a token")
        return {"Authorization": f"Bearer {bearer.token}"}

    # -- writing

    def publish(self, manifest: Manifest, terms: bytes, text: bytes) -> PublishReceipt:
        """Publishes a manifest with its license; again gives the same leaf.

        Raises:
            RefusedError, ConflictError, MalformedError, VerificationError: the registry's refusal, with its code.
        """
        body = b'{"manifest":%b,"terms":%b,"text":%b}' % (
            format_manifest(manifest),
            terms,
            json.dumps(text.decode("utf-8")).encode("ascii"),
        )
        answer = self._json("POST", "/v1/manifests", body, self._authorization(), timeout=LONG_TIMEOUT)
        with _reading("receipt"):
            logged = _logged(answer)
            decision = answer["decision"]
            if decision not in ("list", "reject", "wait"):
                raise ValueError("decision")
            reasons = tuple(_line(reason) for reason in answer["reasons"])
            digest = digest_decode(answer["manifest"], "manifest")
            return PublishReceipt(logged.leaf, logged.size, logged.checkpoint, digest, decision, reasons)

    def speak(self, statement: Statement) -> LoggedAt:
        """Has a statement logged; again gives the same leaf."""
        answer = self._json("POST", "/v1/statements", statement.data, self._authorization())
        with _reading("receipt"):
            return _logged(answer)

    def speak_many(self, statements: Iterable[Statement]) -> Iterator[LoggedAt | TrainmarkError]:
        """Has statements logged, ``STATEMENTS`` at a time; yields where each is, or why it is not logged, in order."""
        rest = iter(statements)
        while batch := list(islice(rest, STATEMENTS)):
            body = b"".join(statement.data + b"\n" for statement in batch)
            notes: dict[int, bytes] = {}
            headers = {**self._authorization(), "Content-Type": "application/x-ndjson"}
            data = self._read("POST", "/v1/statements", body, headers, limit=MAX_JSON_BYTES, timeout=LONG_TIMEOUT)
            with _reading("receipts"):
                answers = [_answer(load_json(line, "answer", MAX_PROBLEM_BYTES), notes) for line in data.splitlines()]
                if len(answers) != len(batch):
                    raise ValueError("another number of lines")
            yield from answers

    def issue_token(self, request: Json) -> IssuedToken:
        """Issues an attribution token on works of the party authenticated (scope ``token``).

        `request` has the members of ``POST /v1/tokens``: ``manifests, files, holder, licensee, price, uses, audience,
        purpose, expires_at``.
        """
        body = json.dumps(request).encode()
        answer = self._json("POST", "/v1/tokens", body, self._authorization(), timeout=LONG_TIMEOUT)
        with _reading("token"):
            return IssuedToken(digest_decode(answer["token"], "token"), _whole(answer["leaf"]))

    def set_token_status(self, digest: bytes, status: str) -> None:
        """Sets a token to ``valid``, ``revoked`` or ``suspended``; the registry's own key only."""
        body = json.dumps({"status": status}).encode()
        self._json("POST", f"/v1/tokens/{digest_encode(digest)}/status", body, self._authorization())

    # -- reading

    def policy(self) -> RegistryPolicy:
        """Returns what the registry says of itself; to be compared with what is known some other way."""
        value = self._json("GET", "/v1/policy")
        with _reading("policy"):
            chains = [_chain(anchor) for anchor in value["anchors"] if anchor["kind"] == "evm"]
            return RegistryPolicy(
                _text(value["registry"]),
                _text(value["origin"]),
                _text(value["log_vkey"]),
                _text(value["issuer"]),
                tuple(_text(key) for key in value["token_keys"]),
                _text(value["rules"]),
                _whole(value["size"]),
                chains[0][0] if chains else None,
                chains[0][1] if chains else None,
            )

    def resolve(
        self, digests: Iterable[bytes], *, failed: Callable[[bytes, BackendError], None] | None = None
    ) -> Iterator[Json]:
        """Yields the answer to each digest, in order, asking for 10,000 at a time.

        An answer longer than ``MAX_LINE_BYTES`` is about its digest alone: `failed` is told of it and the others go on.

        Raises:
            BackendError: the registry answered something else than it was asked, or too much and there is no `failed`.
        """
        rest = iter(digests)
        while batch := list(islice(rest, BATCH)):
            body = b"".join(b'"%b"\n' % digest_encode(digest).encode() for digest in batch)
            count = 0
            with self._open("POST", "/v1/resolve", body, timeout=LONG_TIMEOUT) as response:
                for line in _lines(response):
                    with _reading("answer"):
                        digest = batch[count]
                    count += 1
                    if line is None:
                        error = BackendError(
                            f"the answer to {digest_encode(digest)} is longer than {MAX_LINE_BYTES} bytes",
                            code="protocol",
                        )
                        if failed is None:
                            raise error
                        failed(digest, error)
                        continue
                    with _reading("answer"):
                        answer = load_json(line, "answer", MAX_LINE_BYTES, MAX_ANSWER_DEPTH)
                        if answer["digest"] != digest_encode(digest) or not isinstance(answer["claims"], list):
                            raise ValueError("another digest")
                    yield answer
            if count != len(batch):
                raise BackendError(f"{len(batch)} digests were asked for, {count} answers came", code="protocol")

    def proof(self, digest: bytes, leaf: int | None = None) -> bytes:
        """Returns the proof bundle of a claim, not verified. Raises NotFoundError."""
        query = "" if leaf is None else f"?leaf={leaf}"
        return self._read("GET", f"/v1/proofs/{digest_encode(digest)}{query}", limit=MAX_PROOF_BYTES)

    def license(self, digest: bytes) -> tuple[bytes, bytes]:
        """Returns (terms, text) of a license, not verified. Raises NotFoundError."""
        path = f"/v1/licenses/{digest_encode(digest)}"
        return (
            self._read("GET", path, limit=MAX_TERMS_BYTES),
            self._read("GET", f"{path}.txt", limit=MAX_LICENSE_TEXT_BYTES),
        )

    def dataset(self, leaf: int) -> Json:
        """Returns what is known of the manifest at `leaf`. Raises NotFoundError."""
        return self._json("GET", f"/v1/datasets/{leaf}")

    def entries(self, leaf: int, count: int) -> list[Json]:
        """Returns the first `count` (up to 100) entries of the manifest at `leaf`. Raises NotFoundError."""
        page = self._json("GET", f"/v1/datasets/{leaf}/entries?limit={count}")
        with _reading("page"):
            if not isinstance(page["items"], list) or len(page["items"]) > count:
                raise ValueError("no page")
            return page["items"]

    def datasets(self) -> Iterator[Json]:
        """Yields all public manifests, newest first."""
        return self._pages("/v1/datasets")

    def manifests_of(self, party: str) -> Iterator[Json]:
        """Yields the public manifests of a party, newest first."""
        return self._pages(f"/v1/creators/{party}")

    def party(self, party: str) -> Json:
        """Returns what is known of a party, with the newest of its public manifests."""
        return self._json("GET", f"/v1/creators/{party}?limit=1")

    def party_keys(self, party: str) -> tuple[PartyKey, ...]:
        """Returns the keys a party has had, revoked ones included, in the order of the log; not verified."""
        value = self.party(party)
        with _reading("party"):
            return tuple(
                PartyKey(
                    _text(key["key"]),
                    _true(key["recovery"]),
                    _whole(key["added"] + 1) - 1,
                    None if key["revoked"] is None else _whole(key["revoked"]),
                    None if key["since"] is None else _whole(key["since"]),
                )
                for key in value["keys"]
            )

    def anchors(self) -> Iterator[Json]:
        """Yields all anchors, newest first."""
        return self._pages("/v1/anchors")

    def reviews(self) -> list[Json]:
        """Returns the manifests that wait for a person, newest first; the registry's own key only."""
        return list(self._pages("/v1/reviews", self._authorization(), REVIEWS_PAGE))

    def review(self, leaf: int) -> Json:
        """Returns all that is known of a manifest leaf; the registry's own key only. Raises NotFoundError."""
        return self._json("GET", f"/v1/reviews/{leaf}", headers=self._authorization())

    def cases(self) -> Iterator[Json]:
        """Yields the undecided cases of the party authenticated, newest first; all of them for the registry."""
        return self._pages("/v1/cases", self._authorization())

    def case(self, case: int) -> Json:
        """Returns what the log says of a case. Raises NotFoundError."""
        return self._json("GET", f"/v1/cases/{case}")

    def tokens(self) -> Iterator[Json]:
        """Yields the tokens of the party authenticated, newest first."""
        return self._pages("/v1/tokens", self._authorization())

    def token(self, digest: bytes) -> bytes:
        """Returns the ``*.token.json`` of a token of the party authenticated, not verified. Raises NotFoundError."""
        path = f"/v1/tokens/{digest_encode(digest)}"
        return self._read("GET", path, headers=self._authorization(), limit=MAX_TOKEN_BYTES, timeout=LONG_TIMEOUT)

    def status_list(self, number: int) -> str:
        """Returns a signed status list, not verified. Raises NotFoundError."""
        with _reading("status list"):
            return self._read("GET", f"/status/{number}").decode("ascii")

    def checkpoint(self) -> bytes:
        """Returns the newest checkpoint note, not verified."""
        return self._read("GET", "/checkpoint", limit=MAX_NOTE_BYTES)

    def tile(self, tile: Tile) -> bytes:
        """Returns a tile, not verified: a ``ReadTile`` of :mod:`ledger.tiles`. Raises NotFoundError."""
        headers = {"Accept-Encoding": "gzip, identity"} if tile.level == ENTRIES else None
        return self._read("GET", f"/{format_path(tile)}", headers=headers, limit=MAX_TILE_BYTES)

    def leaves(self, size: int) -> Iterator[bytes]:
        """Yields the leaves of the log at `size`, each checked against its tile, not against a checkpoint."""
        return read_leaves(size, self.tile)

    # -- one request

    def _pages(self, path: str, headers: dict[str, str] | None = None, limit: int = PAGE) -> Iterator[Json]:
        before: int | None = None
        while True:
            query = f"?limit={limit}" if before is None else f"?limit={limit}&before={before}"
            page = self._json("GET", path + query, headers=headers)
            with _reading("page"):
                items = page["items"]
                following = None if page["next"] is None else _whole(page["next"])
                if not isinstance(items, list):
                    raise ValueError("no items")
                if following is not None and (not items or (before is not None and following >= before)):
                    raise ValueError("a page that does not go on")
            yield from items
            if following is None:
                return
            before = following

    def _json(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> Json:
        data = self._read(method, path, body, headers, limit=MAX_JSON_BYTES, timeout=timeout)
        with _reading("answer"):
            value = load_json(data, "answer", MAX_JSON_BYTES, MAX_ANSWER_DEPTH)
            if not isinstance(value, dict):
                raise ValueError("no object")
            return value

    def _read(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        limit: int = MAX_JSON_BYTES,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> bytes:
        with self._open(method, path, body, headers, timeout=timeout) as response:
            return _capped(response, limit)

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> Iterator[httpx.Response]:
        """Sends a request and yields its answer, of which nothing is read; raises what a refusal stands for."""
        given = {"Content-Type": "application/json", **(headers or {})} if body is not None else (headers or {})
        try:
            for tried in range(1, TRIES + 1):
                with self._http.stream(
                    method, self.url + path, content=body, headers=given, timeout=timeout
                ) as response:
                    if response.status_code not in (429, 503) or tried == TRIES:
                        _check(response)
                        yield response
                        return
                    wait = _wait(response, tried)
                self._sleep(wait)
        except httpx.HTTPError as e:
            raise BackendError(
                f"{self.url} does not answer ({_why(e)}): is the address right (--registry or --to, "
                "TRAINMARK_REGISTRY), and does the registry run ('trainmark serve')?",
                code="unreachable",
            ) from e


def _why(error: httpx.HTTPError) -> str:
    """Returns in words why there is no answer: what the system says, without its number."""
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    text = re.sub(r"^\[Errno -?\d+\] ", "", str(error))[:MAX_TEXT_CHARS]
    return f"{text[:1].lower()}{text[1:]}" or type(error).__name__


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _wait(response: httpx.Response, tried: int) -> float:
    text = response.headers.get("retry-after", "")
    seconds = float(text) if text.isascii() and text.isdigit() else 2.0 ** (tried - 1)
    return min(seconds, MAX_WAIT)


def _check(response: httpx.Response) -> None:
    """Raises the error a refusal stands for; its text is the registry's, shortened and on one line."""
    if _coding(response) not in response.request.headers["accept-encoding"].split(", "):
        raise BackendError("the registry compresses its answer though it was asked not to", code="protocol")
    if 200 <= response.status_code < 300:
        return
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        with _reading("problem"):
            problem = load_json(_capped(response, MAX_PROBLEM_BYTES), "problem", MAX_PROBLEM_BYTES)
            error = _error({**problem, "status": response.status_code})
        raise error
    raise _ERRORS.get(response.status_code, BackendError)(f"the registry answers {response.status_code}")


def _error(problem: Json) -> TrainmarkError:
    """Returns the error that a problem stands for."""
    kind = _ERRORS.get(_whole(problem["status"]), BackendError)
    field = None if problem["field"] is None else _line(problem["field"])[:128]
    return kind(_line(problem["detail"]), code=_line(problem["code"])[:64], field=field)


def _coding(response: httpx.Response) -> str:
    """Returns how an answer is compressed."""
    coding: str = response.headers.get("content-encoding", "identity")
    return coding


def _parts(response: httpx.Response) -> Iterator[bytes]:
    """Yields the body of an answer as it comes; leaves one that takes longer than its timeout and ``SLOWEST`` allow.

    What the caller does in between takes nothing of that.

    BUG: the timeout of httpx is that of one read, so a status line and headers in drops of a byte hold a request for as
    long as they stay below httpcore's 100 KiB.  Only a network backend of one's own, which httpx has no place for, or
    the asynchronous client could end that.
    """
    waited, size, patience = 0.0, 0, response.request.extensions["timeout"]["read"]
    parts = response.iter_raw()
    while True:
        began = time.monotonic()
        part = next(parts, None)
        waited += time.monotonic() - began
        if part is None:
            return
        size += len(part)
        if waited > patience + size / SLOWEST:
            raise httpx.ReadTimeout("the answer hardly comes", request=response.request)
        yield part


def _capped(response: httpx.Response, limit: int) -> bytes:
    """Reads an answer of at most `limit` bytes, packed and unpacked."""
    parts, size = [], 0
    for part in _parts(response):
        size += len(part)
        if size > limit:
            raise BackendError(f"the registry's answer is longer than {limit} bytes", code="protocol")
        parts.append(part)
    data = b"".join(parts)
    if _coding(response) == "identity":
        return data
    with _reading("compressed answer"):
        return gunzip(data, limit, "answer")


def _lines(response: httpx.Response) -> Iterator[bytes | None]:
    """Yields the lines of an answer; None in place of one that is longer than ``MAX_LINE_BYTES``, which is skipped."""
    line, fits, size = bytearray(), True, 0
    for part in _parts(response):
        size += len(part)
        if size > MAX_BATCH_BYTES:
            raise BackendError("the registry's answer is too long", code="protocol")
        for number, piece in enumerate(part.split(b"\n")):
            if number:
                yield bytes(line) if fits else None
                line.clear()
                fits = True
            fits = fits and len(line) + len(piece) <= MAX_LINE_BYTES
            if fits:
                line += piece
            else:
                line.clear()
    if line or not fits:
        raise BackendError("the registry's answer is cut off", code="protocol")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turns what an answer of another form raises into BackendError (``protocol``)."""
    try:
        yield
    except (ValueError, KeyError, TypeError, IndexError, MalformedError) as e:
        raise BackendError(f"the registry's {what} is not of its form", code="protocol") from e


def _logged(value: Json) -> LoggedAt:
    return LoggedAt(_whole(value["leaf"]), _whole(value["size"]), _text(value["checkpoint"]).encode())


def _answer(value: Json, notes: dict[int, bytes]) -> LoggedAt | TrainmarkError:
    """Reads one answer of many; `notes` are the checkpoints of the answers before it, by size."""
    if "leaf" not in value:
        return _error(value)
    size = _whole(value["size"])
    if size not in notes:
        notes[size] = _text(value["checkpoint"]).encode()
    return LoggedAt(_whole(value["leaf"]), size, notes[size])


def _chain(value: Json) -> tuple[ChainIdentity, str]:
    names = ("chain", "genesis", "contract", "publisher")
    return ChainIdentity(*(_text(value[name]) for name in names)), _text(value["operator_class"])


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("no whole number")
    return value


def _true(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _line(value: object) -> str:
    """Reads text for people: what is not printable is left out."""
    return "".join(c for c in _text(value)[:MAX_TEXT_CHARS] if c.isprintable())
