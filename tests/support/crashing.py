"""A process that dies by its own SIGKILL at a chosen step towards the disk, to see each of them be the last.

A step is what comes right before and right after a call by which something becomes durable or gets its name:
``os.fsync``, ``os.replace``, ``os.rename``, ``os.link``, and a commit on SQLite or PostgreSQL.  They are counted over
the whole process, all its threads together.  It replaces them for a child of :mod:`tests.support.forkserver`, before
any of the product's code runs there.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import sqlite3
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import psycopg

CALLS: Final = ("fsync", "replace", "rename", "link")

P = ParamSpec("P")
T = TypeVar("T")


def die_at(number: int) -> None:
    """Has this process die at the step of that number, from 1."""
    steps = itertools.count(1)  # next() of it is one step of the interpreter, so threads need no lock

    def step() -> None:
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def deadly(call: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(call)
        def with_steps(*args: P.args, **kwargs: P.kwargs) -> T:
            step()
            result = call(*args, **kwargs)
            step()
            return result

        return with_steps

    class Connection(sqlite3.Connection):
        commit = deadly(sqlite3.Connection.commit)

        def execute(self, statement: str, parameters: Any = ()) -> sqlite3.Cursor:
            is_commit = statement.upper() == "COMMIT"
            run = deadly(super().execute) if is_commit else super().execute
            return run(statement, parameters)

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))
    connect = functools.partial(sqlite3.connect, factory=Connection)
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]
    psycopg.Connection.commit = deadly(psycopg.Connection.commit)  # type: ignore[method-assign]
