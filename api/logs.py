"""What an operator reads of a running registry: records on standard error, one a line, as JSON or as text.

A record says when, how grave, from which module and what; which request was being served, by its id; and what else
belongs to it, each under a name.  No body, no token, no address of a client and no path with a digest in it is ever
written.  What a client chose is escaped, so that it neither ends a record nor begins one.

Of libraries only warnings are heard: what they say below names addresses that hold access keys.
"""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

Form: TypeAlias = Literal["text", "json"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]

OWN: Final = ("api", "ledger", "anchors")

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""The id of the request that is being served here; threads that work for it have it too."""

_USUAL: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


def configure(form: Form, level: Level) -> None:
    """Makes all records of this process go to standard error in that form: its own from `level` on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in OWN:
        logging.getLogger(name).setLevel(level.upper())


class JsonFormatter(logging.Formatter):
    """One JSON object for each record, in ASCII: any text, halves of surrogate pairs too, is one line."""

    def format(self, record: logging.LogRecord) -> str:
        value = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            value["traceback"] = self.formatException(record.exc_info)
        return json.dumps(value, default=str)


class TextFormatter(logging.Formatter):
    """One line for each record; the lines of a traceback follow it, further in."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = _printable(f"{_time(record)} {record.levelname.lower()}: {record.getMessage()}{fields}")
        if not record.exc_info:
            return line
        return "\n    ".join([line, *map(_printable, self.formatException(record.exc_info).split("\n"))])


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Returns what belongs to a record beside its message: the request, and what was given as ``extra``."""
    request = REQUEST_ID.get()
    own = {name: value for name, value in record.__dict__.items() if name not in _USUAL}
    return {**({"request_id": request} if request else {}), **own}


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
