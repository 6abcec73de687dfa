"""The curve of ``benchmarks/audit.py`` and ``benchmarks/append.py`` over logs of three sizes, as a picture.

Writes ``docs/images/curve.svg``: statements per second against the size of the log, each beside its yardstick in the
same run.  An audit counts processor seconds and appending the batch in the middle, so that neighbors on the machine
decide less.  What was measured before lies in ``curve.json`` beside this script; of each size the run with the better
yardstick counts, since the yardstick is what the machine gave.

    python benchmarks/curve.py [LEAVES ...]         measures at these sizes first, and prints what it found
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import TypeAlias

from benchmarks import append, audit

Points: TypeAlias = "dict[int, tuple[float, float]]"
"""The rate and its yardstick, by size."""

MEASURED = Path(__file__).parent / "curve.json"
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "curve.svg"

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 72, 190, 46, 52
LOW, HIGH = 2_000, 200_000
"""The rates at the lower and the upper edge: a logarithmic scale shows half as the same step everywhere."""

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .grid { stroke: #8c959f; stroke-opacity: .35 }
  .line { fill: none; stroke-width: 2.5 }
  .bare { stroke-dasharray: 5 5; stroke-width: 1.5 }
  .audit { stroke: #0969da } .append { stroke: #bc4c00 }
  circle.audit { fill: #0969da } circle.append { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .audit { stroke: #58a6ff } .append { stroke: #ffa657 }
    circle.audit { fill: #58a6ff } circle.append { fill: #ffa657 }
  }"""


@dataclass(frozen=True)
class Curve:
    """Rates per second over sizes, drawn in the color of `kind`; a `bare` one is a yardstick."""

    name: str
    kind: str
    points: Sequence[tuple[int, float]]
    bare: bool = False


def measure(size: int) -> dict[str, tuple[float, float]]:
    """Returns rate and yardstick of both works at a size, and prints them."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        times = append.measure(size, 0, Path(folder), ("files", "bare"))
    appended = append.rate(times["files"]), append.rate(times["bare"])
    print(f"append{size:>10,}{appended[0]:>10,.0f}/s, bare {appended[1]:,.0f}/s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        [figure] = audit.measure(size, Path(folder), [len(os.sched_getaffinity(0))])
    print(figure.line, flush=True)
    return {"append": appended, "audit": (figure.per_core, figure.bare_used)}


def known() -> dict[str, Points]:
    """Returns what was measured before."""
    if not MEASURED.exists():
        return {"append": {}, "audit": {}}
    value = json.loads(MEASURED.read_bytes())
    return {kind: {int(size): tuple(pair) for size, pair in points.items()} for kind, points in value.items()}


def keep(before: dict[str, Points], size: int, found: dict[str, tuple[float, float]]) -> None:
    """Adds what was found at a size, where the machine gave more than before, and writes all down."""
    for kind, pair in found.items():
        if size not in before[kind] or pair[1] > before[kind][size][1]:
            before[kind][size] = pair
    MEASURED.write_text(json.dumps(before, indent=1, sort_keys=True) + "\n")


def curves(points: dict[str, Points]) -> list[Curve]:
    """Returns what is drawn."""

    def one(kind: str, which: int) -> list[tuple[int, float]]:
        return [(size, pair[which]) for size, pair in sorted(points[kind].items())]

    return [
        Curve("fsync alone", "append", one("append", 1), bare=True),
        Curve("append, tree and tiles", "append", one("append", 0)),
        Curve("Ed25519 alone, each core", "audit", one("audit", 1), bare=True),
        Curve("audit, each core", "audit", one("audit", 0)),
    ]


def draw(curves: Sequence[Curve]) -> str:
    """Returns the picture."""
    sizes = [size for size, _ in curves[0].points]

    def x(size: int) -> float:
        span = log10(sizes[-1]) - log10(sizes[0]) or 1
        return LEFT + (WIDTH - LEFT - RIGHT) * (log10(size) - log10(sizes[0])) / span

    def y(rate: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (log10(rate) - log10(LOW)) / (log10(HIGH) - log10(LOW))

    parts = [f'<text class="title" x="{LEFT}" y="24">Statements per second, by the size of the log</text>']
    for rate in (2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000):
        parts.append(f'<path class="grid" d="M{LEFT} {y(rate):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 10}" y="{y(rate) + 4:.1f}" text-anchor="end">{rate:,}</text>')
    for size in sizes:
        parts.append(f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle">{size:,}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">leaves in the log</text>')
    for curve in curves:
        places = [(x(size), y(rate)) for size, rate in curve.points]
        way = "L".join(f"{right:.1f} {down:.1f}" for right, down in places)
        bare = " bare" if curve.bare else ""
        parts.append(f'<path class="line {curve.kind}{bare}" d="M{way}"/>')
        if not curve.bare:
            parts += [f'<circle class="{curve.kind}" cx="{a:.1f}" cy="{b:.1f}" r="4"/>' for a, b in places]
        right, down = places[-1]
        parts.append(f'<text x="{right + 12:.1f}" y="{down + 4:.1f}">{curve.name}</text>')
    said = "; ".join(
        f"{curve.name}: " + ", ".join(f"{rate:,.0f} at {size:,}" for size, rate in curve.points) for curve in curves
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<title>Statements per second: {said}</title>\n<style>{STYLE}\n</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> None:
    """Measures at the sizes asked for, and writes the picture."""
    points = known()
    for size in map(int, sys.argv[1:]):
        keep(points, size, measure(size))
    PICTURE.write_text(draw(curves(points)))


if __name__ == "__main__":
    main()
