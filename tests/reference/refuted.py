"""The one error of the reference."""

from __future__ import annotations


class RefutedError(Exception):
    """What was given is not what it claims to be.

    ``code`` is the code of the step that refuses, as docs/format.md, section 6, names it; ``malformed`` where the bytes
    are not the format at all.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why


def require(condition: bool, code: str, why: str) -> None:
    """Refuses with ``code`` unless the condition holds.

    Raises:
        RefutedError: it does not.
    """
    if not condition:
        raise RefutedError(code, why)
