"""Changing a document of ours in one place after the other, to see that each reader names the place it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from ledger.errors import MalformedError

WRONG: tuple[Any, ...] = (None, True, -1, 7, 2**53, 1.5, "", "x y", "e\u0301", "\u202e", [], [7], {}, {"x": 1})


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yields the place of every value inside `value`."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield (*path, name)
            yield from places(item, (*path, name))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield (*path, at)
            yield from places(item, (*path, at))


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """Returns a copy of `value` with another value at `path`."""
    changed = copy.deepcopy(value)
    inside = changed
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = new
    return changed


def removed(value: Any, path: tuple[str | int, ...]) -> Any:
    """Returns a copy of `value` without the key or item at `path`."""
    changed = copy.deepcopy(value)
    inside = changed
    for name in path[:-1]:
        inside = inside[name]
    del inside[path[-1]]
    return changed


def extended(value: Any, path: tuple[str | int, ...]) -> Any:
    """Returns a copy of `value` with one key too many in the object that holds `path`."""
    changed = copy.deepcopy(value)
    inside = changed
    for name in path[:-1]:
        inside = inside[name]
    inside["zzz"] = 0
    return changed


def refusal(read: Callable[[bytes], object], data: bytes) -> MalformedError | None:
    """Returns why a reader refuses `data` as malformed, or None where it reads it."""
    try:
        read(data)
    except MalformedError as e:
        return e
    return None
