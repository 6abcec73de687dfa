"""``trainmark log audit`` of a log in a folder: statements per second, and what a second audit of the same log costs.

The yardstick is what cannot be saved: one Ed25519 verification of each statement by the same library, in as many
processes at once, right before and right after, so that what the machine does besides slows both.  The log is made of
signed manifests of a thousand parties, each with the registry's review.  The command is run as a person runs it, its
start included.  Processor time is that of all its processes.

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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from time import perf_counter, process_time
from typing import Any, TypeAlias

from ledger.canonical import Object, canonical
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.encoding import b64url_encode
from ledger.keys import Signer, SigningKey, did_decode, pae, verify_signature
from ledger.statements import PAYLOAD_TYPE, manifest_body, parse_statement
from ledger.trust import format_trust
from tests.simulator import ORIGIN, HandMadeLog, digest, identity, key, review_body, trust_in
from tests.support.logs import write_log

SIZES = (10_000, 100_000)
PARTIES = 1000
CHUNK = 5_000
VERIFIED = 4_000
Message: TypeAlias = "tuple[bytes, bytes, bytes]"
"""A public key, what it signed, and the signature."""
COMMAND = (sys.executable, "-m", "ledger.cli", "log", "audit")


@lru_cache(maxsize=PARTIES)
def party(number: int) -> SigningKey:
    """Returns a creator's key."""
    return key(f"party {number}")


def signed(kind: str, signer: Signer, body: Object) -> bytes:
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


def run_audit(folder: Path, jobs: int) -> tuple[float, resource.struct_rusage, dict[str, Any]]:
    """Runs the command; returns seconds on the clock, what it and its processes used, and what it said."""
    words: list[str | Path] = [*COMMAND, folder / "log", "--state", folder / f"audit-{jobs}", f"--jobs={jobs}"]
    words += ["--json", "--trust", folder / "trust.json"]
    clock = perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("the audit failed")
    return perf_counter() - clock, used, json.loads(said)


def signed_messages(leaves: Sequence[bytes]) -> list[Message]:
    """Returns what is to be verified of the first leaves after the policy."""
    statements = [parse_statement(leaf) for leaf in leaves[1 : VERIFIED + 1]]
    return [(did_decode(s.key), pae(PAYLOAD_TYPE, s.signed), s.sig) for s in statements]


def verify_all(messages: Sequence[Message]) -> tuple[float, float]:
    """Returns verifications per second on the clock and of processor time."""
    clock, used = perf_counter(), process_time()
    if not all(verify_signature(*message) for message in messages):
        raise SystemExit("a leaf is badly signed")
    return len(messages) / (perf_counter() - clock), len(messages) / (process_time() - used)


def bare(messages: Sequence[Message], jobs: int) -> tuple[float, float]:
    """Returns verifications per second of `jobs` processes at once: on the clock, and of processor time."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        rates = list(pool.map(verify_all, [messages] * jobs))
    return sum(clock for clock, _ in rates), fmean(used for _, used in rates)


@dataclass(frozen=True)
class Figure:
    """What one audit took: seconds on the clock, of processor time, and of a second audit; and bare verifications per
    second of the same number of processes, on the clock and of processor time."""

    leaves: int
    jobs: int
    seconds: float
    used: float
    again: float
    memory: int
    bare: float
    bare_used: float

    @property
    def rate(self) -> float:
        """Statements per second on the clock."""
        return self.leaves / self.seconds

    @property
    def per_core(self) -> float:
        """Statements per second of processor time."""
        return self.leaves / self.used

    @property
    def line(self) -> str:
        """The line of the table."""
        return (
            f"{self.leaves:>10,}{self.jobs:>6}{self.seconds:>9.1f} s{self.rate:>10,.0f}/s{self.rate / self.bare:>8.0%}"
            f"{self.per_core:>10,.0f}/s{self.per_core / self.bare_used:>8.0%}{self.again:>9.1f} s{self.memory:>8,} MiB"
        )


def measure(size: int, folder: Path, numbers: Sequence[int]) -> Iterator[Figure]:
    """Makes a log of `size` leaves and audits it twice with each of `numbers` of processes."""
    leaves = list(all_leaves(size))[:size]
    tree = write_log(folder / "log", leaves, b"")
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree.root()), identity().log_key)
    (folder / "log" / "checkpoint").write_bytes(note)
    (folder / "trust.json").write_bytes(format_trust(trust_in(identity())))
    messages = signed_messages(leaves)
    del leaves, tree
    for jobs in numbers:
        before = bare(messages, jobs)
        seconds, used, said = run_audit(folder, jobs)
        after = bare(messages, jobs)
        if (said["size"], said["void"], said["manifests"]) != (size, [], size // 2):
            raise SystemExit("the audit found another log")
        again, _, _ = run_audit(folder, jobs)
        clock, processor = (fmean(pair) for pair in zip(before, after, strict=True))
        processor_seconds = used.ru_utime + used.ru_stime
        yield Figure(size, jobs, seconds, processor_seconds, again, used.ru_maxrss >> 10, clock, processor)


def main() -> None:
    """Prints the table."""
    cores = len(os.sched_getaffinity(0))
    print("full audit: on the clock, and per second of processor time; each of bare Ed25519 in the same run")
    print(f"{'leaves':>10}{'jobs':>6}{'clock':>11}{'':>12}{'bare':>8}", end="")
    print(f"{'per core':>12}{'bare':>8}{'again':>11}{'memory':>12}")
    for size in tuple(map(int, sys.argv[1:])) or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            for figure in measure(size, Path(folder), sorted({1, cores} if size <= SIZES[-1] else {cores})):
                print(figure.line, flush=True)


if __name__ == "__main__":
    main()
