"""The license of everything that a runtime install brings.

Read from what is installed: no GPL or AGPL; weak copyleft only where it is listed here, used unmodified; a license that
nobody can read counts as unknown until it is entered by hand.  The metadata is not believed alone: the texts that a
package ships are looked at too, since a package may declare one license and carry another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PERMISSIVE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "HPND", "ISC", "MIT", "MIT-0"),
    *("MIT-CMU", "PSF-2.0", "Unlicense", "Zlib"),
}

# Used unmodified, installed by pip as separate packages that a user can replace.
WEAK_COPYLEFT = {
    "certifi": "MPL-2.0",
    "orjson": "MPL-2.0 AND (Apache-2.0 OR MIT)",
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
}

# What older metadata says in words of its own -> SPDX.
SPELLINGS = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD, Public Domain": "BSD-2-Clause",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}

# Declared nowhere in the metadata, read by hand.
BY_HAND: dict[str, str] = {}

EXTRAS = ("registry", "s3", "ipfs", "scan", "face")


def runtime(extras: tuple[str, ...]) -> dict[str, Distribution]:
    """Returns what ``trainmark[extras]`` installs here, itself left out."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [("trainmark", frozenset(extras))]
    while queue:
        name, wanted = queue.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found[name] = distribution(name)
        for line in found[name].requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted | {""}):
                queue.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    del found["trainmark"]
    return found


def license_of(name: str, package: Distribution) -> str | None:
    """Returns the SPDX expression that `package` declares, ``None`` when it declares none that can be read."""
    if name in BY_HAND:
        return BY_HAND[name]
    metadata = package.metadata
    classifiers = [value.rpartition(" :: ")[2] for value in metadata.get_all("Classifier", []) if "License ::" in value]
    said_in = [*metadata.get_all("License-Expression", []), *metadata.get_all("License", []), *classifiers]
    for said in said_in:
        try:
            return canonicalize_license_expression(SPELLINGS.get(said.strip(), said.strip()))
        except ValueError:
            continue
    return None


def permitted(expression: str) -> bool:
    """Whether an SPDX expression leaves a way to use the package under permissive licenses alone."""
    while group := re.search(r"\(([^()]*)\)", expression):
        inner = "MIT" if permitted(group[1]) else "NONE"
        expression = expression[: group.start()] + inner + expression[group.end() :]
    return any(all(word in PERMISSIVE for word in side.split(" AND ")) for side in expression.split(" OR "))


def license_texts(package: Distribution) -> Iterator[tuple[str, str]]:
    for file in package.files or []:
        path = Path(str(file.locate()))
        if re.match(r"(?i)(licen[cs]e|copying)", file.name) and path.is_file():
            yield str(file), path.read_text(encoding="utf-8", errors="replace")


def is_strong_copyleft(text: str) -> bool:
    """Whether `text` is, from its beginning, the GPL or AGPL; a mention further down may be of a bundled exception."""
    head = " ".join(text[:400].upper().split())
    return "GNU GENERAL PUBLIC LICENSE" in head or "GNU AFFERO GENERAL PUBLIC LICENSE" in head


RUNTIME = runtime(EXTRAS)


def test_the_closure_is_the_real_one() -> None:
    assert {
        "cryptography",
        "cffi",
        "web3",
        "py-evm",
        "psycopg",
        "obstore",
        "opencv-python-headless",
        "numpy",
    } <= RUNTIME.keys()
    assert not {"pytest", "mypy", "pymerkle", "hypothesis"} & RUNTIME.keys()


@pytest.mark.parametrize("name", sorted(RUNTIME))
def test_license_is_known_and_allowed(name: str) -> None:
    expression = license_of(name, RUNTIME[name])
    assert expression is not None, f"{name} declares no license that can be read: enter it in BY_HAND"
    assert permitted(expression) or WEAK_COPYLEFT.get(name) == expression, f"{name}: {expression}"


@pytest.mark.parametrize("name", sorted(RUNTIME))
def test_no_package_ships_the_gpl_as_its_license(name: str) -> None:
    assert [file for file, text in license_texts(RUNTIME[name]) if is_strong_copyleft(text)] == []


def test_weak_copyleft_list_names_nothing_that_is_gone() -> None:
    assert set(WEAK_COPYLEFT) <= RUNTIME.keys()


def test_the_rules_can_refuse() -> None:
    # A development tool under the GPL stands for a package that must not get in.
    package = distribution("pymerkle")
    expression = license_of("pymerkle", package)
    assert expression is None or not permitted(expression)
    assert any(is_strong_copyleft(text) for _, text in license_texts(package))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("GPL-3.0-or-later", False),
        ("MIT OR GPL-2.0-only", True),
        ("MIT AND GPL-2.0-only", False),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", False),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("AGPL-3.0-only", False),
        ("LicenseRef-Proprietary", False),
    ],
)
def test_permitted(expression: str, expected: bool) -> None:
    assert permitted(expression) is expected
