"""What a registry's API says, compared with the state that follows from the leaves (docs/format.md, section 4).

The registry answers of the moment; the log may have grown since it was audited.  So a difference counts only where the
answer is not about more leaves than were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.canonical import Object
from ledger.client import RegistryClient
from ledger.encoding import digest_encode
from ledger.errors import BackendError, NotFoundError, TrainmarkError
from ledger.state import Fold

LIVE: Final = ("listed", "disputed", "withdrawing")
HIDDEN: Final = "hidden"


@dataclass(frozen=True, slots=True)
class Difference:
    """The registry says `said` of `what`, its log `logged`."""

    what: str
    said: str
    logged: str

    def value(self) -> Object:
        """Returns the difference as JSON."""
        return {"what": self.what, "said": self.said, "logged": self.logged}


def compare_answers(client: RegistryClient, fold: Fold) -> tuple[list[Difference], list[str]]:
    """Returns where the registry's API says something else than its log at ``fold.size``, and what was not compared."""
    try:
        differences = _compare_policy(client, fold)
        later = 0
        for leaf in _other_states(client, fold):
            said, size = _said(client, leaf)
            if size > fold.size:
                later += 1
            elif said != _public_state(fold, leaf):
                differences.append(Difference(f"manifest leaf {leaf}", said, _public_state(fold, leaf)))
    except TrainmarkError as e:
        return [], [f"what the registry's API says: {e}"]
    if later:
        return differences, [f"{later} manifests whose state changed while the log was read"]
    return differences, []


def _compare_policy(client: RegistryClient, fold: Fold) -> list[Difference]:
    said, logged = client.policy(), fold.policy
    if logged is None or said.size > fold.size:
        return []
    pairs = {
        "registry": (said.registry, str(fold.registry)),
        "origin": (said.origin, logged.origin),
        "log_vkey": (said.log_vkey, logged.log_key),
        "issuer": (said.issuer, logged.issuer),
        "token_keys": (" ".join(said.token_keys), " ".join(logged.token_keys)),
        "rules": (said.rules, digest_encode(logged.rules)),
    }
    return [Difference(name, one, other) for name, (one, other) in pairs.items() if one != other]


def _other_states(client: RegistryClient, fold: Fold) -> list[int]:
    """Returns the manifest leaves whose state in the registry's list is not the log's, or that are not in it."""
    shown: dict[int, object] = {}
    for item in client.datasets():
        leaf = item.get("leaf") if isinstance(item, dict) else None
        if not isinstance(leaf, int):
            raise BackendError("the registry's list of manifests is not of its form", code="protocol")
        shown[leaf] = item.get("state")
    differ = {leaf for leaf, state in shown.items() if state != _public_state(fold, leaf)}
    public = {leaf for leaf, manifest in fold.manifests.items() if manifest.visibility == "public"}
    return sorted(differ | {leaf for leaf in public - shown.keys() if _public_state(fold, leaf) in LIVE})


def _public_state(fold: Fold, leaf: int) -> str:
    """Returns the state that everybody is told, ``hidden`` where the latest listing was not for everybody."""
    manifest = fold.manifests.get(leaf)
    if manifest is not None and manifest.visibility not in (None, "public"):
        return HIDDEN
    return fold.manifest_state(leaf)


def _said(client: RegistryClient, leaf: int) -> tuple[str, int]:
    """Returns what the registry says of one manifest, and of how many leaves it says so."""
    try:
        answer = client.dataset(leaf)
    except NotFoundError:
        return HIDDEN, client.policy().size
    state, size = answer.get("state"), answer.get("size")
    if not isinstance(state, str) or not isinstance(size, int):
        raise BackendError("the registry's answer is not of its form", code="protocol")
    return state, size
