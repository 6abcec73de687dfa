"""What a start of a registry costs for each leaf: a whole registry on disks, opened, compared and closed.

The log is of manifests with two entries each, all listed.  The yardstick is what cannot be saved: one Ed25519
verification of each leaf by the same library, in the same run.  The log alone reads, verifies and folds the leaves; the
rest of a start is the catalog, the chain and what it finds to do.  Processor time, median of several.

    python benchmarks/start.py [MANIFESTS ...]      10 and 1,000 by default
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

from api.composition import open_registry
from api.keys import open_keys
from api.settings import Settings
from ledger.errors import TrainmarkError
from ledger.keys import SigningKey, verify_signature
from ledger.registry import payloads
from ledger.registry.log import Log
from ledger.registry.service import Registry
from ledger.statements import Statement, manifest_body, sign_statement
from ledger.store.engine import connect
from ledger.store.entries import SqlEntryStore
from ledger.store.files import FolderTileStore
from tests.simulator import Library, key, library, review_body

MANIFESTS = (10, 1000)
RUNS = 5
VERIFIED = 500
BATCH = 1000
EVA = key("eva")
LEAF = bytes(600)
"""As long as what is signed of a manifest statement."""


def settings(folder: Path) -> Settings:
    """Returns the settings of a registry in a folder."""
    return Settings(data_dir=folder, anchor_interval=3600)


def logged(registry: Registry, statements: list[Statement]) -> list[int]:
    """Logs statements; returns their places."""
    places = []
    for start in range(0, len(statements), BATCH):
        for answer in registry.log.submit(statements[start : start + BATCH]):
            if isinstance(answer, TrainmarkError):
                raise answer
            places.append(answer.index)
    return places


def make(folder: Path, manifests: int) -> int:
    """Makes a registry of so many listed manifests; returns its leaves."""
    with open_registry(settings(folder)) as running:
        registry = running.writer.registry
        works: list[Library] = [library(f"library {number}", EVA, 2) for number in range(manifests)]
        origin = registry.identity.origin
        said = [sign_statement("manifest", EVA.did, EVA, origin, manifest_body(w.header.digest)) for w in works]
        places = logged(registry, said)
        for work, leaf in zip(works, places, strict=True):
            payload = payloads.Payload(work.header, work.entries, work.terms, work.text)
            payloads.enter(payload, payloads.store(payload, registry.blobs), leaf, registry.clock(), registry.catalog)
        logged(registry, [registry.sign("review", review_body(leaf, "listed")) for leaf in places])
        return registry.log.head.size


def seconds(work: Callable[[], object]) -> float:
    """Returns how long a piece of work takes, in processor time."""
    times = []
    for _ in range(RUNS):
        began = process_time()
        work()
        times.append(process_time() - began)
    return median(times)


def verify() -> None:
    """Verifies one signature again and again."""
    signer = SigningKey(bytes(32))
    signature = signer.sign(LEAF)
    for _ in range(VERIFIED):
        assert verify_signature(signer.public, LEAF, signature)


def measure(folder: Path, leaves: int) -> None:
    """Prints the costs of one registry."""
    keys, origin = open_keys(folder / "keys", None, may_make=False), (folder / "log.vkey").read_text().split("+")[0]

    def log() -> None:
        entries = SqlEntryStore(connect(f"sqlite:///{folder / 'registry.db'}"), folder / "lock")
        Log(origin, keys.log, entries, FolderTileStore(folder / "log")).close()

    def start() -> None:
        with open_registry(settings(folder)):
            pass

    bare, alone, whole = seconds(verify) / VERIFIED, seconds(log), seconds(start)
    rest = (whole - alone) / leaves
    print(f"{leaves:8,} {whole * 1e3:8.0f} ms {bare * 1e6:8.0f} {alone / leaves / bare:8.2f} {rest / bare:8.2f}")


def main() -> None:
    """Prints the table."""
    print(f"{'leaves':>8} {'a start':>11} {'bare µs':>8} {'log':>8} {'rest':>8}   of bare Ed25519, each leaf")
    for manifests in [int(word) for word in sys.argv[1:]] or MANIFESTS:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder) / "data", make(Path(folder) / "data", manifests))


if __name__ == "__main__":
    main()
