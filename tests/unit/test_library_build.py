"""From a folder of real pictures to a signed library: whole or not at all, again and again."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from ledger.canonical import Object, canonical
from ledger.encoding import b64url_decode, digest_decode, sha256
from ledger.errors import ConflictError, MalformedError, NotFoundError, VerificationError
from ledger.images.content import content_hash
from ledger.images.embed import read_rights
from ledger.images.fingerprints import compute
from ledger.keys import SigningKey
from ledger.library import build, copies, output, source
from ledger.library.build import Built, build_manifest
from ledger.library.copies import BrokenFilesError, Prepared, RightsConflictError
from ledger.library.creator import Profile
from ledger.library.heading import Description
from ledger.library.licenses import PRESETS, make_license
from ledger.library.output import refresh_statements
from ledger.library.tagging import Declaration
from ledger.library.verified import DamagedLibraryError, verify_library
from ledger.manifests import (
    Manifest,
    Release,
    entries_root,
    format_attribution,
    format_manifest,
    parse_attribution,
    parse_manifest,
    read_entry,
    read_header,
    verify_entry,
)
from ledger.statements import (
    ManifestBody,
    Statement,
    manifest_body,
    parse_statement,
    sign_statement,
    verify_statement,
)
from ledger.terms import parse_terms, verify_text
from tests.support import ROOT

KEY = SigningKey(bytes(range(32)))
SAM = Profile("Sam Rivers", "https://sam.example/", KEY.did, "studio")
TERMS, TEXT = make_license(PRESETS["train"].fields("SAM-TRAIN-v1", "https://sam.example/train"), SAM.name)
NO = {"face": "no", "minor": "no", "pii": "no", "biometric": "no"}
OWNED = Declaration("owned", "not-required", NO, "standard")
CREDIT = "Pictures by Sam Rivers"
NOW = 1_790_000_000
LOG = "registry.example/log/2026"


# Pictures


def picture(seed: int = 1, size: tuple[int, int] = (64, 48)) -> Image.Image:
    image = Image.effect_mandelbrot(size, (-1.9 + seed / 50, -1.1, 0.9, 1.1), 40).convert("RGB")
    ImageDraw.Draw(image).ellipse((8, 8, 20 + seed % 20, 30), fill=(220, 40 + seed % 200, 90))
    return image


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def camera_jpeg(seed: int = 1, artist: str | None = None) -> bytes:
    """A JPEG as a phone writes it: camera, orientation, place, serial number."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera works", 6
    if artist is not None:
        exif[0x013B] = artist
    exif.get_ifd(0x8769)[0xA431] = "SERIAL-0042"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "S", (48.0, 52.0, 36.0), "W", (123.0, 23.0, 36.0)
    return encoded(picture(seed), "JPEG", quality=90, exif=exif)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


FILES = {
    "camera.jpg": camera_jpeg(),
    "art/avatar.png": encoded(picture(2).convert("RGBA"), "PNG"),
    "art/sticker.webp": encoded(picture(3), "WEBP"),
    "art/loop.gif": encoded(picture(4), "GIF"),
    "notes.txt": b"about these pictures\n",
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write(tmp_path / "pictures", FILES)


def tree(folder: Path) -> dict[str, bytes]:
    """Everything below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def counting(start: int = 0) -> Callable[[int], bytes]:
    """Entropy that is another one at each call, and the same in each test."""
    calls = start

    def draw(size: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(calls.to_bytes(4, "big")).digest(size)

    return draw


def make(folder: Path, out: Path, **changed: Any) -> Built:
    arguments: dict[str, Any] = {
        "creator": SAM,
        "key": KEY,
        "terms": TERMS,
        "license_text": TEXT,
        "description": Description("Avatars", "1.0", CREDIT),
        "declared": OWNED,
        "clock": lambda: NOW,
        "entropy": counting(),
    }
    return build_manifest(folder, out, **{**arguments, **changed})


def leftovers(folder: Path) -> list[str]:
    """Hidden things beside an output folder."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


# What is built


def test_the_folder_that_comes_out(pictures: Path, tmp_path: Path) -> None:
    before = tree(pictures)
    built = make(pictures, tmp_path / "out")
    assert built.outcome == "new"
    assert sorted(tree(tmp_path / "out")) == sorted(
        [
            "dataset_manifest.json",
            "SAM-TRAIN-v1.license.json",
            "SAM-TRAIN-v1.license.txt",
            *FILES,
            *(f"{name}.attribution.json" for name in FILES),
            "art/loop.gif.xmp",
            "notes.txt.xmp",
        ]
    )
    assert tree(pictures) == before
    assert leftovers(tmp_path) == []
    assert [e.path for e in built.manifest.entries] == sorted(FILES, key=str.encode)
    assert built.skipped == ()


def test_header_statement_and_license(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    header = built.manifest.header
    assert (header.title, header.version, header.part, header.parts) == ("Avatars", "1.0", 1, 1)
    assert (header.creator_id, header.creator_name, header.attribution_url) == (SAM.did, SAM.name, SAM.attribution_url)
    assert (header.license_id, header.license_digest) == (TERMS.license_id, TERMS.digest)
    assert (header.required_attribution_text, header.created_at, header.entry_count) == (CREDIT, NOW, 5)
    assert header.dataset_id.startswith("urn:uuid:")
    (statement,) = built.manifest.statements
    assert verify_statement(statement).log is None
    assert (statement.by, statement.key) == (SAM.did, KEY.did)
    out = tmp_path / "out"
    assert parse_manifest((out / "dataset_manifest.json").read_bytes()) == built.manifest
    terms = parse_terms((out / "SAM-TRAIN-v1.license.json").read_bytes())
    assert verify_text(terms, (out / "SAM-TRAIN-v1.license.txt").read_bytes()) == TEXT.decode()


def test_entries_hold_what_the_files_are(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    entries = {entry.path: entry for entry in built.manifest.entries}
    salts = set()
    for name, data in FILES.items():
        entry, copy = entries[name], (tmp_path / "out" / name).read_bytes()
        assert entry.provenance_hash == sha256(data)
        assert entry.published_hash == sha256(copy)
        assert entry.size == len(data)
        assert entry.content_hash == content_hash(data) == content_hash(copy)
        assert (entry.rights_status, entry.release_status, entry.price_tier) == ("owned", "not-required", "standard")
        assert dict(entry.privacy) == NO
        salts.add(b64url_decode(json.loads(entry.data)["salt"], "salt", 32))
    assert len(salts) == len(FILES)
    assert {name: entry.media_type for name, entry in entries.items()} == {
        "camera.jpg": "image/jpeg",
        "art/avatar.png": "image/png",
        "art/sticker.webp": "image/webp",
        "art/loop.gif": "image/gif",
        "notes.txt": "application/octet-stream",
    }
    codes = compute(FILES["camera.jpg"])
    assert dict(entries["camera.jpg"].fingerprints) == {"dhash": codes.dhash, "iscc": codes.iscc}
    assert entries["notes.txt"].fingerprints == ()
    unchanged = {name for name, entry in entries.items() if entry.published_hash == entry.provenance_hash}
    assert unchanged == {"art/loop.gif", "notes.txt"}


def test_copies_carry_the_rights_and_show_the_same_picture(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "out")
    for name in ("camera.jpg", "art/avatar.png", "art/sticker.webp"):
        copy = (tmp_path / "out" / name).read_bytes()
        rights = read_rights(copy)
        assert rights["trainmark:provenance_hash"] == f"sha256:{hashlib.sha256(FILES[name]).hexdigest()}"
        assert rights["trainmark:license_digest"] == f"sha256:{TERMS.digest.hex()}"
        assert rights["trainmark:creator_id"] == SAM.did
        assert rights["dc:creator"] == SAM.name
        assert rights["xmpRights:WebStatement"] == TERMS.license_url
        assert rights["plus:DataMining"].endswith("/DMI-PROHIBITED-SEELINKEDRIGHTSEXPR")
        assert rights["plus:ModelReleaseStatus"].endswith("/MR-NAP")
        assert rights["photoshop:Credit"] == CREDIT
        with Image.open(io.BytesIO(copy)) as after, Image.open(io.BytesIO(FILES[name])) as before:
            assert after.convert("RGBA").tobytes() == before.convert("RGBA").tobytes()
    sidecar = (tmp_path / "out" / "notes.txt.xmp").read_text()
    assert f"sha256:{hashlib.sha256(FILES['notes.txt']).hexdigest()}" in sidecar


def test_private_data_is_taken_out_and_told(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    with Image.open(tmp_path / "out" / "camera.jpg") as copy:
        exif = copy.getexif()
        assert (exif[0x010F], exif[0x0112]) == ("Camera works", 6)
        assert not exif.get_ifd(0x8825)
        assert b"SERIAL-0042" not in (tmp_path / "out" / "camera.jpg").read_bytes()
    assert "Exif:GPS" in built.stripped["camera.jpg"]
    assert set(built.stripped) == {"camera.jpg"}
    assert built.not_examined == ("art/loop.gif", "notes.txt")


def test_private_data_stays_when_the_creator_says_so(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out", keep_private=True)
    assert b"SERIAL-0042" in (tmp_path / "out" / "camera.jpg").read_bytes()
    assert built.stripped == {}
    assert len(built.not_examined) == len(FILES)


def test_declarations_by_path(pictures: Path, tmp_path: Path) -> None:
    evidence = bytes([7]) * 32
    portrait = Declaration(
        "owned", "on-file", {**NO, "face": "yes"}, "hero", (Release("model", evidence),), "digitalCapture"
    )
    built = make(pictures, tmp_path / "out", declared_by_path={"camera.jpg": portrait})
    entries = {entry.path: entry for entry in built.manifest.entries}
    assert entries["camera.jpg"].releases == (Release("model", evidence),)
    assert entries["camera.jpg"].price_tier == "hero"
    assert dict(entries["camera.jpg"].privacy)["face"] == "yes"
    assert entries["notes.txt"].price_tier == "standard"
    rights = read_rights((tmp_path / "out" / "camera.jpg").read_bytes())
    assert rights["plus:ModelReleaseStatus"].endswith("/MR-LMR")
    assert "plus:PropertyReleaseStatus" not in rights
    assert rights["Iptc4xmpExt:DigitalSourceType"].endswith("/digitalCapture")
    with pytest.raises(MalformedError, match=r"declared_by_path: there is no file 'camera\.jpeg'"):
        make(pictures, tmp_path / "other", declared_by_path={"camera.jpeg": portrait})


@pytest.mark.parametrize(
    ("release_status", "kinds", "model", "building"),
    [
        ("not-required", (), "NAP", "NAP"),
        ("missing", (), "NON", "NON"),
        ("missing", ("model",), "LMR", "NON"),
        ("on-file", (), "", ""),
        ("on-file", ("guardian",), "LMR", ""),
        ("on-file", ("property",), "", "LPR"),
    ],
)
def test_what_is_said_of_releases(release_status: str, kinds: tuple[str, ...], model: str, building: str) -> None:
    declared = Declaration("owned", release_status, NO, "a", tuple(Release(kind, bytes(32)) for kind in kinds))
    assert (declared.release_term("model"), declared.release_term("property")) == (model, building)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"rights_status": "mine"}, "rights_status"),
        ({"release_status": "none"}, "release_status"),
        ({"privacy": {**NO, "face": "maybe"}}, "privacy.face"),
        ({"privacy": {"face": "no"}}, "privacy"),
        ({"privacy": {**NO, "voice": "no"}}, "privacy"),
        ({"price_tier": "Tier 1"}, "price_tier"),
    ],
)
def test_a_declaration_is_checked_at_once(changed: dict[str, Any], field: str) -> None:
    answers = {"rights_status": "owned", "release_status": "missing", "privacy": NO, "price_tier": "a"}
    with pytest.raises(MalformedError) as error:
        Declaration(**{**answers, **changed})
    assert error.value.field == field


def test_threads_make_the_same_library(tmp_path: Path) -> None:
    files = {f"{n:03}.jpg": camera_jpeg(n) for n in range(12)}
    folder = write(tmp_path / "pictures", files)
    make(folder, tmp_path / "one")
    make(folder, tmp_path / "four", workers=4)
    assert tree(tmp_path / "one") == tree(tmp_path / "four")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_progress_counts_every_step_once(pictures: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    make(pictures, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 2 * len(FILES)) for n in range(2 * len(FILES) + 1)]


# Attribution manifests


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(st.text(st.sampled_from("abcäß日 .-"), min_size=1, max_size=6), min_size=1, max_size=9),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_attribution_file_verifies_alone(tmp_path: Path, names: set[str], seed: int) -> None:
    place = tmp_path / f"{seed:08x}-{len(names)}"
    shutil.rmtree(place, ignore_errors=True)
    works = {f"f{name}x.bin": name.encode() * 3 for name in {n.casefold().strip() for n in names}}
    try:
        built = make(write(place / "in", works), place / "out", entropy=counting(seed % 1000))
    finally:
        shutil.rmtree(place / "in", ignore_errors=True)
    files = list((place / "out").rglob("*.attribution.json"))
    assert len(files) == len(works)
    for path in files:
        found = parse_attribution(path.read_bytes())
        verify_entry(found.header, found.entry, found.entry_index, found.entry_path)
        assert path == place / "out" / f"{found.entry.path}.attribution.json"
        assert found.header == built.manifest.header
        assert [verify_statement(s).by for s in found.statements] == [SAM.did]
        assert [s.body for s in found.statements] == [ManifestBody(found.header.digest, ())]
        assert sha256((place / "out" / found.entry.path).read_bytes()) == found.entry.published_hash
    assert verify_library(place / "out").manifest == built.manifest


# Whole or not at all


def stopping(at: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("step", range(11))
def test_an_interrupted_first_run_leaves_no_library_and_the_next_continues(
    pictures: Path, tmp_path: Path, step: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(pictures, tmp_path / "out", progress=stopping(step))
    assert not (tmp_path / "out").exists()
    journal = tmp_path / ".out.trainmark-partial" / "journal"
    done = min(step, 5)
    assert leftovers(tmp_path) == ([".out.trainmark-partial"] if done else [])
    if done:
        assert tree(journal.parent) == {"journal": journal.read_bytes()}
        lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
        assert [line["path"] for line in lines] == sorted(FILES, key=str.encode)[:done]
        first_salts = [line["salt"] for line in lines]
    built = make(pictures, tmp_path / "out", entropy=counting(100))
    assert built.outcome == "new"
    if done:
        assert [json.loads(e.data)["salt"] for e in built.manifest.entries][:done] == first_salts
    assert verify_library(tmp_path / "out").manifest == built.manifest
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("step", [0, 3, 7, 10])
def test_an_interrupted_later_run_leaves_the_library_as_it_was(pictures: Path, tmp_path: Path, step: int) -> None:
    make(pictures, tmp_path / "out")
    before = tree(tmp_path / "out")
    write(pictures, {"notes.txt": b"other notes\n"})
    with pytest.raises(KeyboardInterrupt):
        make(pictures, tmp_path / "out", progress=stopping(step))
    assert tree(tmp_path / "out") == before
    assert make(pictures, tmp_path / "out").outcome == "replaced"


def test_what_the_journal_knows_is_not_computed_again(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(pictures, tmp_path / "out", progress=stopping(5))
    journal = tmp_path / ".out.trainmark-partial" / "journal"
    lines = journal.read_bytes().splitlines()
    marked = [canonical({**json.loads(line), "dhash": "ab" * 32}) for line in lines]
    journal.write_bytes(b"\n".join([*marked[:2], marked[2][:-9]]))
    built = make(pictures, tmp_path / "out")
    codes = [dict(entry.fingerprints).get("dhash") for entry in built.manifest.entries]
    assert [code == "ab" * 32 for code in codes] == [True, True, False, False, False]


def test_a_journal_cut_off_by_a_crash_is_continued(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(pictures, tmp_path / "out", progress=stopping(3))
    journal = tmp_path / ".out.trainmark-partial" / "journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    with pytest.raises(KeyboardInterrupt):
        make(pictures, tmp_path / "out", entropy=counting(100), progress=stopping(4))
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
    assert len(lines) == 4
    assert journal.read_bytes().startswith(b"\n".join(whole.splitlines()[:2]) + b"\n")
    assert lines[2]["salt"] != json.loads(whole.splitlines()[2])["salt"]


def test_behind_a_bad_line_nothing_of_a_journal_is_believed_or_kept(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(pictures, tmp_path / "out", progress=stopping(4))
    journal = tmp_path / ".out.trainmark-partial" / "journal"
    first, second, *others = journal.read_bytes().splitlines(keepends=True)
    short = canonical({**json.loads(second), "dhash": "ab" * 31}) + b"\n"
    journal.write_bytes(first + short + b"".join(others))
    with pytest.raises(KeyboardInterrupt):
        make(pictures, tmp_path / "out", entropy=counting(100), progress=stopping(2))
    lines = journal.read_bytes().splitlines(keepends=True)
    assert (len(lines), lines[0]) == (2, first)
    assert json.loads(lines[1])["salt"] != json.loads(second)["salt"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.unit import test_library_build as t

def progress(done, total):
    if done == {step}:
        os.kill(os.getpid(), signal.SIGKILL)

t.make(Path({folder!r}), Path({out!r}), progress=progress, workers=2)
"""


@pytest.mark.parametrize("step", [2, 5, 9])
def test_a_killed_run_leaves_nothing_half_written(pictures: Path, tmp_path: Path, step: int) -> None:
    program = KILLED.format(root=str(ROOT), folder=str(pictures), out=str(tmp_path / "out"), step=step)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert not (tmp_path / "out").exists()
    journal = tmp_path / ".out.trainmark-partial" / "journal"
    salts = {json.loads(line)["path"]: json.loads(line)["salt"] for line in journal.read_bytes().splitlines()}
    assert len(salts) == min(step, 5)
    built = make(pictures, tmp_path / "out", entropy=counting(100))
    for entry in built.manifest.entries:
        assert json.loads(entry.data)["salt"] == salts.get(entry.path, json.loads(entry.data)["salt"])
    assert len(salts.keys() & {e.path for e in built.manifest.entries}) == len(salts)
    verify_library(tmp_path / "out")
    assert leftovers(tmp_path) == []


def test_a_crash_between_the_two_renames_is_undone(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "out")
    before = tree(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.trainmark-previous")
    assert make(pictures, tmp_path / "out", entropy=counting(100)).outcome == "unchanged"
    assert tree(tmp_path / "out") == before
    assert leftovers(tmp_path) == []


def test_a_crash_behind_the_two_renames_is_finished(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "out")
    before = tree(tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / ".out.trainmark-previous")
    write(tmp_path / ".out.trainmark-previous", {"notes.txt": b"older"})
    assert make(pictures, tmp_path / "out").outcome == "unchanged"
    assert tree(tmp_path / "out") == before
    assert leftovers(tmp_path) == []


def test_two_runs_at_once_are_refused(pictures: Path, tmp_path: Path) -> None:
    refused: list[ConflictError] = []

    def meanwhile(done: int, total: int) -> None:
        if done == 1:
            with pytest.raises(ConflictError) as error:
                make(pictures, tmp_path / "out")
            refused.append(error.value)

    assert make(pictures, tmp_path / "out", progress=meanwhile).outcome == "new"
    assert [error.code for error in refused] == ["in-use"]
    verify_library(tmp_path / "out")


# Again


def test_a_second_run_changes_nothing(pictures: Path, tmp_path: Path) -> None:
    first = make(pictures, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    second = make(pictures, tmp_path / "out", entropy=counting(100), clock=lambda: NOW + 9)
    assert (second.outcome, second.manifest) == ("unchanged", first.manifest)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before
    assert leftovers(tmp_path) == []


def test_a_changed_file_keeps_the_salts_of_all_others(pictures: Path, tmp_path: Path) -> None:
    first = make(pictures, tmp_path / "out")
    write(pictures, {"notes.txt": b"other notes\n", "new.png": encoded(picture(9), "PNG")})
    (pictures / "art" / "loop.gif").unlink()
    second = make(pictures, tmp_path / "out", entropy=counting(100), clock=lambda: NOW + 9)
    assert second.outcome == "replaced"
    assert second.manifest.header.dataset_id == first.manifest.header.dataset_id
    assert second.manifest.header.created_at == NOW + 9
    old, new = ({e.path: e.data for e in built.manifest.entries} for built in (first, second))
    same = {path for path in old if new.get(path) == old[path]}
    assert same == {"art/avatar.png", "art/sticker.webp", "camera.jpg"}
    assert "art/loop.gif" not in tree(tmp_path / "out")
    assert json.loads(old["notes.txt"])["salt"] != json.loads(new["notes.txt"])["salt"]
    verify_library(tmp_path / "out")


@pytest.mark.parametrize(
    "damaged", ["camera.jpg", "notes.txt.xmp", "camera.jpg.attribution.json", "SAM-TRAIN-v1.license.txt"]
)
def test_a_damaged_file_is_found_and_repaired(pictures: Path, tmp_path: Path, damaged: str) -> None:
    make(pictures, tmp_path / "out")
    before = tree(tmp_path / "out")
    for change in ("flip", "cut", "remove"):
        path = tmp_path / "out" / damaged
        data = bytearray(path.read_bytes())
        data[data.index(b"sha256:") + 9 if b"sha256:" in data else len(data) // 2] ^= 1
        path.write_bytes(data if change == "flip" else data[:40])
        if change == "remove":
            path.unlink()
        with pytest.raises(DamagedLibraryError) as error:
            verify_library(tmp_path / "out")
        assert [problem.path.removesuffix(".xmp") for problem in error.value.problems] == [damaged.removesuffix(".xmp")]
        assert make(pictures, tmp_path / "out", entropy=counting(100)).outcome == "repaired"
        assert tree(tmp_path / "out") == before


def test_a_library_that_was_published_keeps_its_version(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    refresh_statements(tmp_path / "out", publication(built))
    published = tree(tmp_path / "out")
    assert make(pictures, tmp_path / "out").outcome == "unchanged"
    write(pictures, {"notes.txt": b"other notes\n"})
    with pytest.raises(ConflictError, match=r"version 1\.0 was published to registry\.example") as error:
        make(pictures, tmp_path / "out")
    assert error.value.code == "version-conflict"
    assert tree(tmp_path / "out") == published
    second = make(pictures, tmp_path / "out", description=Description("Avatars", "1.1", CREDIT))
    assert second.outcome == "replaced"
    assert [statement.log for statement in second.manifest.statements] == [None]


# Where it may write


def test_a_folder_that_is_not_ours_is_never_touched(pictures: Path, tmp_path: Path) -> None:
    out = write(tmp_path / "out", {"holiday.jpg": b"mine"})
    with pytest.raises(ConflictError, match="is not a library that was built here") as error:
        make(pictures, out)
    assert error.value.code == "output-folder"
    write(out, {"dataset_manifest.json": b"{}"})
    with pytest.raises(ConflictError, match="is not a library"):
        make(pictures, out)
    assert tree(out) == {"holiday.jpg": b"mine", "dataset_manifest.json": b"{}"}
    assert leftovers(tmp_path) == []
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(ConflictError, match="is not a library"):
        make(pictures, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_an_empty_folder_may_be_filled(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert make(pictures, tmp_path / "out").outcome == "new"


def test_foreign_files_in_a_library_are_kept(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "out")
    write(tmp_path / "out", {"dataset_manifest.json.asc": b"PGP", "art/letter.pdf": b"mine"})
    assert make(pictures, tmp_path / "out").outcome == "unchanged"
    assert verify_library(tmp_path / "out").foreign == ("art/letter.pdf", "dataset_manifest.json.asc")
    before = tree(tmp_path / "out")
    write(pictures, {"notes.txt": b"other notes\n"})
    with pytest.raises(ConflictError, match=r"'art/letter\.pdf' and 1 more files, which Trainmark did not write"):
        make(pictures, tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_another_creators_library_is_not_replaced(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "out")
    key = SigningKey(bytes(32))
    other = Profile("Eve", "https://eve.example/", key.did, "eve")
    with pytest.raises(ConflictError, match="a library of another creator"):
        make(pictures, tmp_path / "out", creator=other, key=key)


def test_the_output_may_lie_in_the_folder_but_not_the_other_way_round(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, pictures / "published")
    again = make(pictures, pictures / "published")
    assert again.outcome == "unchanged"
    assert [(s.path, s.reason) for s in again.skipped] == [("published", "left-out")]
    assert built.manifest == again.manifest
    for out in (pictures, tmp_path):
        with pytest.raises(ConflictError, match="the pictures are in it"):
            make(pictures, out)
    with pytest.raises(NotFoundError, match="to hold it"):
        make(pictures, tmp_path / "no" / "out")


# What is no work, and what cannot be one


def test_what_is_skipped_is_told(pictures: Path, tmp_path: Path) -> None:
    write(
        pictures,
        {
            ".hidden.jpg": b"x",
            ".git/config": b"x",
            "art/avatar.png.xmp": b"x",
            "Thumbs.db": b"x",
            "a.attribution.json": b"x",
            "old.license.txt": b"x",
            "creator.json": b"x",
            "signing.key.pem": b"secret",
            "rights.csv": b"x",
            "built/dataset_manifest.json": b"x",
            "built/copy.jpg": b"x",
        },
    )
    (pictures / "link.jpg").symlink_to(pictures / "camera.jpg")
    (pictures / "loop").symlink_to(pictures)
    os.mkfifo(pictures / "pipe")
    built = make(pictures, tmp_path / "out", left_out=[pictures / "rights.csv"])
    assert {entry.path for entry in built.manifest.entries} == set(FILES)
    assert {(s.path, s.reason) for s in built.skipped} == {
        (".hidden.jpg", "hidden"),
        (".git", "hidden"),
        ("art/avatar.png.xmp", "sidecar"),
        ("Thumbs.db", "system"),
        ("a.attribution.json", "output"),
        ("old.license.txt", "output"),
        ("creator.json", "output"),
        ("signing.key.pem", "key"),
        ("rights.csv", "left-out"),
        ("built", "output"),
        ("link.jpg", "symlink"),
        ("loop", "symlink"),
        ("pipe", "special"),
    }
    assert [s.path for s in built.skipped] == sorted(s.path for s in built.skipped)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (b"caf\x65\xcc\x81.jpg", r"'cafe\\u0301\.jpg': the text must be in Unicode normal form NFC"),
        (b"latin-\xe9.jpg", r"'latin-\\udce9\.jpg': half of a surrogate pair"),
        (b"back\\slash.jpg", r"'back.*slash\.jpg': expected a relative path"),
        (b"zero\xe2\x80\x8bwidth.jpg", r"U\+200B is invisible"),
        (b"tab\there.jpg", r"U\+0009 is invisible"),
        (b"C:drive.jpg", "a drive letter is not allowed"),
        (b"new-\xf3\xb0\x80\x80.jpg", r"U\+F0000 is"),
        (b"x" * 236 + b".jpg", "more than 238 bytes, which leaves no room"),
        (b"CAMERA.JPG", r"where case does not count it is one name with"),
        (b"Art", r"where case does not count|is a file, and .* a folder"),
    ],
)
def test_a_bad_name_names_the_file_and_nothing_is_written(
    pictures: Path, tmp_path: Path, name: bytes, words: str
) -> None:
    with open(bytes(pictures) + b"/" + name, "wb") as file:
        file.write(b"x")
    with pytest.raises(MalformedError, match=words):
        make(pictures, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert leftovers(tmp_path) == []


def test_all_bad_names_are_told_together(tmp_path: Path) -> None:
    folder = write(tmp_path / "pictures", {f"{n:02} \N{ZERO WIDTH SPACE}.jpg": b"x" for n in range(23)})
    with pytest.raises(MalformedError, match="and 3 more") as error:
        make(folder, tmp_path / "out")
    assert str(error.value).count("is invisible") == 20


def test_a_folder_named_like_an_output_is_refused(pictures: Path, tmp_path: Path) -> None:
    write(pictures, {"notes.txt.attribution.json/x.txt": b"x", "SAM-TRAIN-v1.license.json/y.txt": b"y"})
    with pytest.raises(MalformedError) as error:
        make(pictures, tmp_path / "out")
    assert "notes.txt.attribution.json" in str(error.value)
    assert "SAM-TRAIN-v1.license.json" in str(error.value)


def test_an_empty_folder_has_nothing_to_publish(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(MalformedError, match=r"no file in '.*pictures' can be published"):
        make(tmp_path / "pictures", tmp_path / "out")
    with pytest.raises(NotFoundError, match="there is no folder"):
        make(tmp_path / "no", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


def test_limits_are_told(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(source, "MAX_ENTRIES", 4)
        with pytest.raises(MalformedError, match="holds at most 4 files; cut the library into parts"):
            make(pictures, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(source, "MAX_FILE_BYTES", 20)
        with pytest.raises(MalformedError, match=r"'notes\.txt': 21 bytes, at most 20 are taken"):
            make(pictures, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(copies, "MAX_FILE_BYTES", 20)  # it grew behind our back
        with pytest.raises(MalformedError, match=r"notes\.txt' has more than 20 bytes"):
            make(pictures, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(build, "MAX_MANIFEST_BYTES", 1000)
        with pytest.raises(MalformedError, match="at most 1000 are allowed; cut the library into parts"):
            make(pictures, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for workers in (0, 65):
        with pytest.raises(MalformedError, match="workers: expected 1 to 64"):
            make(pictures, tmp_path / "out", workers=workers)


def test_a_tier_that_the_license_does_not_price_is_refused(pictures: Path, tmp_path: Path) -> None:
    payment = {
        **PRESETS["train"].fields("A", "https://a.example")["payment"],  # type: ignore[dict-item]
        "model": "per-sample",
        "tiers": {"hero": "5", "basic": "1"},
    }
    fields = {**PRESETS["train"].fields("A", "https://a.example"), "payment": payment}
    terms, text = make_license(fields, SAM.name)
    with pytest.raises(MalformedError, match="the license has the tiers basic, hero, found 'standard'"):
        make(pictures, tmp_path / "out", terms=terms, license_text=text)


def test_terms_and_text_have_to_belong_together(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as error:
        make(pictures, tmp_path / "out", license_text=TEXT.replace(b"yes", b"no!"))
    assert error.value.code == "terms-digest"


def test_damaged_pictures_are_named_together(pictures: Path, tmp_path: Path) -> None:
    write(pictures, {"half.jpg": camera_jpeg()[:900], "half.png": FILES["art/avatar.png"][:300]})
    with pytest.raises(BrokenFilesError, match=r"(?s)\n  'half\.jpg': .*\n  'half\.png': "):
        make(pictures, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_pictures_may_be_left_out(pictures: Path, tmp_path: Path) -> None:
    write(pictures, {"half.jpg": camera_jpeg()[:900], "half.png": FILES["art/avatar.png"][:300], ".hidden": b"x"})
    told: list[tuple[int, int]] = []
    shown: list[str] = []
    built = make(
        pictures,
        tmp_path / "out",
        skip_broken=True,
        progress=lambda done, total: told.append((done, total)),
        before_signing=lambda prepared: shown.extend(one.path for one in prepared),
    )
    assert [(s.path, s.reason) for s in built.skipped] == [
        (".hidden", "hidden"), ("half.jpg", "broken"), ("half.png", "broken"),
    ]  # fmt: skip
    assert {entry.path for entry in built.manifest.entries} == set(FILES) == set(shown)
    assert told == [(n, 2 * len(FILES) + 4) for n in range(2 * len(FILES) + 5)]
    verify_library(tmp_path / "out")


def test_a_folder_of_nothing_but_damaged_pictures_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "pictures", {"half.jpg": camera_jpeg()[:900]})
    with pytest.raises(BrokenFilesError, match=r"^file: 'half\.jpg': "):
        make(folder, tmp_path / "out", skip_broken=True)
    assert not (tmp_path / "out").exists()


def test_what_is_seen_before_signing_may_stop_it(pictures: Path, tmp_path: Path) -> None:
    def stop(prepared: Sequence[Prepared]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(pictures, tmp_path / "out", before_signing=stop)
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_read_is_named(pictures: Path, tmp_path: Path) -> None:
    def vanish(done: int, total: int) -> None:
        if done == 0:
            (pictures / "notes.txt").unlink()

    with pytest.raises(NotFoundError, match=r"notes\.txt"):
        make(pictures, tmp_path / "out", progress=vanish)
    assert not (tmp_path / "out").exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from ledger.errors import BackendError
from tests.unit import test_library_build as t

resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))  # each write beyond it fails, as on a full disk
try:
    t.make(Path({folder!r}), Path({out!r}))
except BackendError as e:
    print(e)
"""


@pytest.mark.parametrize(
    ("count", "limit", "file"),
    [(1, 1_000, "0.txt.xmp"), (16, 8_000, "dataset_manifest.json"), (60, 8_000, "journal")],
)
def test_a_full_disk_leaves_nothing(tmp_path: Path, count: int, limit: int, file: str) -> None:
    folder = write(tmp_path / "pictures", {f"{n}.txt": b"notes" for n in range(count)})
    program = FULL_DISK.format(root=str(ROOT), folder=str(folder), out=str(tmp_path / "out"), limit=limit)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "cannot write" in result.stdout
    assert f"{file}'" in result.stdout
    assert not (tmp_path / "out").exists()
    assert set(tree(tmp_path / ".out.trainmark-partial") if leftovers(tmp_path) else {}) <= {"journal"}
    assert make(folder, tmp_path / "out").outcome == "new"
    verify_library(tmp_path / "out")


# Other people's rights


@pytest.fixture
def disputed(pictures: Path) -> Path:
    return write(pictures, {"a/stranger.jpg": camera_jpeg(5, "Eve"), "b/stranger.jpg": camera_jpeg(6, "Eve")})


def test_other_peoples_rights_are_reported_together_and_nothing_is_written(disputed: Path, tmp_path: Path) -> None:
    with pytest.raises(RightsConflictError) as error:
        make(disputed, tmp_path / "out")
    assert error.value.code == "rights_conflict"
    found = [(conflict.path, conflict.property) for conflict in error.value.conflicts]
    assert found == [("a/stranger.jpg", "Exif:Artist"), ("b/stranger.jpg", "Exif:Artist")]
    assert "'Eve'" in error.value.conflicts[0].message
    assert "'a/stranger.jpg': Exif:Artist" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_sidecar_leaves_other_peoples_rights_as_they_are(disputed: Path, tmp_path: Path) -> None:
    built = make(disputed, tmp_path / "out", on_conflict="sidecar")
    assert [conflict.path for conflict in built.conflicts] == ["a/stranger.jpg", "b/stranger.jpg"]
    rights = read_rights((tmp_path / "out" / "a" / "stranger.jpg").read_bytes())
    assert rights == {"Exif:Artist": "Eve"}
    assert SAM.did in (tmp_path / "out" / "a" / "stranger.jpg.xmp").read_text()
    assert not (tmp_path / "out" / "camera.jpg.xmp").exists()
    assert "Exif:GPS" in built.stripped["a/stranger.jpg"]
    verify_library(tmp_path / "out")


def test_a_person_may_settle_a_property(disputed: Path, tmp_path: Path) -> None:
    built = make(disputed, tmp_path / "out", decided=["Exif:Artist"])
    assert built.conflicts == ()
    rights = read_rights((tmp_path / "out" / "a" / "stranger.jpg").read_bytes())
    assert (rights["Exif:Artist"], rights["dc:creator"]) == ("Eve", SAM.name)


# New statements


def publication(built: Built, log: str = LOG, key: SigningKey = KEY, by: str = SAM.did) -> Statement:
    return sign_statement("manifest", by, key, log, manifest_body(built.manifest.header.digest))


def test_publishing_adds_the_statement_everywhere(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    before = tree(tmp_path / "out")
    added = publication(built)
    manifest = refresh_statements(tmp_path / "out", added)
    assert [statement.log for statement in manifest.statements] == [None, LOG]
    assert (manifest.header, manifest.entries) == (built.manifest.header, built.manifest.entries)
    after = tree(tmp_path / "out")
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"dataset_manifest.json", *(f"{name}.attribution.json" for name in FILES)}
    for name in FILES:
        assert parse_attribution(after[f"{name}.attribution.json"]).statements == manifest.statements
    assert verify_library(tmp_path / "out").manifest == manifest
    assert refresh_statements(tmp_path / "out", added) == manifest
    assert tree(tmp_path / "out") == after


def test_a_refresh_that_a_crash_cut_off_is_finished_by_the_next(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    before = tree(tmp_path / "out")
    refresh_statements(tmp_path / "out", publication(built))
    after = tree(tmp_path / "out")
    write(tmp_path / "out", {"notes.txt.attribution.json": before["notes.txt.attribution.json"]})
    write(tmp_path / "out", {".trainmark.tmp": b"half a fi"})
    with pytest.raises(DamagedLibraryError, match="with other statements"):
        verify_library(tmp_path / "out")
    refresh_statements(tmp_path / "out", publication(built))
    assert tree(tmp_path / "out") == after
    assert verify_library(tmp_path / "out").foreign == ()


def test_only_the_creators_statement_about_this_manifest_is_taken(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    before = tree(tmp_path / "out")
    eve = SigningKey(bytes(32))
    forged = publication(built)
    withdrawal: Object = {"leaf": 1, "effective_at": "2027-01-01T00:00:00Z"}
    wrong: list[tuple[Statement, str]] = [
        (publication(built, key=eve, by=eve.did), "header-digest"),
        (sign_statement("manifest", SAM.did, KEY, LOG, manifest_body(bytes(32))), "header-digest"),
        (sign_statement("withdraw", SAM.did, KEY, LOG, withdrawal), "malformed"),
        (replaced_signature(forged), "bad-signature"),
    ]
    for statement, code in wrong:
        with pytest.raises((MalformedError, VerificationError)) as error:
            refresh_statements(tmp_path / "out", statement)
        assert error.value.code == code
        assert tree(tmp_path / "out") == before
    with pytest.raises(NotFoundError):
        refresh_statements(tmp_path / "no", forged)


def replaced_signature(statement: Statement) -> Statement:
    value = json.loads(statement.data)
    other = json.loads(sign_statement("manifest", SAM.did, SigningKey(bytes(32)), LOG, value["body"]).data)
    return parse_statement(canonical({**value, "sig": other["sig"]}))


def test_a_refresh_waits_for_nobody(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(ConflictError) as error:
            refresh_statements(tmp_path / "out", publication(built))
        assert error.value.code == "in-use"
    finally:
        os.close(descriptor)


# The check


def test_the_check_names_every_damaged_file(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "out")
    told: list[tuple[int, int]] = []
    verified = verify_library(tmp_path / "out", lambda done, total: told.append((done, total)))
    assert told == [(n, 5) for n in range(6)]
    assert (verified.terms, verified.license_text, verified.foreign) == (TERMS, TEXT.decode(), ())
    write(tmp_path / "out", {"notes.txt": b"x", "art/loop.gif.attribution.json": b"{}"})
    (tmp_path / "out" / "SAM-TRAIN-v1.license.json").unlink()
    with pytest.raises(DamagedLibraryError, match="and 2 more") as error:
        verify_library(tmp_path / "out")
    assert {(problem.path, problem.code) for problem in error.value.problems} == {
        ("SAM-TRAIN-v1.license.json", "not-found"),
        ("notes.txt", "file-mismatch"),
        ("art/loop.gif.attribution.json", "malformed"),
    }


def test_the_check_wants_the_picture_of_the_original(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    values = [json.loads(entry.data) for entry in built.manifest.entries]
    wrong = next(entry for entry in built.manifest.entries if entry.path == "camera.jpg").provenance_hash
    values[[v["path"] for v in values].index("camera.jpg")]["content_hash"] = f"sha256:{wrong.hex()}"
    entries = tuple(read_entry(value) for value in values)
    header = read_header(
        {**json.loads(built.manifest.header.data), "entries_root": f"sha256:{entries_root(entries).hex()}"}
    )
    statement = sign_statement("manifest", SAM.did, KEY, None, manifest_body(header.digest))
    manifest = Manifest(header, entries, (statement,))
    write(tmp_path / "out", {"dataset_manifest.json": format_manifest(manifest)})
    for name, attribution in output.attributions(manifest):
        write(tmp_path / "out", {name: format_attribution(attribution)})
    with pytest.raises(DamagedLibraryError) as error:
        verify_library(tmp_path / "out")
    assert [(p.path, p.code) for p in error.value.problems] == [("camera.jpg", "file-mismatch")]
    assert "content_hash" in error.value.problems[0].message


def test_the_check_wants_metadata_of_this_original(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "out")
    gif, text = (tmp_path / "out" / f"{name}.xmp" for name in ("art/loop.gif", "notes.txt"))
    text.write_bytes(gif.read_bytes())
    gif.unlink()
    with pytest.raises(DamagedLibraryError) as error:
        verify_library(tmp_path / "out")
    assert {(p.path, p.code, p.message) for p in error.value.problems} == {
        ("art/loop.gif", "not-found", "sidecar: no sidecar, and no metadata can be read from the copy"),
        ("notes.txt", "file-mismatch", "provenance_hash: the metadata says something else"),
    }


def test_the_check_wants_the_creators_own_signature(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    manifest = tmp_path / "out" / "dataset_manifest.json"
    eve = SigningKey(bytes(32))
    strange = sign_statement("manifest", eve.did, eve, None, manifest_body(built.manifest.header.digest))
    wrong: list[tuple[tuple[Statement, ...], str]] = [
        ((strange,), "malformed"),
        ((publication(built),), "bad-signature"),
        ((), "bad-signature"),
        ((replaced_null(built),), "bad-signature"),
    ]
    for statements, code in wrong:
        manifest.write_bytes(format_manifest(replace(built.manifest, statements=statements)))
        with pytest.raises((MalformedError, VerificationError)) as error:
            verify_library(tmp_path / "out")
        assert error.value.code == code
    assert make(pictures, tmp_path / "out").outcome == "repaired"
    assert verify_library(tmp_path / "out").manifest == built.manifest
    with pytest.raises(NotFoundError):
        verify_library(tmp_path / "pictures")


def replaced_null(built: Built) -> Statement:
    value = json.loads(built.manifest.statements[0].data)
    other = sign_statement("manifest", SAM.did, KEY, None, manifest_body(bytes(32)))
    return parse_statement(canonical({**value, "sig": json.loads(other.data)["sig"]}))


def test_digests_in_the_files_are_those_of_the_format(pictures: Path, tmp_path: Path) -> None:
    built = make(pictures, tmp_path / "out")
    entry = json.loads(built.manifest.entries[0].data)
    assert digest_decode(entry["provenance_hash"]) == built.manifest.entries[0].provenance_hash
    assert output.license_files("A") == ("A.license.json", "A.license.txt")
