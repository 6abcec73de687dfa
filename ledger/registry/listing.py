"""What a registry lists by rule, what it rejects by rule, and what waits for a person (docs/format.md, section 4).

The rule is public: ``RULES`` is the text whose digest the registry's policy leaf names, served as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ledger.encoding import digest_encode, sha256
from ledger.manifests import Entry
from ledger.registry.lookalikes import LookAlike

Outcome: TypeAlias = Literal["list", "reject", "wait"]

RULES: Final = """\
Rules of this registry

1. Every manifest that is well formed, signed by a key of its creator and accompanied by its terms is logged at once.
   Logging proves who said what and in which order; it proves no ownership.
2. A manifest is rejected by rule when an entry says rights_status restricted or needs-release, release_status missing,
   or a privacy flag unknown. The creator completes the facts and publishes a new version.
3. A manifest waits for a person when one of its files has the same provenance, published or content hash as a file in
   another creator's manifest that is listed, disputed or withdrawing, or looks like one: its ISCC image code within
   31 of 256 bits, or its difference hash within 16.
4. Every other manifest is listed at once, visible to the public.
5. Opening a dispute changes nothing by itself. The registry's hold does, and its decision.
"""

RULES_DIGEST: Final = sha256(RULES.encode())
MAX_REASONS: Final = 20


@dataclass(frozen=True, slots=True)
class Decision:
    """What rule 2, 3 or 4 says of a manifest, with up to 20 reasons for people."""

    outcome: Outcome
    reasons: tuple[str, ...]


def decide(
    entries: Iterable[Entry], rivals: Sequence[tuple[bytes, int]], look_alikes: Sequence[LookAlike] = ()
) -> Decision:
    """Applies the rules to a manifest's entries.

    `rivals` are (digest, leaf) of other creators' live claims on the same files, `look_alikes` what resembles them.
    """
    blocked = [f"{entry.path}: {reason}" for entry in entries if (reason := entry.blocks_listing)]
    if blocked:
        return Decision("reject", _shortened(blocked))
    if rivals:
        return Decision("wait", _shortened([f"{digest_encode(d)} is also in leaf {leaf}" for d, leaf in rivals]))
    if look_alikes:
        likes = [f"{a.path} looks like entry {a.entry} of leaf {a.leaf} ({a.code}, {a.distance})" for a in look_alikes]
        return Decision("wait", _shortened(likes))
    return Decision("list", ())


def _shortened(reasons: list[str]) -> tuple[str, ...]:
    more = len(reasons) - MAX_REASONS
    return (*reasons[:MAX_REASONS], *([f"and {more} more"] if more > 0 else []))
