"""Canonical documents with members that are longer than text may be (docs/format.md, sections 0 and 6).

Text for people ends at 4,096 bytes; a packed status list, a token or a list of files does not.  Such members are named
by whoever reads the document, and are base64url or other printable ASCII, which their own readers check.  All the rest
obeys :mod:`ledger.canonical`, and so does the spelling of the whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from ledger.canonical import Json, Object, canonical
from ledger.errors import MalformedError, shown

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_long(value: Object, long: Iterable[str]) -> bytes:
    """Writes `value` canonically; of the members `long` only the spelling is checked, not the length.

    Raises:
        MalformedError: a member that is not in `long` breaks a rule of the canonical form.
    """
    canonical({**value, **dict.fromkeys(long)})
    return _ENCODER.encode(value).encode("utf-8")


def parse_long(data: bytes, field: str, max_bytes: int, long: Iterable[str]) -> Object:
    """Reads an object from canonical bytes; the members `long` are left to their own readers.

    Raises:
        MalformedError: too long, no object, or not as ``canonical_long`` would write it.
    """
    if len(data) > max_bytes:
        raise MalformedError(f"at most {max_bytes} bytes are allowed, found {len(data)}", field=field)
    try:
        value: Json = json.loads(data.decode("utf-8"))
        if not isinstance(value, dict):
            raise MalformedError(f"expected an object, found {shown(value)}", field=field)
        written = canonical_long(value, long)
    except MalformedError as e:
        raise MalformedError(e.message, field=f"{field}.{e.field}" if e.field and e.field != field else field) from e
    except (ValueError, RecursionError) as e:  # no UTF-8, no JSON, a NaN, half a surrogate pair
        raise MalformedError(f"not JSON: {shown(str(e))}", field=field) from e
    if written != data:
        raise MalformedError("not in canonical form (RFC 8785): keys sorted, no spaces, no repeated key", field=field)
    return value
