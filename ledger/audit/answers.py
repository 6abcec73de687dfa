"""What a registry's API says, compared with its log: which differences count.

The registry answers of the moment, and the log may have grown since it was audited.  So an answer about more leaves
than were read is left open, if the log signed so many by then; else it is a difference like any other.  What one
request fails on never hides what another found.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from ledger.audit.asking import PARTS, Difference, Found
from ledger.client import RegistryClient
from ledger.errors import BackendError, TrainmarkError
from ledger.state import Fold

MAX_FOUND: Final = 1000
"""Answers that are not the log's: after so many nothing more is asked."""
TOLD: Final = 20

NEVER: Final = (
    "of the registry's API: licenses, what manifests and entries say, which claims are contested, tokens, and whether "
    "the anchors are on their chain"
)


def compare_answers(
    client: RegistryClient, fold: Fold, newest: Callable[[], int], draw: Random
) -> tuple[list[Difference], list[str]]:
    """Returns where the registry's API says something else than its log at ``fold.size``, and what was not compared.

    `newest` fetches a checkpoint again, verifies it and returns its size; what it raises but for BackendError is
    raised here.
    """
    found: list[Found] = []
    left, certain = [NEVER], 0
    for name, part in PARTS.items():
        try:
            for one in part(client, fold, draw):
                if isinstance(one, str):
                    left.append(one)
                    continue
                found.append(one)
                certain += one.size <= fold.size
                if certain == MAX_FOUND:
                    left.append(f"what else the registry's API says: {MAX_FOUND} differences are enough")
                    return _without_later(found, fold.size, newest, left), left
        except TrainmarkError as e:
            left.append(f"what the registry's API says of {name}: {e}")
    return _without_later(found, fold.size, newest, left), left


def _without_later(found: list[Found], size: int, newest: Callable[[], int], left: list[str]) -> list[Difference]:
    """Returns the differences that the log's growth since `size` leaves does not excuse, and names the others."""
    now = size
    if any(one.size > size for one in found):
        try:
            now = newest()
        except BackendError as e:
            left.append(f"that the log has grown: {e}")
    later = [one.difference.what for one in found if size < one.size <= now]
    if later:
        more = f", and {len(later) - TOLD} more" if len(later) > TOLD else ""
        left.append(f"what changed while the log was read: {', '.join(later[:TOLD])}{more}")
    return [one.difference for one in found if not size < one.size <= now]
