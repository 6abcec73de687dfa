"""Checking a folder against a registry: hash every file, look all hashes up in batches, verify a proof for every match.

The registry's answers are hints: a file is allowed only by a proof bundle that verifies under the caller's trust file
(or a token that does).  An error anywhere denies the files it concerns and goes on with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ledger.encoding import sha256
from ledger.errors import MalformedError, NotFoundError, TrainmarkError, VerificationError
from ledger.gate.verdict import Offer, Verdict, Wanted, decide
from ledger.images.content import content_hash
from ledger.proof import parse_proof, verify_proof
from ledger.trust import Trust

BATCH: Final = 5_000
MAX_FILE_BYTES: Final = 1 << 30


class Resolver(Protocol):
    """The two questions the gate asks a registry."""

    def claim_leaves(self, digests: Sequence[bytes]) -> Mapping[bytes, Sequence[int]]:
        """Returns, for each digest that has any, the manifest leaves that claim it."""

    def proof(self, digest: bytes, leaf: int) -> bytes:
        """Returns the proof bundle of one claim. Raises NotFoundError."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """One file of the corpus: its digests by kind of match, or None when it could not be read."""

    file: str
    digest: bytes | None
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Covering:
    """A verified token, the uses it permits and the exact files it is for."""

    token: bytes
    uses: tuple[str, ...]
    files: frozenset[bytes]


def corpus_files(folder: Path) -> list[Path]:
    """Returns the files under `folder`, sorted, links and hidden names left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def hash_file(path: Path, name: str) -> Hashed:
    """Reads and hashes one file; a picture's content hash is looked up as well."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return Hashed(name, None, None)
        data = path.read_bytes()
    except OSError:
        return Hashed(name, None, None)
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
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Verdict]:
    """Yields a verdict for every file of `folder`, in the order of their paths."""
    files = corpus_files(folder)
    gate = _Gate(resolver, trust, wanted, registry, now, tokens)
    for at in range(0, len(files), BATCH):
        hashed = []
        for n, path in enumerate(files[at : at + BATCH], at + 1):
            hashed.append(hash_file(path, str(path.relative_to(folder))))
            report(n, len(files))
        yield from gate.check(hashed)


@dataclass(frozen=True, slots=True)
class _Gate:
    resolver: Resolver
    trust: Trust
    wanted: Wanted
    registry: str
    now: int
    tokens: Sequence[Covering]

    def check(self, hashed: Sequence[Hashed]) -> Iterator[Verdict]:
        digests = list({d for h in hashed for d in (h.digest, h.content) if d is not None})
        leaves: Mapping[bytes, Sequence[int]] = {}
        refusals: list[str] = []
        try:
            leaves = self.resolver.claim_leaves(digests)
        except TrainmarkError:
            refusals = ["error"]
        for item in hashed:
            yield self._verdict(item, leaves, refusals)

    def _verdict(self, item: Hashed, leaves: Mapping[bytes, Sequence[int]], failed: Sequence[str]) -> Verdict:
        refusals = [*failed, *(["unreadable"] if item.digest is None else [])]
        digest = next((d for d in (item.digest, item.content) if d is not None and d in leaves), b"")
        offers: list[Offer] = []
        for leaf in leaves.get(digest, ()):
            found = self._offer(digest, leaf)
            if isinstance(found, Offer):
                offers.append(found)
            else:
                refusals.append(found)
        own = {item.digest, *(offer.provenance_hash for offer in offers)}
        covering = [token for token in self.tokens if own & token.files]
        word, reasons = decide(offers, refusals, self.wanted, [token.uses for token in covering])
        offer = offers[0] if offers else None
        return Verdict(
            file=item.file,
            digest=item.digest,
            matched=offer.proof.kind if offer else None,
            registry=self.registry,
            verdict=word,
            reasons=reasons,
            offer=offer,
            token=covering[0].token if reasons == ("token",) else None,
            as_of=self.now,
        )

    def _offer(self, digest: bytes, leaf: int) -> Offer | str:
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
        claim = bundle.claim
        return Offer(claim.terms, claim.header.digest, claim.entry_index, claim.entry.provenance_hash, result)
