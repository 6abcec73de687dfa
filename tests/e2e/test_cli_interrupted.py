"""Ctrl-C while a library is tagged or published: nothing is left half-written, and a second run goes on and ends it.

As from a terminal, the signal goes to the command and to every process that it started.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ledger.encoding import digest_encode, sha256
from ledger.images.worker import Worker
from tests.reference import documents, note, tiles
from tests.support.pictures import jpeg
from tests.support.process import COMMAND, ServerProcess, call, environment, serving

SEED = 20261124
ROUNDS, WANTED = 30, 4
PICTURES = 60
BY_PYTHON = -signal.SIGINT
"""How Python itself ends where the signal met it before the command had begun, or in code made of a string."""

DECLARED = ("--rights", "owned", "--release", "not-required", "--privacy", "none")
MAKE = ("manifest", "pictures", "-o", "out", "--license", "ADA-1.license.json", "--title", "Avatars", *DECLARED)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A creator with a license and pictures enough to keep a run busy."""
    folder = tmp_path_factory.mktemp("interrupted")
    with contextlib.chdir(folder):
        assert call("init", "--no-passphrase", "--name", "Ada Lens", "--url", "https://ada.example/").code == 0
        new = ("license", "new", "--preset", "open", "--id", "ADA-1", "--url", "https://ada.example/1")
        assert call(*new).code == 0
        Path("pictures").mkdir()
        for number in range(PICTURES):
            picture = Image.effect_noise((480, 360), 20 + number).convert("RGB")
            picture.putpixel((number, 0), (255, 0, 0))
            picture.save(Path("pictures", f"{number:03d}.jpg"), quality=90)
        yield folder


def interrupted(arguments: tuple[str, ...], folder: Path, delay: float) -> tuple[int, str]:
    """Starts a command, presses Ctrl-C after `delay` seconds; returns its exit code and errors."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def check_library(folder: Path) -> None:
    """The library is whole: each file is what the manifest says, and the reference believes each document."""
    manifest = documents.verify_manifest((folder / "dataset_manifest.json").read_bytes())
    assert len(manifest.entries) == PICTURES
    for entry in manifest.entries:
        path = folder / str(entry["path"])
        assert digest_encode(sha256(path.read_bytes())) == entry["published_hash"]
        documents.verify_attribution(Path(f"{path}.attribution.json").read_bytes())


def codes(folder: Path) -> dict[object, object]:
    """Returns the fingerprints of each picture."""
    manifest = documents.verify_manifest((folder / "dataset_manifest.json").read_bytes())
    return {entry["path"]: entry["fingerprints"] for entry in manifest.entries}


def test_ctrl_c_while_tagging(place: Path) -> None:
    chance, ended = random.Random(SEED), 0
    originals = {path.name: path.read_bytes() for path in (place / "pictures").iterdir()}
    started = time.monotonic()
    assert call(*MAKE).code == 0
    whole = time.monotonic() - started
    check_library(place / "out")
    os.rename(place / "out", place / "first")
    kept = {path.name for path in place.iterdir()}
    journal = place / ".out.trainmark-partial/journal"
    number = 0
    while ended < WANTED and number < ROUNDS:
        code, errors = interrupted(MAKE, place, chance.uniform(0.1, 0.4 + whole))
        about = f"seed {SEED}, round {number}: exit code {code}: {errors}"
        assert code in (0, 130, BY_PYTHON), about
        assert code != 130 or errors == "trainmark: interrupted\n", about
        if (place / "out").exists():  # the whole library, or none
            check_library(place / "out")
            os.rename(place / "out", place / f"done {number}")
        elif code != 0:
            ended += journal.exists() and journal.stat().st_size > 0
        names = {path.name for path in place.iterdir()}
        assert names <= {*kept, journal.parent.name, *(f"done {n}" for n in range(number + 1))}, about
        number += 1
    assert ended == WANTED, f"seed {SEED}: it was hardly ever interrupted in the midst of it"
    assert call(*MAKE).code == 0
    check_library(place / "out")
    for name in ("first", *(path.name for path in place.glob("done *"))):
        assert codes(place / name) == codes(place / "out"), name  # none is lost to a decoder that was interrupted
    assert list(place.glob(".out.*")) == []
    assert {path.name: path.read_bytes() for path in (place / "pictures").iterdir()} == originals


@pytest.fixture
def server(place: Path) -> Iterator[ServerProcess]:
    with serving(place / "registry") as server:
        yield server


def test_ctrl_c_while_publishing(place: Path, server: ServerProcess) -> None:
    chance, ended = random.Random(SEED), 0
    if not (place / "out").exists():
        assert call(*MAKE).code == 0
    publish = ("publish", "out", "--to", server.url)
    before = documents.verify_manifest((place / "out/dataset_manifest.json").read_bytes())
    for number in range(8):
        code, errors = interrupted(publish, place, chance.uniform(0.15, 0.7))
        about = f"seed {SEED}, round {number}: exit code {code}: {errors}"
        assert code in (0, 130, BY_PYTHON), about
        assert code != 130 or errors == "trainmark: interrupted\n", about
        ended += code == 130
        check_library(place / "out")
        now = documents.verify_manifest((place / "out/dataset_manifest.json").read_bytes())
        assert (now.digest, now.entries) == (before.digest, before.entries), about
    assert ended > 0, f"seed {SEED}: it was never interrupted"
    first = call(*publish, "--json")
    again = call(*publish, "--json")
    assert (first.code, again.code) == (0, 0)
    assert first.value["leaf"] == again.value["leaf"]
    assert first.value["decision"] == "list"
    check_library(place / "out")
    found = call("resolve", "out/dataset_manifest.json", "--registry", server.url, "--json")
    assert found.code == 0
    assert {claim["leaf"] for answer in found.value["answers"] for claim in answer["claims"]} == {first.value["leaf"]}

    policy = note.parse_policy(f"log {(place / 'registry/log.vkey').read_text().strip()}\nquorum none\n")
    checkpoint = note.verify_checkpoint((place / "registry/log/checkpoint").read_bytes(), policy)
    leaves = tiles.verify_folder(place / "registry/log", checkpoint)
    assert sum(before.digest.encode() in leaf for leaf in leaves) == 1  # however often it was sent


def test_a_decoder_leaves_the_signal_to_its_keeper() -> None:
    """Else a picture whose decoder the signal met first would count as damaged, and be remembered without codes."""
    data = jpeg()
    with Worker() as worker:
        found = worker.examine(data)
        assert found.dhash is not None
        assert worker._process is not None
        os.kill(worker._process.pid, signal.SIGINT)
        time.sleep(0.2)
        assert worker._process.poll() is None
        assert worker.examine(data) == found
