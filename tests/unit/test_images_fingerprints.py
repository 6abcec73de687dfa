"""Fingerprints: stable over what a copy goes through, absent where they tell nothing, computed at a distance."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from ledger.errors import BackendError
from ledger.images import worker as worker_module
from ledger.images.fingerprints import Fingerprints, compute, examine, fingerprints
from ledger.images.worker import Worker
from tests.support import pictures as p

PHOTO = p.drawing(600, 400)


def distance(one: str | None, other: str | None) -> int:
    assert one is not None
    assert other is not None
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_keys_and_known_answer() -> None:
    """Pins the normalization; a change of it makes all stored codes strangers."""
    assert fingerprints(p.encoded(checks(), "PNG")) == {
        "dhash": KNOWN.dhash,
        "iscc": KNOWN.iscc,
        "pdq": None,
    }


def checks() -> Image.Image:
    """A picture made of whole numbers, so that no library had a part in it."""
    return Image.frombytes(
        "L",
        (96, 64),
        bytes((x * x * 3 + y * 7 + (x // 16) * (y // 8) * 40) % 256 for y in range(64) for x in range(96)),
    )


KNOWN = Fingerprints(
    dhash="4de955a922195ab1e9d9a5e9db29cb19b5b15d293a6128a95529e649829199a9",
    iscc="ad884a00ef7fcc9c56468400ffe6e6cecc6323c03e12f3dde739307d1f010b67",
)


def test_dhash_by_the_definition() -> None:
    image = p.drawing(17, 16, "L")
    bits = [image.getpixel((x, y)) > image.getpixel((x + 1, y)) for y in range(16) for x in range(16)]  # type: ignore[operator]
    expected = int("".join("01"[bit] for bit in bits), 2)
    assert examine(p.encoded(image, "PNG")).dhash == f"{expected:064x}"


@pytest.mark.parametrize(
    ("name", "data", "iscc", "dhash"),
    [
        ("jpeg-75", p.encoded(PHOTO, "JPEG", quality=75), 16, 8),
        ("webp", p.encoded(PHOTO, "WEBP", quality=80), 16, 8),
        ("avif", p.encoded(PHOTO, "AVIF", quality=70), 16, 8),
        ("half", p.encoded(PHOTO.resize((300, 200)), "JPEG"), 16, 8),
        ("gray", p.encoded(PHOTO.convert("L"), "PNG"), 4, 4),
        ("brighter", p.encoded(ImageEnhance.Brightness(PHOTO).enhance(1.2), "PNG"), 31, 24),
        ("cmyk", p.encoded(PHOTO.convert("CMYK"), "JPEG", quality=90), 16, 8),
        ("opaque", p.encoded(PHOTO.convert("RGBA"), "PNG"), 0, 0),
    ],
)
def test_copies_stay_near(name: str, data: bytes, iscc: int, dhash: int) -> None:
    original, copy = examine(p.encoded(PHOTO, "PNG")), examine(data)
    assert distance(original.iscc, copy.iscc) <= iscc
    assert distance(original.dhash, copy.dhash) <= dhash


def test_other_pictures_are_far() -> None:
    original, other = examine(p.encoded(PHOTO, "PNG")), examine(p.encoded(PHOTO.rotate(90, expand=True), "PNG"))
    assert distance(original.iscc, other.iscc) > 60
    assert distance(original.dhash, other.dhash) > 60


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(orientation: int, undo: Image.Transpose, format: str) -> None:
    stored = PHOTO.transpose(undo)
    if format == "JPEG":
        data = p.with_segments(p.encoded(stored, format, quality=95), p.exif_segment(p.exif_block(orientation)), at=2)
    elif format == "TIFF":
        entries, strips, order = p.split_tiff(p.encoded(stored, format))
        data = p.tiff({**entries, 274: (3, [orientation])}, strips, order)
    else:
        data = p.encoded(
            stored, format, exif=p.exif_block(orientation), **({"lossless": True} if format == "WEBP" else {})
        )
    upright, turned = examine(p.encoded(PHOTO, "PNG")), examine(data)
    assert distance(upright.iscc, turned.iscc) <= 16
    assert distance(upright.dhash, turned.dhash) <= 8


def test_alpha_lies_on_white_in_every_form() -> None:
    size = (64, 64)
    shape = Image.radial_gradient("L").resize(size)
    image = p.drawing(*size)
    on_white = Image.composite(image, Image.new("RGB", size, "white"), shape)
    image.putalpha(shape)
    expected = examine(p.encoded(on_white, "PNG"))
    for data in (
        p.encoded(image, "PNG"),
        p.encoded(image, "WEBP", lossless=True, exact=True),
        p.encoded(image, "TIFF"),
    ):
        found = examine(data)
        assert distance(found.iscc, expected.iscc) <= 8
        assert distance(found.dhash, expected.dhash) <= 4
    palette = p.drawing(*size, mode="P")
    keyed = examine(p.encoded(palette, "PNG", transparency=0))
    white = Image.composite(
        Image.new("RGB", size, "white"), palette.convert("RGB"), palette.point(lambda i: 255 * (i == 0), "1")
    )
    assert keyed == examine(p.encoded(white, "PNG"))


def test_16_bit_samples_keep_their_high_byte() -> None:
    deep = p.drawing(mode="I;16")
    plain = Image.frombytes("L", deep.size, deep.tobytes()[1::2])
    assert examine(p.encoded(deep, "PNG")) == examine(p.encoded(plain, "PNG"))


@pytest.mark.parametrize("color", ["black", "white", "#7f3020"])
def test_flat_pictures_have_no_code(color: str) -> None:
    assert examine(p.encoded(Image.new("RGB", (64, 64), color), "PNG")) == Fingerprints()


def test_detail_guard_is_exact() -> None:
    """A row of rising pixels gives zeros; each falling step sets one bit."""

    def steps(count: int) -> str | None:
        rows = [list(range(100, 117)) for _ in range(16)]
        for n in range(count):
            rows[n // 8][2 * (n % 8)] += 5
        image = Image.frombytes("L", (17, 16), bytes(value for row in rows for value in row))
        return examine(p.encoded(image, "PNG")).dhash

    assert steps(23) is None
    found = steps(24)
    assert found is not None
    assert int(found, 16).bit_count() == 24


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unsupported"),
        (b"a text", "unsupported"),
        (p.encoded(p.drawing(), "PPM"), "unsupported"),
        (p.encoded(p.drawing(), "JPEG2000"), "damaged"),
        (p.encoded(Image.new("F", (32, 32)), "TIFF"), "unsupported"),
        (p.jpeg()[:600], "damaged"),
        (p.png()[:600], "damaged"),
        (p.encoded(Image.new("1", (9_000, 9_000)), "PNG"), "too-large"),
    ],
)
def test_what_cannot_be_decoded_has_a_reason(data: bytes, reason: str) -> None:
    assert examine(data) == Fingerprints(reason=reason)


def test_progressive_bombs_are_counted_before_they_are_decoded() -> None:
    parts = p.split_jpeg(p.jpeg(progressive=True))
    bomb = b"".join([*parts[:-1], *parts[-2:-1] * 200, parts[-1]])
    start = time.monotonic()
    assert examine(bomb) == Fingerprints(reason="too-many-scans")
    # What the strict walk refuses, a decoder may still work on: then the scans are counted without it.
    assert examine(p.with_segments(bomb, b"\xff\0")) == Fingerprints(reason="too-many-scans")
    assert time.monotonic() - start < 30


# The process


def pid_of(worker: Worker) -> int:
    assert worker._process is not None
    return worker._process.pid


def test_a_process_that_hangs_costs_one_file() -> None:
    with Worker(wall_seconds=0.3) as limited:
        expected = limited.examine(p.png())
        first = pid_of(limited)
        os.kill(first, signal.SIGSTOP)
        assert limited.examine(p.png()) == Fingerprints(reason="time-limit")
        assert limited.examine(p.png()) == expected
        assert pid_of(limited) != first


def test_a_process_that_dies_costs_one_file() -> None:
    with Worker() as limited:
        expected = limited.examine(p.png())
        first = pid_of(limited)
        os.kill(first, signal.SIGSTOP)
        timer = threading.Timer(0.2, os.kill, (first, signal.SIGKILL))
        timer.start()
        assert limited.examine(p.png()) == Fingerprints(reason="crashed")
        timer.join()
        assert limited.examine(p.png()) == expected
        assert pid_of(limited) != first


def test_processor_time_is_limited() -> None:
    """Ninety scans over 64 million pixels: below every other limit."""
    parts = p.split_jpeg(p.encoded(Image.new("L", (8_000, 8_000), 90), "JPEG", progressive=True))
    slow = b"".join([*parts[:-1], *parts[-2:-1] * 90, parts[-1]])
    with Worker(cpu_seconds=1) as limited:
        assert limited.examine(slow) == Fingerprints(reason="cpu-limit")
        assert limited.examine(p.png()).reason is None


def test_processor_time_counts_for_each_file_not_for_the_life() -> None:
    data = p.encoded(Image.new("RGB", (6_000, 4_000), 90), "JPEG")
    with Worker(cpu_seconds=1) as limited:
        limited.examine(data)
        first = pid_of(limited)
        used = 0.0
        while used < 3:
            assert limited.examine(data).reason is None
            fields = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        assert pid_of(limited) == first


def test_memory_and_files_are_limited() -> None:
    with Worker() as limited:
        limited.examine(p.png())
        status = Path(f"/proc/{pid_of(limited)}/limits").read_text()
    assert f"Max address space         {worker_module.MEMORY}" in status
    assert "Max file size             0" in status


def test_environment_of_the_parent_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "do not inherit me")
    with Worker() as limited:
        limited.examine(p.png())
        environment = Path(f"/proc/{pid_of(limited)}/environ").read_bytes()
    assert b"do not inherit me" not in environment


def test_a_worker_is_shared_by_threads() -> None:
    files = [p.png(seed=seed) for seed in range(1, 7)]
    expected = [compute(data) for data in files]
    found: dict[int, Fingerprints] = {}
    with Worker() as limited:
        threads = [
            threading.Thread(target=lambda n=n: found.__setitem__(n, limited.examine(files[n])))
            for n in range(len(files))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [found[n] for n in range(len(files))] == expected


def test_a_process_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Worker() as limited, pytest.raises(BackendError):
        limited.examine(p.png())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Worker() as limited, pytest.raises(BackendError):
        limited.examine(p.png())


def test_demo_pictures_do_not_look_alike() -> None:
    """The demo has no pair that a candidate search would put before a person."""
    folder = Path(__file__).parent.parent.parent / "ledger" / "cli" / "demo_pictures"
    found = [(file.name, examine(file.read_bytes())) for file in sorted(folder.glob("*/*"))]
    assert len(found) == 39
    for number, (name, one) in enumerate(found):
        for other_name, other in found[:number]:
            assert distance(one.iscc, other.iscc) > 31, (name, other_name)
            assert distance(one.dhash, other.dhash) > 16, (name, other_name)
