"""The one tree of errors.

::

    TrainmarkError            everything Trainmark raises on purpose
     ├── MalformedError       the bytes are not in the format
     ├── VerificationError    well formed, and not true
     ├── NotFoundError        nothing under that name
     ├── ConflictError        true, but not possible beside what is there already
     ├── RefusedError         a rule of the registry, or a permission, says no
     └── BackendError         a disk, database, node or network did not do its part

Each error carries a ``code`` (a stable word for programs, kebab-case) and, where one is known, the
``field`` it is about.  A message names the field, says what was found (shortened, never raw) and
what would be right.  Adapters turn foreign errors into :class:`BackendError` at their own border.
"""

from __future__ import annotations

from unicodedata import is_normalized

SHOWN_CHARS = 60


class TrainmarkError(Exception):
    """Base of all errors; ``code`` is stable, the text is for people."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.message = message
        self.field = field
        if code is not None:
            self.code = code


class MalformedError(TrainmarkError):
    """The bytes are not in the format; nothing was interpreted."""

    code = "malformed"


class VerificationError(TrainmarkError):
    """Well formed, and not true; ``code`` is the reason code of the step that refused it."""

    code = "verification"


class NotFoundError(TrainmarkError):
    """Nothing is known under that name."""

    code = "not-found"


class ConflictError(TrainmarkError):
    """Impossible beside what is there already."""

    code = "conflict"


class RefusedError(TrainmarkError):
    """A rule or a permission says no."""

    code = "refused"


class BackendError(TrainmarkError):
    """A disk, database, node or network did not do its part; the request may be repeated."""

    code = "backend"


def shown(value: object) -> str:
    """Returns `value` as a message may show it: one line, at most ``SHOWN_CHARS`` characters, see :func:`escaped`."""
    text = escaped(value) if not isinstance(value, bytes) else f"{len(value)} bytes"
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}… ({len(text)} characters)"


def escaped(value: object) -> str:
    """Returns the ``repr`` of `value`, in which letters and signs of any script stand as they are.

    Controls, direction marks, line ends, other invisible characters and halves of surrogate pairs are escaped; where
    the text is not in NFC, so that it may look like another one, all that is not ASCII.
    """
    text = repr(value)
    return text if is_normalized("NFC", text) else ascii(value)
