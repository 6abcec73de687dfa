"""Writes the evidence of this folder, with the reference alone: docs/format.md, section 6, says what it is.

python -m tests.vectors.fork.make
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.reference import merkle, note
from tests.reference.fork import verify_fork
from tests.reference.jcs import Json, canonical
from tests.reference.refuted import RefutedError
from tests.reference.witness import Key, checkpoint_text
from tests.reference.world import NOW, ORIGIN, REGISTRY

FOLDER = Path(__file__).parent
KEY, STRANGER = Key(ORIGIN, note.LOG_KEY), Key("stranger.example/log", note.LOG_KEY)
WITNESS = Key("witness.example", note.WITNESS_KEY)
POLICY = f"log {KEY.vkey}\nwitness w1 {WITNESS.vkey}\nquorum w1\n"
Fork = dict[str, Any]


def hashes(size: int, *changed: int) -> list[bytes]:
    """Returns the leaf hashes of a log, of which `changed` are others."""
    return [merkle.leaf_hash(b"leaf %d%s" % (n, b", another" if n in changed else b"")) for n in range(size)]


def signed(text: str, key: Key = KEY) -> str:
    """Returns a note."""
    return f"{text}\n{key.line(text)}"


def checkpoint(of: list[bytes], key: Key = KEY, origin: str = ORIGIN) -> str:
    """Returns the checkpoint over leaves."""
    return signed(checkpoint_text(origin, len(of), merkle.tree(of)), key)


def evidence(old: list[bytes], new: list[bytes]) -> Fork:
    """Returns what shows that two histories of the log are not one."""
    path = merkle.path_of_both(len(old), new) if 0 < len(old) < len(new) else []
    notes = [checkpoint(old), checkpoint(new)]
    if len(old) == len(new) and merkle.tree(old) > merkle.tree(new):
        notes.reverse()
    digests = ["sha256:" + item.hex() for item in path]
    return {"trainmark": "fork/v1", "first": notes[0], "second": notes[1], "path": digests}


def empty() -> Fork:
    """Returns what shows a root that no empty log has."""
    return evidence([], hashes(4)) | {"first": signed(checkpoint_text(ORIGIN, 0, bytes(32)))}


def unlike(name: str, made: object) -> Callable[[], Fork]:
    """Returns good evidence with another value of `name`."""
    return lambda: evidence(hashes(5, 1), hashes(9)) | {name: made}


def path_changed(change: Callable[[list[str]], list[str]]) -> Callable[[], Fork]:
    """Returns good evidence with another path."""

    def make() -> Fork:
        good = evidence(hashes(5, 1), hashes(9))
        return good | {"path": change(good["path"])}

    return make


def two_lines(text: str) -> str:
    """Returns a note that a witness signed too."""
    return signed(text) + WITNESS.line(text, NOW)


SMALL = checkpoint_text(ORIGIN, 5, merkle.tree(hashes(5, 1)))
CASES: dict[str, Callable[[], Fork]] = {
    "one-size": lambda: evidence(hashes(5, 1), hashes(5)),
    "a-smaller-and-a-bigger-one": lambda: evidence(hashes(5, 1), hashes(9)),
    "a-power-of-two": lambda: evidence(hashes(4, 3), hashes(7)),
    "up-to-a-power-of-two": lambda: evidence(hashes(7, 0), hashes(8)),
    "one-leaf": lambda: evidence(hashes(1, 0), hashes(2)),
    "two-levels-of-tiles": lambda: evidence(hashes(255, 254), hashes(600)),
    "an-empty-log": empty,
    "two-empty-logs": lambda: empty() | {"second": signed(checkpoint_text(ORIGIN, 0, b"\xff" * 32))},
    "step-1-one-key-more_fail": unlike("more", 1),
    "step-1-one-checkpoint_fail": lambda: evidence(hashes(5), hashes(5)),
    "step-1-another-version_fail": unlike("trainmark", "fork/v2"),
    "step-1-no-path_fail": unlike("path", None),
    "step-1-another-kind-of-digest_fail": unlike("path", ["sha512:" + "0" * 64]),
    "step-1-too-long-a-path_fail": unlike("path", ["sha256:" + "0" * 64] * 129),
    "step-1-the-bigger-one-first_fail": lambda: {
        **evidence(hashes(5, 1), hashes(9)),
        "first": checkpoint(hashes(9)),
        "second": checkpoint(hashes(5, 1)),
    },
    "step-1-a-line-of-a-witness_fail": unlike("first", two_lines(SMALL)),
    "step-1-no-signature-line_fail": unlike("first", SMALL + "\n"),
    "step-1-an-extension-line_fail": unlike("first", signed(SMALL + "more\n")),
    "step-1-a-size-with-a-zero-before_fail": unlike("first", signed(SMALL.replace("\n5\n", "\n05\n"))),
    "step-2-two-logs_fail": unlike("second", checkpoint(hashes(9), STRANGER, STRANGER.name)),
    "step-2-a-log-that-is-not-trusted_fail": lambda: {
        **evidence(hashes(5, 1), hashes(9)),
        "first": checkpoint(hashes(5, 1), STRANGER, STRANGER.name),
        "second": checkpoint(hashes(9), STRANGER, STRANGER.name),
    },
    "step-3-another-key_fail": unlike("second", checkpoint(hashes(9), STRANGER)),
    "step-3-another-text_fail": unlike("first", checkpoint(hashes(5, 1)).replace("\n5\n", "\n6\n")),
    "step-3-a-witness-instead_fail": unlike("first", f"{SMALL}\n{WITNESS.line(SMALL, NOW)}"),
    "step-4-too-short_fail": path_changed(lambda path: path[:-1]),
    "step-4-too-long_fail": path_changed(lambda path: [*path, path[0]]),
    "step-4-another-order_fail": path_changed(lambda path: [path[1], path[0], *path[2:]]),
    "step-4-another-hash_fail": path_changed(lambda path: ["sha256:" + "0" * 64, *path[1:]]),
    "step-4-no-hash_fail": path_changed(lambda path: []),
    "step-4-a-path-of-one-size_fail": lambda: {
        **evidence(hashes(5, 1), hashes(5)),
        "path": evidence(hashes(5, 1), hashes(9))["path"],
    },
    "step-4-a-path-from-nothing_fail": lambda: empty() | {"path": evidence(hashes(1), hashes(4))["path"]},
    "step-4-an-rfc-9162-proof_fail": lambda: {
        **evidence(hashes(4, 3), hashes(7)),
        "path": evidence(hashes(4, 3), hashes(7))["path"][1:],
    },
    "step-5-it-grew_fail": lambda: evidence(hashes(5), hashes(9)),
    "step-5-from-nothing_fail": lambda: evidence([], hashes(3)),
}


def main() -> None:
    """Removes all evidence and writes it anew, with what the reference says of it."""
    for file in FOLDER.glob("*.json"):
        file.unlink()
    trust: dict[str, Json] = {
        "trainmark": "trust/v1",
        "policy": POLICY,
        "registry": REGISTRY.did,
        "anchors": [],
        "blocks": {},
    }
    (FOLDER / "trust.json").write_bytes(canonical(trust))
    policy = note.parse_policy(POLICY)
    expected: dict[str, Json] = {}
    for name, make in CASES.items():
        data = canonical(make())
        (FOLDER / f"{name}.fork.json").write_bytes(data)
        try:
            found = verify_fork(data, policy)
        except RefutedError as e:
            expected[name] = {"code": e.code}
        else:
            sizes: list[Json] = [found.first.size, found.second.size]
            expected[name] = {"sizes": sizes, "instead": "sha256:" + found.instead.hex()}
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
