"""How fast pictures are hashed, tagged and fingerprinted, beside bare SHA-256 of the same bytes in the same run.

Run: ``python -m benchmarks.images [seconds per measurement]``.  One process, one thread, files in
memory; ``examine`` hands them to the decoding process, ``compute`` decodes here.  Floors, for a second of processor
time: content hash 200 MB, embedding 400 files, fingerprints of 1.1 megapixels 120 files.
"""

from __future__ import annotations

import io
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from PIL import Image

from ledger.images.content import content_hash
from ledger.images.embed import Rights, embed, strip_private
from ledger.images.fingerprints import compute, examine

RIGHTS = Rights(
    creator_name="Ada Lens",
    rights_line="© 2026 Ada Lens",
    license_url="https://registry.example/licenses/1",
    usage_terms="Training needs a license; see the license page.",
    data_mining="DMI-PROHIBITED-SEELINKEDRIGHTSEXPR",
    licensor_url="https://registry.example/creators/ada",
    licensor_name="Ada Lens",
    model_release="MR-NAP",
    property_release="PR-NAP",
    credit="Ada Lens",
    digital_source_type="digitalCapture",
    creator_id="did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
    license_id="urn:uuid:9f1c5a3e-3c1b-4c8e-9d2a-111111111111",
    license_digest="sha256:" + "ab" * 32,
    provenance_hash="sha256:" + "cd" * 32,
    attribution_url="https://registry.example/a/1",
)


def main(seconds: float = 3.0) -> None:
    """Prints one JSON line per measurement."""
    print(json.dumps({"python": platform.python_version(), "cores": os.cpu_count(), "machine": platform.machine()}))
    mixed = pictures()
    for name, files in (
        ("mixed", mixed),
        ("jpeg", [data for data in mixed if data[:2] == b"\xff\xd8"]),
        ("png", [data for data in mixed if data[:4] == b"\x89PNG"]),
        ("webp", [data for data in mixed if data[:4] == b"RIFF"]),
    ):
        measure(f"sha256 {name}", files, lambda data: sha256(data).digest(), seconds)
        measure(f"content_hash {name}", files, content_hash, seconds)
        measure(f"embed {name}", files, lambda data: embed(data, RIGHTS), seconds)
    measure("strip_private mixed", mixed, strip_private, seconds)
    measure("compute mixed", mixed, compute, seconds)
    measure("examine mixed", mixed, examine, seconds)
    large = encoded(picture(1200, 900, 1), "JPEG", quality=85)
    measure("compute 1.1 MP JPEG", [large], compute, seconds)
    measure("examine 1.1 MP JPEG", [large], examine, seconds)


def measure(name: str, files: list[bytes], work: Callable[[bytes], Any], seconds: float) -> None:
    """Repeats `work` over `files` for about `seconds` and prints the rate."""
    count = size = 0
    start, used = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - start) < seconds:
        for data in files:
            work(data)
            count += 1
            size += len(data)
    used = time.process_time() - used  # of this process: on a busy machine the more honest figure
    rates = {"files_per_second": round(count / elapsed), "mb_per_second": round(size / elapsed / 1e6, 1)}
    if work is not examine:
        rates |= {"files_per_cpu_second": round(count / used), "mb_per_cpu_second": round(size / used / 1e6, 1)}
    print(json.dumps({"what": name, "mean_kb": round(size / count / 1e3, 1)} | rates), flush=True)


def pictures() -> list[bytes]:
    """Returns files of about 120 KB in the mean: eight JPEGs to one PNG and one WebP."""
    sizes = ((800, 600), (640, 480), (900, 600), (700, 700), (1000, 620), (560, 800), (720, 540), (860, 640))
    files = [encoded(picture(*size, n), "JPEG", quality=88, progressive=n % 3 == 0) for n, size in enumerate(sizes)]
    return [*files, encoded(picture(256, 192, 8), "PNG"), encoded(picture(800, 600, 9), "WEBP", quality=85)]


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Returns a picture with as much detail as a photograph has."""
    layers = [
        Image.effect_mandelbrot((width, height), (-1.8 + seed / 40 + shift, -1, 0.8 + shift, 1), 60)
        for shift in (0, 0.1, 0.2)
    ]
    noise = Image.effect_noise((width, height), 24)
    return Image.blend(Image.merge("RGB", layers), Image.merge("RGB", [noise] * 3), 0.25)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """Returns `image` as a file."""
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
