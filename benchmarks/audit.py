"""``trainmark log audit`` of a log in a folder: statements per second, and what a second audit of the same log costs.

The yardstick is what cannot be saved: one Ed25519 verification of each statement by the same library, alone on one
core.  The log is made of signed manifests of a thousand parties, each with the registry's review.  The command is run
as a person runs it, its start included.  Processor time is that of all its processes; what the machine does besides
makes the time on the clock longer, not that.

    python benchmarks/audit.py [LEAVES ...]         10,000 and 100,000 by default; 1000000 is the long form
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from ledger.canonical import Object, canonical
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.encoding import b64url_encode
from ledger.keys import SigningKey, pae, verify_signature
from ledger.statements import PAYLOAD_TYPE, manifest_body, parse_statement
from ledger.trust import format_trust
from tests.simulator import ORIGIN, HandMadeLog, digest, identity, key, review_body, trust_in
from tests.support.logs import write_log

SIZES = (10_000, 100_000)
PARTIES = 1000
CHUNK = 5_000
VERIFIED = 4_000
COMMAND = (sys.executable, "-m", "ledger.cli", "log", "audit")


@lru_cache(maxsize=PARTIES)
def party(number: int) -> SigningKey:
    """Returns a creator's key."""
    return key(f"party {number}")


def signed(kind: str, signer: SigningKey, body: Object) -> bytes:
    """Returns a statement's bytes, not read back: what is read is what is measured."""
    fields: Object = {"type": kind, "v": 1, "by": signer.did, "key": signer.did, "log": ORIGIN}
    fields = {**fields, "known_block": None, "body": body}
    return canonical({**fields, "sig": b64url_encode(signer.sign(pae(PAYLOAD_TYPE, canonical(fields))))})


def leaves_from(start: int) -> list[bytes]:
    """Returns CHUNK leaves: a manifest at each odd index and its review at the next."""
    registry = identity().key
    leaves = []
    for index in range(start, start + CHUNK):
        if index % 2:
            signer = party(index // 2 % PARTIES)
            leaves.append(signed("manifest", signer, manifest_body(digest(f"manifest {index}"))))
        elif index:
            leaves.append(signed("review", registry, review_body(index - 1, "listed")))
        else:
            leaves.append(HandMadeLog().leaves[0].data)
    return leaves


def all_leaves(size: int) -> Iterator[bytes]:
    """Yields the leaves of the log."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for chunk in pool.map(leaves_from, range(0, size, CHUNK)):
            yield from chunk


def run_audit(folder: Path, jobs: int) -> tuple[float, float, dict[str, Any]]:
    """Runs the command; returns seconds on the clock, processor seconds of all its processes, and what it said."""
    words: list[str | Path] = [
        *COMMAND,
        folder / "log",
        "--state",
        folder / f"audit-{jobs}",
        f"--jobs={jobs}",
        "--json",
    ]
    words += ["--trust", folder / "trust.json"]
    clock, used = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
    seconds, after = perf_counter() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, json.loads(done.stdout)


def bare(leaves: list[bytes]) -> float:
    """Returns verifications per second of processor time, of nothing but the signatures."""
    chosen = [parse_statement(leaf) for leaf in leaves[1 : VERIFIED + 1]]
    messages = [(party(n // 2 % PARTIES).public, pae(PAYLOAD_TYPE, s.signed), s.sig) for n, s in enumerate(chosen, 1)]
    registry = identity().key.public
    start = process_time()
    for n, (public, message, signature) in enumerate(messages, 1):
        if not verify_signature(public if n % 2 else registry, message, signature):
            raise SystemExit(f"leaf {n} is badly signed")
    return len(messages) / (process_time() - start)


def measure(size: int, folder: Path, cores: int) -> None:
    """Makes a log of `size` leaves, and prints a line for one process and one for all cores (a big log: for those)."""
    leaves = list(all_leaves(size))[:size]
    tree = write_log(folder / "log", leaves, b"")
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree.root()), identity().log_key)
    (folder / "log" / "checkpoint").write_bytes(note)
    limit = bare(leaves)
    del leaves, tree
    (folder / "trust.json").write_bytes(format_trust(trust_in(identity())))
    for jobs in sorted({1, cores} if size <= SIZES[-1] else {cores}):
        measure_with(size, folder, jobs, limit)


def measure_with(size: int, folder: Path, jobs: int, limit: float) -> None:
    """Audits the log twice with `jobs` processes for signatures, and prints the line."""
    seconds, used, said = run_audit(folder, jobs)
    if (said["size"], said["void"], said["manifests"]) != (size, [], size // 2):
        raise SystemExit("the audit found another log")
    again, _, _ = run_audit(folder, jobs)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{size:>10,}{jobs:>6}{seconds:>9.1f} s{size / seconds:>10,.0f}/s{size / used:>10,.0f}/s"
        f"{size / used / limit:>8.0%}{again:>9.1f} s{memory:>8,.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Prints the table."""
    sizes = tuple(map(int, sys.argv[1:])) or SIZES
    print("full audit; per core: per second of processor time; of bare Ed25519 in the same run")
    print(f"{'leaves':>10}{'jobs':>6}{'clock':>11}{'':>12}{'per core':>12}{'of bare':>8}{'again':>11}{'memory':>12}")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            measure(size, Path(folder), len(os.sched_getaffinity(0)))


if __name__ == "__main__":
    main()
