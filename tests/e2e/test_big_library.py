"""A library of 5,000 pictures from the folder to the proof: tagged, published, looked up at once, proved and verified.

Prints how long each step takes; docs/benchmarks.md has the figures of one machine.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from ledger.client import RegistryClient
from ledger.encoding import digest_decode, digest_encode, sha256
from tests.reference import bundle, documents
from tests.support.process import call, serving

PICTURES = 5_000


def draw(folder: Path) -> None:
    """Draws small pictures, no two alike in file or content, in folders of a hundred."""
    for number in range(PICTURES):
        picture = Image.new("RGB", (48, 48), ((number * 37) % 256, (number * 101) % 256, (number // 20) % 256))
        pen = ImageDraw.Draw(picture)
        for bit in range(13):  # the number itself, in blocks a JPEG keeps apart
            if number >> bit & 1:
                x, y = bit % 4 * 12, bit // 4 * 12
                pen.rectangle((x, y, x + 8, y + 8), fill=(255 - number % 200, 255, number % 256))
        path = folder / f"{number // 100:02d}" / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=85)


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{what:40}{time.monotonic() - started:8.2f} s")


@pytest.mark.timeout(600)
def test_five_thousand_pictures(tmp_path: Path) -> None:
    started = time.monotonic()
    with contextlib.chdir(tmp_path), serving(tmp_path / "registry") as server:
        with timed("drawing"):
            draw(Path("pictures"))
        assert call("init", "--no-passphrase", "--name", "Ada Lens", "--url", "https://ada.example/").code == 0
        new = ("license", "new", "--preset", "open", "--id", "ADA-1", "--url", "https://ada.example/1")
        assert call(*new).code == 0
        declared = ("--title", "Big", "--rights", "owned", "--release", "not-required", "--privacy", "none")
        with timed("manifest: tagged, hashed, signed"):
            made = call("manifest", "pictures", "-o", "tagged", "--license", "ADA-1.license.json", *declared, "--json")
        assert (made.code, made.value["entries"], made.value["skipped"]) == (0, PICTURES, []), made.err
        with timed("manifest again: nothing changed"):
            again = call("manifest", "pictures", "-o", "tagged", "--license", "ADA-1.license.json", *declared, "--json")
        assert (again.code, again.value["outcome"], again.value["digest"]) == (0, "unchanged", made.value["digest"])

        with timed("publish"):
            published = call("publish", "tagged", "--to", server.url, "--json")
        assert published.code == 0, published.err
        assert (published.value["decision"], published.value["reasons"]) == ("list", [])
        with timed("publish again"):
            assert call("publish", "tagged", "--to", server.url, "--json").value["leaf"] == published.value["leaf"]

        entries = json.loads(Path("tagged/dataset_manifest.json").read_bytes())["entries"]
        digests = [digest_decode(entry["published_hash"]) for entry in entries]
        assert len(set(digests)) == len({entry["content_hash"] for entry in entries}) == PICTURES
        with RegistryClient(server.url) as client, timed("resolve: all in one request"):
            answers = list(client.resolve(digests))
        assert [answer["digest"] for answer in answers] == [digest_encode(digest) for digest in digests]
        places = [[(c["leaf"], c["entry"]) for c in answer["claims"]] for answer in answers]
        assert places == [[(published.value["leaf"], index)] for index in range(PICTURES)]

        assert call("trust", "add", server.url, "--yes", "--class", "development").code == 0
        trust = bundle.parse_trust(Path("trust.json").read_bytes())
        with timed("prove and verify three"):
            for index in (0, PICTURES // 2, PICTURES - 1):
                path, proof = Path("tagged", entries[index]["path"]), f"{index}.proof.json"
                assert call("prove", path, "-o", proof, "--registry", server.url).code == 0
                assert call("verify", proof, "--file", path).code == 0
                shown = bundle.verify_bundle(Path(proof).read_bytes(), trust, file=path.read_bytes())
                assert {"file", "entry", "header", "checkpoint", "leaves"} <= shown.proved
        with timed("check the first hundred"):
            checked = call("check", "tagged/00", "--registry", server.url, "--json")
        pictures = [v for v in checked.value["verdicts"] if v["file"].endswith(".jpg")]
        assert [v["verdict"] for v in pictures] == ["allow"] * 100
        with timed("the reference reads the manifest"):
            whole = documents.verify_manifest(Path("tagged/dataset_manifest.json").read_bytes())
        assert whole.digest == made.value["digest"]
        assert [sha256(Path("tagged", str(e["path"])).read_bytes()) for e in whole.entries] == digests
    print(f"{'all':40}{time.monotonic() - started:8.2f} s")
