"""Checking a folder against a registry: hash every file, look all hashes up in batches, verify a proof for every match.

The registry's answers are hints: a file is allowed only by proof bundles that verify under the caller's trust file and
are no older than the log the registry shows.  Claims on the file itself and on the picture in it count alike.  An error
anywhere denies the files it concerns and goes on with the others; what is no plain file is denied.  Set aside, and so
neither allowed nor denied, is only what the caller leaves out by name and what is bound to a claim that was verified.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Protocol

from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.encoding import sha256
from ledger.errors import MalformedError, NotFoundError, TrainmarkError, VerificationError
from ledger.files import read_file
from ledger.gate import accompanying
from ledger.gate.verdict import Covering, Offer, Verdict, Wanted, covering, decide
from ledger.images.content import content_hash
from ledger.policy import verify_checkpoint
from ledger.proof import parse_proof, verify_proof
from ledger.trust import Trust

BATCH: Final = 5_000
MAX_FILE_BYTES: Final = 1 << 30
LEFT_OUT: Final = "left-out"


class Resolver(Protocol):
    """The questions the gate asks a registry; each may raise any TrainmarkError."""

    def checkpoint(self) -> bytes:
        """Returns the log's newest checkpoint note."""

    def claim_leaves(self, digests: Sequence[bytes]) -> Mapping[bytes, Sequence[int] | None]:
        """Returns, for each digest that has any, the manifest leaves that claim it; None where they could not be
        read."""

    def proof(self, digest: bytes, leaf: int) -> bytes:
        """Returns the proof bundle of one claim. Raises NotFoundError."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """One name of the corpus: its file's and its picture's digest, or why there are none."""

    file: str
    digest: bytes | None = None
    content: bytes | None = None
    problem: str | None = None


def corpus_files(folder: Path) -> list[Path]:
    """Returns every name under `folder` that is no folder, sorted; links are names, and are not followed.

    Raises:
        MalformedError: a folder in it cannot be read, so that nobody knows what it holds.
    """

    def unreadable(error: OSError) -> None:
        raise MalformedError(f"cannot be read: {error.strerror}", field=str(error.filename)) from error

    names: list[Path] = []
    for at, folders, files in os.walk(folder, onerror=unreadable):
        names += [Path(at, name) for name in files]
        names += [Path(at, name) for name in folders if Path(at, name).is_symlink()]
    return sorted(names)


def hash_file(path: Path, name: str) -> Hashed:
    """Reads and hashes one file; a picture's content hash is looked up as well."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return Hashed(name, problem="link")
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            return Hashed(name, problem="unreadable")
        data = path.read_bytes()
    except OSError:
        return Hashed(name, problem="unreadable")
    return Hashed(name, sha256(data), content_hash(data))


def check_folder(
    folder: Path,
    resolver: Resolver,
    trust: Trust,
    wanted: Wanted,
    *,
    registry: str,
    now: int,
    tokens: Sequence[Covering] = (),
    left_out: Sequence[str] = (),
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Verdict]:
    """Returns a verdict for every name under `folder`, in order.

    `left_out` are patterns of names or paths that are not trained on: such files are not read, and not asked about.

    Raises:
        MalformedError: a folder cannot be read.
        BackendError: ``unreachable``: nobody answers when the check begins, so there is no verdict on anything.
    """
    files = corpus_files(folder)
    gate = _Gate(resolver, trust, wanted, registry, now, tokens, _head(resolver, trust))
    verdicts: list[Verdict] = []
    for at in range(0, len(files), BATCH):
        hashed = []
        for n, path in enumerate(files[at : at + BATCH], at + 1):
            name = path.relative_to(folder).as_posix()
            is_out = any(fnmatchcase(name, pattern) or fnmatchcase(path.name, pattern) for pattern in left_out)
            hashed.append(Hashed(name, problem=LEFT_OUT) if is_out else hash_file(path, name))
            report(n, len(files))
        verdicts += gate.check(hashed)
    return [_set_aside(verdict, folder, gate.verified) for verdict in verdicts]


def _set_aside(verdict: Verdict, folder: Path, verified: accompanying.Verified) -> Verdict:
    """Sets a file that nobody claims aside if it goes with one that was checked; all claims are known by now."""
    if verdict.reasons != ("unknown",) or not accompanying.may_accompany(verdict.file):
        return verdict
    try:
        data = read_file(folder / verdict.file, accompanying.MAX_BYTES, "file")
    except TrainmarkError:
        return verdict
    if sha256(data) != verdict.digest or not verified.accompanied_by(verdict.file, data):
        return verdict
    return replace(verdict, verdict="aside", reasons=("accompanying",))


def _head(resolver: Resolver, trust: Trust) -> Checkpoint | None:
    """Returns the head of the log the registry shows now, signed as the trust file asks; None: it shows none.

    Raises:
        BackendError: ``unreachable``.
    """
    try:
        _, note = parse_checkpoint(resolver.checkpoint())
        return verify_checkpoint(note, trust.policy)[0]
    except TrainmarkError as e:
        if e.code == "unreachable":
            raise
        return None


@dataclass(frozen=True, slots=True)
class _Gate:
    resolver: Resolver
    trust: Trust
    wanted: Wanted
    registry: str
    now: int
    tokens: Sequence[Covering]
    head: Checkpoint | None
    verified: accompanying.Verified = field(default_factory=accompanying.Verified)

    @property
    def size(self) -> int | None:
        """The size of the log the registry shows, None if it shows none."""
        return None if self.head is None else self.head.size

    def check(self, hashed: Sequence[Hashed]) -> Iterator[Verdict]:
        digests = list({d for h in hashed for d in (h.digest, h.content) if d is not None})
        leaves: Mapping[bytes, Sequence[int] | None] = {}
        failed = ["error"] if self.size is None else []
        try:
            leaves = self.resolver.claim_leaves(digests)
        except TrainmarkError:
            failed = ["error"]
        for item in hashed:
            yield self._verdict(item, leaves, failed)

    def _verdict(self, item: Hashed, leaves: Mapping[bytes, Sequence[int] | None], failed: Sequence[str]) -> Verdict:
        if item.problem == LEFT_OUT:
            return Verdict(item.file, None, None, self.registry, "aside", (LEFT_OUT,), size=self.size, as_of=self.now)
        refusals = [*failed, *([item.problem] if item.problem else [])]
        offers: list[Offer] = []
        asked: set[int] = set()
        for digest in (item.digest, item.content):
            claimed = leaves.get(digest, ()) if digest is not None else ()
            if claimed is None:
                refusals.append("error")
            for leaf in claimed or ():
                if leaf in asked:
                    continue
                asked.add(leaf)
                found = self._offer(item, digest or b"", leaf)
                if isinstance(found, Offer):
                    offers.append(found)
                    self.verified.add(found)
                else:
                    refusals.append(found)
        word, reasons = decide(offers, refusals, self.wanted, self.tokens)
        offer = next((o for o in offers if o.is_live), offers[0] if offers else None)
        used = [t for o in offers if (t := covering(o, self.wanted, self.tokens)) is not None]
        return Verdict(
            file=item.file,
            digest=item.digest,
            matched=offer.proof.kind if offer else None,
            registry=self.registry,
            verdict=word,
            reasons=reasons,
            offer=offer,
            token=used[0].token if reasons == ("token",) else None,
            size=self.size,
            as_of=self.now,
        )

    def _offer(self, item: Hashed, digest: bytes, leaf: int) -> Offer | str:
        """Returns a claim as its verified proof shows it, or the reason why there is none."""
        try:
            data = self.resolver.proof(digest, leaf)
            result, bundle = verify_proof(data, self.trust), parse_proof(data)
        except NotFoundError:
            return "proof-missing"
        except (MalformedError, VerificationError):
            return "proof-refused"
        except TrainmarkError:
            return "error"
        if bundle.digest != digest or result.leaf != leaf:
            return "proof-refused"
        if self.head is None or result.log != self.head.origin or result.size < self.head.size:
            return "stale"
        entry = bundle.claim.entry
        offer = Offer(bundle.claim.header, entry, bundle.claim.entry_index, bundle.claim.terms, result)
        # Only of a live claim: anybody may log that somebody's file shows another picture.
        if offer.is_live and entry.content_hash is not None and entry.content_hash != item.content:
            return "content-mismatch"
        return offer
