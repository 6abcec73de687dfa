"""Writes the bundles of this folder, from the simulator and the cases of ``tests/unit/test_proof_steps.py``.

python -m tests.vectors.proof.make
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ledger.proof import STEPS, verify_proof
from ledger.registry.proving import prove
from ledger.trust import Trust, format_trust
from tests.simulator import World, key, library, trust_in, verdict, writing
from tests.support import VECTORS
from tests.unit import test_proof_steps as steps

FOLDER = VECTORS / "proof"
# Too large to keep, and what the format knows but this version does not read yet.
LEFT_OUT = ("too many leaves", "as of a time", "a proof of absence")


def write(name: str, bundle: bytes, trust: Trust, common: Trust, step: int | None = None) -> None:
    """Writes one folder: the bundle, what is said of it, and its trust file where it is not the common one."""
    folder = FOLDER / (name if step is None else f"step-{step:02d}-{name.replace('_', '-').replace(' ', '-')}_fail")
    folder.mkdir()
    (folder / "bundle.proof.json").write_bytes(bundle)
    if trust != common:
        (folder / "trust.json").write_bytes(format_trust(trust))
    expected: dict[str, Any] = {}
    if step is None:
        expected = dict(verify_proof(bundle, trust).value())
    else:
        said = verdict(bundle, trust)
        assert isinstance(said, Exception)
        assert not isinstance(verdict(bundle, trust, steps=STEPS[: step - 1]), Exception) or step == 1
        expected = {"code": said.code, "step": step}
    (folder / "expected.json").write_bytes(writing(expected))


def main() -> None:
    """Removes all cases and writes them anew."""
    for folder in FOLDER.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            shutil.rmtree(folder)
    world = World()
    with tempfile.TemporaryDirectory() as chain:
        try:
            pictures = library("pictures", key("eva"), 5)
            world.publish(pictures)
            row = world.anchor(Path(chain))
            world.publish(library("more", key("bob")))
            anchored = prove(world.registry, pictures.entries[2].published_hash)
            common, blockless = world.trust(row), world.trust()
        finally:
            world.close()
    (FOLDER / "trust.json").write_bytes(format_trust(common))
    write("anchored", anchored, common, common)
    write("block-not-known", anchored, blockless, common)
    log = steps.honest()
    write("not-anchored", log.bundle(log.claim()), common, common)
    for name, (number, make) in steps.CASES.items():
        case = make()
        if case.replay is None:
            write(name, case.data, common if case.trust == trust_in(world.identity) else case.trust, common, number)
    for name, change in steps.MALFORMED.items():
        if name not in LEFT_OUT:
            write(name, steps.changed(log.bundle(log.claim()), change), common, common, 1)
    for name, change in steps.ANCHORS.items():
        write(name, steps.changed(anchored, change), common, common, 12)


if __name__ == "__main__":
    main()
