"""Makes ledger/cli/demo_pictures: photographs with a clear license each, and avatars drawn here.

The photographs come from the scikit-image wheel (PyPI) and from Debian's lomiri-wallpapers-16.04; fetch both, then run
from the root of the checkout::

    python -m scripts.make_demo_pictures scikit_image-0.26.0-….whl lomiri-wallpapers-16.04_….deb

Some are made smaller, which makes them derived works; ``credits.json`` says so for each.  Two get the Exif of a
made-up camera with a place in the Atlantic, so that an audit of the set has something to find.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeAlias

from PIL import Image, ImageDraw

from tests.support import pictures as p

TARGET = Path("ledger/cli/demo_pictures")
CC0 = ("CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/")
CC_BY = ("CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/")
PUBLIC = ("public domain", "https://creativecommons.org/publicdomain/mark/1.0/")
SCIKIT, LOMIRI = "scikit-image 0.26.0, skimage/data/", "lomiri-wallpapers-16.04 20.04.0-2, "
AITZOL = "Aitzol Berasategi"


class Photograph(NamedTuple):
    """``side`` is the longer side it is made to have; 0 keeps the file as it is."""

    name: str
    source: str
    member: str
    title: str
    author: str
    license: tuple[str, str]
    side: int = 0
    exif: int = 0


PHOTOGRAPHS = (
    Photograph("cat.png", SCIKIT, "chelsea.png", "Chelsea the cat", "Stefan van der Walt", CC0),
    Photograph("coffee.webp", SCIKIT, "coffee.png", "Coffee cup", "Rachel Michetti (Pikolo Espresso Bar)", CC0, 600),
    Photograph("rocket.jpg", SCIKIT, "rocket.jpg", "Rocket on its launch pad", "SpaceX", PUBLIC),
    Photograph("deep-field.jpg", SCIKIT, "hubble_deep_field.jpg", "Hubble eXtreme Deep Field", "NASA", PUBLIC, 700),
    Photograph("retina.jpg", SCIKIT, "retina.jpg", "Fundus of a left eye", "Mikael Häggström", CC0, 700),
    Photograph("bricks.png", SCIKIT, "brick.png", "Bricks", "CC0Textures", CC0),
    Photograph("astronaut.jpg", SCIKIT, "astronaut.png", "Eileen Collins, astronaut", "NASA", PUBLIC, 512),
    Photograph("friends.jpg", LOMIRI, "friends_by_Aitzol_Berasategi.jpg", "Two dogs", AITZOL, CC_BY, 1000, 6),
    Photograph("sunset.jpg", LOMIRI, "sunset_by_Aitzol_Berasategi.jpg", "Sunset", AITZOL, CC_BY, 1000, 1),
    Photograph(
        "mountains.jpg", LOMIRI, "picosdeeuropa_by_Aitzol_Berasategi.jpg", "Picos de Europa", AITZOL, CC_BY, 1000
    ),
    Photograph("stream.jpg", LOMIRI, "life_by_Aitzol_Berasategi.jpg", "Stream in a wood", AITZOL, CC_BY, 1000),
    Photograph(
        "dandelion.jpg", LOMIRI, "seeding_by_Clements_Engelhardt.jpg", "Dandelions", "Clemens Engelhardt", CC0, 1000
    ),
    Photograph("fig.jpg", LOMIRI, "Picture_0B_by_freespace.jpg", "Fig in a bowl", 'Trevor "Freespace"', CC_BY, 1000),
    Photograph("brushes.jpg", LOMIRI, "Picture_1A_by_freespace.jpg", "Brushes", 'Trevor "Freespace"', CC_BY, 1000),
    Photograph("drum.jpg", LOMIRI, "Wine_by_Jakkub_Mede.jpg", "Drum and wine", "Jakub Mede", CC_BY, 1000),
)


def main(wheel: Path, package: Path) -> None:
    """Writes the pictures, ``credits.json`` and ``CREDITS.md``."""
    shutil.rmtree(TARGET, ignore_errors=True)
    credits = []
    for photograph in PHOTOGRAPHS:
        original = read_source(photograph, wheel, package)
        data = rendition(photograph, original)
        changes = []
        if data != original:
            changes.append(f"derived work: made smaller ({photograph.side} pixels) and encoded again")
        if photograph.exif:
            changes.append("Exif of a made-up camera and place added")
        folder = "" if photograph.source == SCIKIT else "usr/share/backgrounds/"
        credits.append(
            credit(f"photographs/{photograph.name}", data, photograph.title, photograph.author, photograph.license)
            | {"source": photograph.source + folder + photograph.member, "changes": "; ".join(changes) or "none"}
        )
    for number, face in enumerate(FACES, 1):
        data = p.encoded(draw(face, number), "PNG", optimize=True)
        credits.append(
            credit(f"avatars/{face.name}.png", data, f"Avatar {number}", "The Trainmark authors", CC0)
            | {"source": "drawn by scripts/make_demo_pictures.py", "changes": "none"}
        )
    (TARGET / "credits.json").write_text(json.dumps(credits, indent=1, ensure_ascii=False) + "\n")
    (TARGET / "CREDITS.md").write_text(page(credits))
    print(sum(file.stat().st_size for file in TARGET.rglob("*") if file.is_file()), "bytes")


def credit(path: str, data: bytes, title: str, author: str, license: tuple[str, str]) -> dict[str, str]:
    """Writes the file and returns what its line in the credits says of it."""
    file = TARGET / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    name, url = license
    digest = sha256(data).hexdigest()
    return {"path": path, "title": title, "author": author, "license": name, "license_url": url, "sha256": digest}


def page(credits: list[dict[str, str]]) -> str:
    """Returns the credits for people to read."""
    lines = [
        "# Credits of the demo pictures",
        "",
        "Each picture with its author, license and source. `credits.json` has the same with the SHA-256 of each file.",
        "",
        "| file | title | author | license | source | changes |",
        "|---|---|---|---|---|---|",
    ]
    for line in credits:
        license = f"[{line['license']}]({line['license_url']})"
        cells = (line["path"], line["title"], line["author"], license, line["source"], line["changes"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read_source(photograph: Photograph, wheel: Path, package: Path) -> bytes:
    """Returns the file of a photograph from the package it comes in."""
    if photograph.source == SCIKIT:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(f"skimage/data/{photograph.member}")
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        file = members.extractfile(f"./usr/share/backgrounds/{photograph.member}")
        assert file is not None
        return file.read()


def rendition(photograph: Photograph, original: bytes) -> bytes:
    """Returns the file to ship: smaller, without metadata but what is made up here."""
    if not photograph.side:
        return original
    with Image.open(io.BytesIO(original)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((photograph.side, photograph.side), Image.Resampling.LANCZOS)
    if photograph.exif == 6:  # a camera held upright: the sensor's rows are the picture's columns
        image = image.transpose(Image.Transpose.ROTATE_90)
    if photograph.name.endswith(".webp"):
        return p.encoded(image, "WEBP", quality=82, method=6)
    data = p.encoded(image, "JPEG", quality=82, progressive=True, optimize=True)
    if photograph.exif:
        data = p.with_segments(data, p.exif_segment(p.exif_block(photograph.exif)), at=2)
    return data


# Avatars

Shape: TypeAlias = Callable[..., None]


class Face(NamedTuple):
    name: str
    back: str
    shirt: str
    skin: str
    hair: str
    style: str
    extra: str = ""
    mouth: str = "smile"


FACES = (
    Face("amber", "#ffd9a0", "#e4572e", "#f2c9a1", "#5b3a29", "bob", "glasses"),
    Face("basil", "#b7e4c7", "#2d6a4f", "#8d5a3a", "#1f1512", "short", "beard"),
    Face("coral", "#ffc8c2", "#3d5a80", "#c98d63", "#2b1b12", "bun", "earrings", "grin"),
    Face("dusk", "#cdb4f0", "#4a2c82", "#6b4128", "#17100c", "curls", "earrings"),
    Face("ember", "#ffe8a3", "#9b2226", "#ffdcc0", "#c1440e", "long", "freckles", "grin"),
    Face("fern", "#d3efb5", "#386641", "#e8b58c", "#e9c46a", "short", "glasses", "grin"),
    Face("glacier", "#bfe6f5", "#1d3557", "#f7d6bd", "#dfe3e6", "short", "beard"),
    Face("hazel", "#f1dcc0", "#7f5539", "#b87a4f", "#3b2417", "long", "", "grin"),
    Face("indigo", "#c3cdfb", "#2b2d73", "#d9a178", "#3a0ca3", "scarf", "", "smile"),
    Face("jade", "#b9efe0", "#087e6b", "#f0c7a0", "#1b1b1e", "fringe", "earrings"),
    Face("koi", "#ffd6c2", "#f4f1de", "#8a5433", "#1a120e", "bald", "beard", "grin"),
    Face("lilac", "#ead7f7", "#8e5aa8", "#ffd9be", "#f2cc8f", "tails", "freckles"),
    Face("maple", "#ffcf9c", "#33415c", "#a66a43", "#d1495b", "beanie", "", "grin"),
    Face("nori", "#c9dfd0", "#10312b", "#eabf97", "#101820", "bob", "", "smile"),
    Face("ocean", "#a9def9", "#ff7d00", "#7a4a2d", "#22577a", "beanie", "glasses"),
    Face("poppy", "#ffc6d3", "#d00036", "#f5cda8", "#7a1f1f", "curls", "", "grin"),
    Face("quartz", "#efe3ea", "#6d6875", "#f8d9c4", "#b8b2b9", "bun", "glasses"),
    Face("river", "#bde0fe", "#023e8a", "#b9794d", "#20130c", "curls", "", "smile"),
    Face("saffron", "#fff0b5", "#ca6702", "#9c6240", "#e09f1f", "scarf", "glasses", "grin"),
    Face("teal", "#b2ece8", "#006d77", "#fbd5b5", "#a44a3f", "short", "freckles", "grin"),
    Face("umber", "#e6ccb2", "#432818", "#5c3822", "#0e0a08", "tails", "earrings", "grin"),
    Face("violet", "#dcc7ff", "#f72585", "#e3ab80", "#560bad", "bun", "freckles"),
    Face("willow", "#dcebb8", "#588157", "#7f4f30", "#1e140e", "afro", "glasses", "grin"),
    Face("zephyr", "#d7e3ee", "#457b9d", "#ffe0c9", "#8d99ae", "bald", "glasses"),
)
SIZE, SCALE = 256, 4


def draw(face: Face, number: int) -> Image.Image:
    """Draws one avatar before its own scene, four times as large first, so that edges are smooth."""
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), face.back)
    pen = ImageDraw.Draw(image)
    dark = shade(face.skin, 0.82)

    def oval(x: float, y: float, rx: float, ry: float, fill: str) -> None:
        pen.ellipse([SCALE * v for v in (x - rx, y - ry, x + rx, y + ry)], fill=fill)

    def box(x: float, y: float, rx: float, ry: float, radius: float, fill: str) -> None:
        pen.rounded_rectangle([SCALE * v for v in (x - rx, y - ry, x + rx, y + ry)], radius * SCALE, fill=fill)

    def arc(x: float, y: float, rx: float, ry: float, start: int, end: int, width: float, fill: str) -> None:
        area = [SCALE * v for v in (x - rx, y - ry, x + rx, y + ry)]
        pen.arc(area, start, end, fill=fill, width=int(width * SCALE))

    scene(number, face, oval, box, pen)
    hair_behind(face, oval, box)
    box(128, 262, 84, 66, 56, face.shirt)
    arc(128, 196, 34, 24, 20, 160, 5, shade(face.shirt, 0.8))
    box(128, 190, 21, 30, 18, dark)
    for side in (-1, 1) if face.style != "scarf" else ():
        oval(128 + side * 57, 128, 12, 15, face.skin)
        oval(128 + side * 57, 128, 6, 8, dark)
    box(128, 122, 56, 66, 52, face.skin)
    if "beard" in face.extra:
        pen.pieslice(
            [SCALE * v for v in (72, 84, 184, 192)], 8, 172, fill=face.hair if face.style != "bald" else "#2f2019"
        )
        box(128, 130, 44, 28, 24, face.skin)
    for side in (-1, 1):
        oval(128 + side * 33, 146, 11, 7, blush(face.skin))
        oval(128 + side * 23, 122, 7, 9, "#221c1c")
        oval(128 + side * 23 + 2, 119, 2.4, 2.8, "#ffffff")
        brow = shade(face.hair, 0.7) if face.style not in ("bald", "beanie", "scarf") else "#3a2a22"
        arc(128 + side * 23, 110, 12, 8, 205, 335, 4, brow)
    arc(128, 134, 7, 8, 20, 160, 4, dark)
    if face.mouth == "grin":
        pen.chord([SCALE * v for v in (110, 136, 146, 170)], 8, 172, fill="#6d1f26")
        pen.chord([SCALE * v for v in (116, 138, 140, 160)], 12, 168, fill="#ffffff")
    else:
        arc(128, 148, 17, 14, 20, 160, 5, "#8a3b3b")
    if "freckles" in face.extra:
        for x, y in ((-40, 138), (-33, 142), (-27, 138), (27, 138), (33, 142), (40, 138)):
            oval(128 + x, y - 1, 2.2, 2.2, shade(face.skin, 0.72))
    hair_before(face, oval, box, pen)
    if "glasses" in face.extra:
        for side in (-1, 1):
            arc(128 + side * 24, 123, 20, 19, 0, 360, 4.5, "#2d2a32")
            pen.line(
                [SCALE * (128 + side * 44), SCALE * 120, SCALE * (128 + side * 58), SCALE * 116], "#2d2a32", 4 * SCALE
            )
        arc(128, 122, 6, 6, 190, 350, 4.5, "#2d2a32")
    if "earrings" in face.extra:
        for side in (-1, 1):
            oval(128 + side * 60, 148, 5.5, 5.5, "#f6c945")
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def scene(number: int, face: Face, oval: Shape, box: Shape, pen: ImageDraw.ImageDraw) -> None:
    """Draws what is behind a person: eight kinds, each in three places, so that avatars do not look alike."""
    kind, place = number % 8, number // 8 % 3
    dark, light = mixed(face.back, face.shirt), shade(face.back, 1.12)
    side = (-1, 1, 0)[place]
    if kind == 0:
        oval(128 + 50 * side, 118, 104, 104, dark)
    elif kind == 1:
        for row in range(-1, 9):
            corner = 44 * row
            slant = 60 if side == 0 else 130 * side
            pen.line([SCALE * v for v in (-20, corner, 276, corner + slant)], dark if row % 2 else light, 22 * SCALE)
    elif kind == 2:
        for column in range(5):
            for row in range(5):
                if (row + column + place) % 2:
                    oval(16 + 56 * column, 16 + 56 * row, 19 + 4 * place, 19 + 4 * place, dark)
    elif kind == 3:
        oval(40 + 88 * (place + side), 250, 190, 130, dark)
        oval(226 - 70 * place, 44, 26, 26, light)
    elif kind == 4:
        box(72 + 56 * place, 128, 46, 190, 0, dark)
    elif kind == 5:
        center = (30 + 98 * place, 20 + 40 * place)
        for turn in range(place * 9, 360, 40):
            area = [SCALE * v for v in (center[0] - 380, center[1] - 380, center[0] + 380, center[1] + 380)]
            pen.pieslice(area, turn, turn + 20, fill=dark)
    elif kind == 6:
        for row in range(place, 6, 2 if place else 3):
            box(128, 24 + 44 * row, 190, 14 + 5 * place, 0, dark)
    else:
        oval(256 * (place % 2), 0, 120, 120, dark)
        oval(256 * ((place + 1) % 2), 256 - 90 * place, 110, 110, light)


def hair_behind(face: Face, oval: Shape, box: Shape) -> None:
    """Draws what lies behind the head."""
    hair = face.hair
    if face.style in ("long", "bob"):
        box(128, 138 if face.style == "bob" else 160, 74, 82 if face.style == "bob" else 104, 66, hair)
    if face.style == "bun":
        oval(128, 42, 27, 25, hair)
        oval(128, 110, 65, 62, hair)
    if face.style == "tails":
        for side in (-1, 1):
            oval(128 + side * 76, 120, 24, 40, hair)
        oval(128, 104, 62, 56, hair)
    if face.style == "afro":
        oval(128, 100, 88, 80, hair)
    if face.style == "curls":
        for turn in range(0, 360, 24):
            radius = 24 if turn > 180 or turn == 0 else 20
            oval(128 + 60 * math.cos(math.radians(turn)), 106 + 54 * math.sin(math.radians(turn)), radius, radius, hair)
    if face.style == "scarf":
        box(128, 140, 74, 88, 66, hair)


def hair_before(face: Face, oval: Shape, box: Shape, pen: ImageDraw.ImageDraw) -> None:
    """Draws what falls onto the forehead."""
    hair = face.hair

    def cap(top: int, bottom: int, fill: str) -> None:
        pen.chord([SCALE * v for v in (70, top, 186, bottom)], 180, 360, fill=fill)

    if face.style in ("short", "bob", "long", "bun", "tails"):
        cap(50, 138, hair)
        pen.pieslice([SCALE * v for v in (60, 58, 150, 130)], 180, 300, fill=hair)
    if face.style == "short":
        box(128, 64, 52, 16, 15, hair)
    if face.style in ("curls", "afro"):
        box(128, 62, 44, 18, 14, hair)
        for x in (-42, -21, 0, 21, 42):
            oval(128 + x, 70 + abs(x) * 0.28, 18, 16, hair)
    if face.style == "fringe":
        cap(46, 150, hair)
        for x in (-40, -16, 8, 32):
            box(128 + x, 92, 15, 15, 9, hair)
    if face.style == "beanie":
        cap(34, 158, hair)
        box(128, 92, 62, 12, 11, shade(hair, 0.82))
        oval(128, 36, 14, 13, shade(hair, 1.2))
    if face.style == "scarf":
        cap(44, 158, hair)
        box(128, 204, 52, 22, 20, shade(hair, 0.86))


def shade(color: str, factor: float) -> str:
    """Returns `color` darker (below 1) or lighter."""
    parts = [min(255, round(int(color[at : at + 2], 16) * factor)) for at in (1, 3, 5)]
    return "#" + "".join(f"{part:02x}" for part in parts)


def mixed(color: str, other: str) -> str:
    """Returns `color` with a third of `other`."""
    parts = [(2 * int(color[at : at + 2], 16) + int(other[at : at + 2], 16)) // 3 for at in (1, 3, 5)]
    return "#" + "".join(f"{part:02x}" for part in parts)


def blush(skin: str) -> str:
    """Returns the color of cheeks on `skin`."""
    red, green, blue = (int(skin[at : at + 2], 16) for at in (1, 3, 5))
    return f"#{min(255, red + 14):02x}{round(green * 0.82):02x}{round(blue * 0.82):02x}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
