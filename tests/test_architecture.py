"""Who may import whom, and what the pure modules may touch.

The layers are written down once, in pyproject.toml (``[tool.importlinter]``).  Here they are run, every module of
``ledger`` is shown to have a place in them, and the modules from ``ledger.proof`` down are held to purity: no I/O, no
clock, no randomness, and no library but ``cryptography`` and a Keccak, so that whoever verifies a proof needs nothing
else.  Each rule is also shown to be able to fail.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("ledger", "anchors", "api")

LAYERS: list[list[str]] = [
    [re.sub(r"[()\s]", "", name) for name in row.split("|")]
    for row in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
]
PURE = {name for row in LAYERS[LAYERS.index(["ledger.proof"]) :] for name in row}

# All of it is computing on values; what of `datetime` reads the clock is in CLOCK, and of `time` only TIME_NAMES count.
PURE_STDLIB = {
    *("__future__", "abc", "base64", "binascii", "bisect", "calendar", "collections", "collections.abc", "copy"),
    *("dataclasses", "datetime", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "html"),
    *("itertools", "json", "math", "operator", "re", "string", "struct", "textwrap", "types", "typing"),
    *("unicodedata", "urllib.parse", "zlib"),
}
PURE_LIBRARIES = {"cryptography", "Crypto.Hash"}
TIME_NAMES = {"gmtime", "strftime"}
CLOCK = {"now", "utcnow", "today"}
INPUT_OUTPUT = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}


def impurities(source: str) -> list[str]:
    """Returns what a pure module may not do, line by line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                imported = [alias.name for alias in names]
            case ast.ImportFrom(module="time", names=names):
                imported = [f"time.{alias.name}" for alias in names if alias.name not in TIME_NAMES]
            case ast.ImportFrom(module="ledger", names=names):
                imported = [f"ledger.{alias.name}" for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                imported = [module]
            case ast.ImportFrom():
                imported = ["a relative name"]
            case ast.Call(func=ast.Name(id=name)) if name in INPUT_OUTPUT:
                found.append(f"{node.lineno}: calls {name}")
                continue
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCK:
                found.append(f"{node.lineno}: reads the clock, .{name}()")
                continue
            case ast.Call(func=ast.Name(id="gmtime"), args=[]):
                found.append(f"{node.lineno}: reads the clock, gmtime()")
                continue
            case ast.Call(func=ast.Name(id="strftime"), args=[_]):
                found.append(f"{node.lineno}: reads the clock, strftime() of no time")
                continue
            case ast.Call(func=ast.Attribute(attr="generate" | "generate_key" as name)):
                found.append(f"{node.lineno}: draws randomness, .{name}()")
                continue
            case _:
                continue
        found += [f"{node.lineno}: imports {name}" for name in imported if not _may_import(name)]
    return found


def _may_import(name: str) -> bool:
    packages = PURE_LIBRARIES | PURE
    return name in PURE_STDLIB or any(f"{name}.".startswith(f"{package}.") for package in packages)


def module_files(package: str) -> Iterator[tuple[str, Path]]:
    """Yields the top-level modules and sub-packages of `package` with the files that make each up."""
    for entry in sorted((ROOT / package).iterdir()):
        if entry.suffix == ".py" and entry.stem != "__init__":
            yield f"{package}.{entry.stem}", entry
        elif entry.is_dir():
            yield from ((f"{package}.{entry.name}", file) for file in sorted(entry.rglob("*.py")))


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the packages in `directory`, which shadow the installed ones."""
    program = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--config", "pyproject.toml"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_layers_are_kept() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_module_of_ledger_has_a_layer() -> None:
    placed = {name for row in LAYERS for name in row}
    assert {name for name, _ in module_files("ledger")} - placed == set()


def test_no_module_is_placed_twice() -> None:
    names = [name for row in LAYERS for name in row]
    assert len(names) == len(set(names))


def test_the_root_of_ledger_imports_nothing() -> None:
    # It has no layer, so an import there would escape the contract.
    tree = ast.parse((ROOT / "ledger" / "__init__.py").read_text())
    assert [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)] == []


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_an_import_upward_breaks_the_layers(copied: Path) -> None:
    lowest = copied / "ledger" / "errors.py"
    lowest.write_text(lowest.read_text() + "\nimport ledger.ports\n")
    result = lint_imports(copied)
    assert result.returncode == 1
    assert "ledger.errors is not allowed to import ledger.ports" in result.stdout


def test_an_import_inside_a_function_breaks_the_layers(copied: Path) -> None:
    port = copied / "ledger" / "ports.py"
    port.write_text(port.read_text() + "\ndef late() -> None:\n    import ledger.cli\n")
    result = lint_imports(copied)
    assert result.returncode == 1
    assert "ledger.ports is not allowed to import ledger.cli" in result.stdout


@pytest.mark.parametrize("writers", ["ledger.registry.log", "ledger.sequencer", "ledger.store.files"])
def test_the_auditor_shares_nothing_with_the_writer(copied: Path, writers: str) -> None:
    frontier = copied / "ledger" / "audit" / "frontier.py"
    frontier.write_text(frontier.read_text() + f"\nimport {writers}\n")
    result = lint_imports(copied)
    assert result.returncode == 1
    assert f"ledger.audit is not allowed to import {'.'.join(writers.split('.')[:2])}" in result.stdout


def test_pure_modules_are_pure() -> None:
    found = {
        str(file.relative_to(ROOT)): impurities(file.read_text())
        for name, file in module_files("ledger")
        if name in PURE
    }
    assert "ledger/errors.py" in found
    assert {name: why for name, why in found.items() if why} == {}


@pytest.mark.parametrize(
    "line",
    [
        *(
            "import os",
            "import os.path",
            "import time",
            "import socket",
            "import random",
            "import secrets",
            "import sqlite3",
        ),
        *("import httpx", "import numpy", "import Crypto.Random", "from pathlib import Path", "from . import keys"),
        *("from time import time", "from time import monotonic", "from os import urandom", "from ledger import ports"),
        *("import ledger.registry", "from ledger.cli import main", "def f():\n    import ssl", "open('x')"),
        *("print('x')", "datetime.now(UTC)", "date.today()", "gmtime()", "strftime('%Y')"),
        *("Ed25519PrivateKey.generate()", "__import__('os')"),
    ],
)
def test_impurity_is_found(line: str) -> None:
    assert len(impurities(f"import re\nfrom ledger import errors\n{line}\n")) == 1


@pytest.mark.parametrize(
    "line",
    [
        *(
            "from time import gmtime, strftime",
            "gmtime(0)",
            "strftime('%Y', gmtime(0))",
            "from datetime import datetime",
        ),
        *("import ledger.keys", "from ledger import keys, merkle", "from collections.abc import Mapping"),
        *("from cryptography.exceptions import InvalidSignature", "from Crypto.Hash import keccak"),
    ],
)
def test_pure_code_is_let_through(line: str) -> None:
    assert impurities(line) == []


def test_importing_the_core_brings_no_heavy_library() -> None:
    heavy = (
        "web3",
        "eth",
        "sqlmodel",
        "sqlalchemy",
        "fastapi",
        "httpx",
        "PIL",
        "numpy",
        "lxml",
        "cv2",
        "sqlite3",
        "ssl",
    )
    modules = sorted({name for name, _ in module_files("ledger") if name in PURE | {"ledger.cli", "ledger.ports"}})
    program = (
        f"import sys\nfor name in {modules!r}: __import__(name)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


VERIFIED = ("koi.png.proof.json", "grant.token.json", "koi.png.attribution.json", "dataset_manifest.json")


@pytest.mark.parametrize("name", VERIFIED)
def test_verifying_loads_no_more_than_it_needs(name: str) -> None:
    unneeded = ("PIL", "numpy", "lxml", "fastapi", "web3", "httpx", "sqlite3", "ssl", "ledger.library", "ledger.client")
    examples = ROOT / "docs" / "examples"
    arguments = ["verify", str(examples / name), "--trust", str(examples / "trust.json"), "--json"]
    program = (
        "import sys; from ledger.cli import main\n"
        f"code = main({arguments!r})\n"
        f"print(code, [name for name in {unneeded!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stderr.splitlines()[-1] in ("0 []", "1 []")  # the status of the example's token grows old
