"""The demo pictures: each is credited, is what its credit says, and shows what an audit can find."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from ledger.images.content import content_hash
from ledger.images.embed import read_rights, strip_private

FOLDER = Path(__file__).parent.parent.parent / "ledger" / "cli" / "demo_pictures"
CREDITS: list[dict[str, str]] = json.loads((FOLDER / "credits.json").read_text())


def test_every_file_is_credited_with_a_license() -> None:
    files = {str(file.relative_to(FOLDER)) for file in FOLDER.glob("*/*")}
    assert {line["path"] for line in CREDITS} == files
    for line in CREDITS:
        assert line["license"] in ("CC0-1.0", "CC-BY-4.0", "public domain")
        assert line["license_url"].startswith("https://creativecommons.org/")
        assert line["author"]
        assert line["source"]
        assert sha256((FOLDER / line["path"]).read_bytes()).hexdigest() == line["sha256"]


def test_credits_for_people_say_the_same() -> None:
    page = (FOLDER / "CREDITS.md").read_text()
    for line in CREDITS:
        cells = (line["path"], line["title"], line["author"], f"[{line['license']}]({line['license_url']})")
        assert f"| {' | '.join((*cells, line['source'], line['changes']))} |" in page


def test_the_set_is_small_and_without_rights_of_others() -> None:
    files = list(FOLDER.glob("*/*"))
    assert sum(file.stat().st_size for file in files) <= 3_000_000
    for file in files:
        data = file.read_bytes()
        assert content_hash(data) is not None, file.name
        assert read_rights(data) == {}, file.name


def test_two_photographs_name_a_place_and_a_device() -> None:
    found = {file.name for file in FOLDER.glob("*/*") if strip_private(file.read_bytes())[1]}
    assert found == {"friends.jpg", "sunset.jpg"}
