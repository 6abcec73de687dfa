"""The embedded chain under SIGKILL: at any moment of its first start, and at any moment of anchoring.

Nothing acknowledged is lost, nothing changes afterwards, and the next start needs no repair.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

from anchors.embedded import EmbeddedChain
from ledger.errors import NotFoundError
from ledger.merkle import Tree, leaf_hash
from ledger.receipt import parse_record, verify_record
from tests.support import ROOT

KEY = b"\1" * 32
ORIGIN = sha256(b"log.example").digest()
TREE = Tree(leaf_hash(b"%d" % n) for n in range(3000))
STARTS, ROUNDS = 6, 14

# The child says each step it has finished, one line of JSON, only after the call has returned.
_PROGRAM = """
import json, sys
from contextlib import closing
from pathlib import Path
from tests.e2e.test_embedded_kill import KEY, ORIGIN, TREE, EmbeddedChain

folder, task = Path(sys.argv[1]), sys.argv[2]

def say(value):
    print(json.dumps(value), flush=True)

say("ready")
if task == "start":
    for number in range(10_000):
        with closing(EmbeddedChain(folder / f"{number}.sqlite", KEY)) as chain:
            say([number, chain.identity.genesis, chain.identity.contract])
else:
    with closing(EmbeddedChain(folder / "chain.sqlite", KEY)) as chain:
        size = chain.head(ORIGIN)[0]
        while size < len(TREE):
            transaction = chain.submit(ORIGIN, size + 1, TREE.root(size + 1), TREE.consistency_proof(size, size + 1))
            size += 1
            say([size, transaction])
"""


@contextmanager
def _child(folder: Path, task: str) -> Iterator[subprocess.Popen[str]]:
    """Runs the program above, ready to work; kills it at the end."""
    command = [sys.executable, "-c", _PROGRAM, str(folder), task]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == '"ready"\n'
            yield process
        finally:
            process.kill()


def _kill(process: subprocess.Popen[str], seconds: float) -> list[list[object]]:
    """Kills the child after a while and returns what it has said; a line that was cut off was not said."""
    time.sleep(seconds)
    process.kill()
    assert process.stdout is not None
    said = process.stdout.read()
    assert process.wait() == -9
    return [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]


def test_killed_in_a_first_start(tmp_path: Path) -> None:
    chance = random.Random(4)
    for start in range(STARTS):
        folder = tmp_path / str(start)
        folder.mkdir()
        with _child(folder, "start") as process:
            said = _kill(process, chance.uniform(0.01, 0.25))
        files = sorted(folder.glob("*.sqlite"), key=lambda path: int(path.stem))
        for number, path in enumerate(files):
            with closing(EmbeddedChain(path, KEY)) as chain:
                if number < len(said):
                    assert said[number] == [number, chain.identity.genesis, chain.identity.contract]
                chain.submit(ORIGIN, 1, TREE.root(1), [])
                assert chain.head(ORIGIN) == (1, TREE.root(1))
                assert chain.status("0x" + "00" * 32).state == "lost"
                assert _height(chain) == 3  # gift, contract, anchor: no step was done twice


def test_killed_while_anchoring(tmp_path: Path) -> None:
    chance = random.Random(5)
    acknowledged: dict[int, str] = {}
    blocks: list[str] = []
    identity = None
    for _ in range(ROUNDS):
        with _child(tmp_path, "anchor") as process:
            said = _kill(process, chance.uniform(0.05, 0.6))
        for size, transaction in said:
            assert isinstance(size, int)
            assert isinstance(transaction, str)
            assert size not in acknowledged
            acknowledged[size] = transaction
        with closing(EmbeddedChain(tmp_path / "chain.sqlite", KEY)) as chain:
            identity = identity or chain.identity
            assert chain.identity == identity
            size, root = chain.head(ORIGIN)
            # One block more than acknowledged is possible: committed, and killed before it was said.
            last = max(acknowledged, default=0)
            assert size in (last, last + 1)
            assert root == (TREE.root(size) if size else bytes(32))
            height = _height(chain)
            assert height == 2 + size
            now = [chain.block_hash(number) for number in range(height + 1)]
            assert now[: len(blocks)] == blocks  # what was there is there, unchanged
            blocks = now
            numbers = [_verify(chain, at, transaction) for at, transaction in sorted(acknowledged.items())]
            assert numbers == sorted(set(numbers))
            if size > last:  # nobody was told its transaction: it is found by the head
                acknowledged[size] = ""
    assert len(acknowledged) > ROUNDS


def _verify(chain: EmbeddedChain, size: int, transaction: str) -> int:
    """Checks the record of an acknowledged anchor and returns the number of its block."""
    if not transaction:
        return size + 2
    head = verify_record(parse_record(chain.record(transaction)), ORIGIN)
    assert (head.size, head.root) == (size, TREE.root(size))
    assert chain.block_hash(head.block_number) == "0x" + head.block_hash.hex()
    assert chain.status(transaction).state == "final"
    assert head.block_number == size + 2  # genesis, gift, contract, then one block for each anchor
    return head.block_number


def _height(chain: EmbeddedChain) -> int:
    number = 0
    while True:
        try:
            chain.block_hash(number + 1)
        except NotFoundError:
            return number
        number += 1
