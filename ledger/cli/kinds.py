"""What a file that was given is, in words, when it is not what was asked for."""

from __future__ import annotations

from typing import Final

from ledger.canonical import load_json
from ledger.errors import MalformedError

KINDS: Final = {
    "proof/v1": "a proof",
    "token/v1": "a token",
    "attribution/v1": "an attribution manifest",
    "manifest/v1": "a dataset manifest",
    "fork/v1": "evidence of a fork",
    "trust/v1": "a trust file",
    "creator/v1": "a creator's profile",
    "commitment/v1": "a commitment to evidence",
}
"""What each of our files that says ``trainmark`` is called."""


def expect(data: bytes, field: str, *kinds: str) -> str:
    """Returns which of `kinds` the file says it is.

    Raises:
        MalformedError: none of them; what it is instead is said.
    """
    try:
        value = load_json(data, field, len(data))
    except MalformedError:
        value = None
    kind = value.get("trainmark") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in kinds:
        return kind
    if isinstance(kind, str) and kind in KINDS:
        found = KINDS[kind]
    elif isinstance(value, dict) and value.get("type") == "license":
        found = "license terms"
    elif value is not None:
        found = "JSON of another kind"
    elif data.startswith(b"{"):
        found = "something that is not JSON (cut off?)"
    else:
        found = "something that is not JSON"
    raise MalformedError(f"expected {' or '.join(KINDS[kind] for kind in kinds)}, found {found}", field=field)
