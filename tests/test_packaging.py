"""What is in the wheel, and that it works where nothing else is installed.

The import packages have plain names (``ledger``, ``anchors``, ``api``), so the wheel must hold exactly these three with
their data files: anything else would land beside them in a user's site-packages.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.test_architecture import LAYERS, PACKAGES, module_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# What the base install promises to import: everything from the HTTP client down, but for the parts of an extra.
BASE = {name for row in LAYERS[LAYERS.index(["ledger.client"]) :] for name in row} | {"ledger.cli"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel with the locked build tools."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = directory.iterdir()
    return built


def source_files() -> set[str]:
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".pyo"}:
                found.add(path.relative_to(ROOT).as_posix())
    return found


def test_wheel_holds_the_three_packages_and_their_data(wheel: Path) -> None:
    info = f"trainmark-{PROJECT['version']}.dist-info"
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if not name.startswith(f"{info}/")} == source_files()
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= set(names)


def test_wheel_says_what_pyproject_says(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"trainmark-{PROJECT['version']}.dist-info/METADATA").decode()
        scripts = archive.read(f"trainmark-{PROJECT['version']}.dist-info/entry_points.txt").decode()
    metadata = HeaderParser().parsestr(text)
    assert metadata["Name"] == "trainmark"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "trainmark = ledger.cli:main" in scripts
    assert wheel.name == f"trainmark-{PROJECT['version']}-py3-none-any.whl"


def test_version_is_written_in_one_place() -> None:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            assert "__version__" not in path.read_text(), path
            assert f'"{PROJECT["version"]}"' not in path.read_text(), path


def test_locks_agree_and_cover_what_pyproject_names() -> None:
    development, runtime = (locked(name) for name in ("dev.txt", "runtime.txt"))
    assert {name: version for name, version in runtime.items() if development.get(name) != version} == {}
    for requirement in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["registry"]]:
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        assert name in runtime, f"{name} is not locked: make lock"


def locked(name: str) -> dict[str, set[str]]:
    """Returns package -> versions (there may be one per Python) of a lock; every line must carry hashes."""
    found: dict[str, set[str]] = {}
    for entry in (ROOT / "requirements" / name).read_text().replace("\\\n", " ").splitlines():
        if entry and not entry.lstrip().startswith("#"):
            package, _, rest = entry.partition("==")
            assert "--hash=sha256:" in rest, entry
            found.setdefault(package.split("[")[0], set()).add(re.split(r"[ ;]", rest)[0])
    return found


@pytest.mark.e2e
def test_base_install_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Installs the wheel with its base dependencies only, at the locked versions, and uses it from another folder."""
    # Without their hashes: pip cannot check hashes of some requirements and not of a wheel built a moment ago.
    lines = (ROOT / "requirements" / "runtime.txt").read_text().splitlines()
    pins = [match[0].rstrip(" \\") for line in lines if (match := re.match(r"[a-z0-9._-]+==[^\\]+", line))]
    (tmp_path / "pins.txt").write_text("\n".join(pins))
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", "pins.txt", str(wheel)], cwd=tmp_path, check=True)

    version = subprocess.run(
        [str(environment / "bin" / "trainmark"), "--version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert version.stdout == f"trainmark {PROJECT['version']}\n"
    usage = subprocess.run(
        [str(environment / "bin" / "trainmark"), "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert usage.stdout.startswith("Usage: trainmark")

    modules = sorted({name for name, _ in module_files("ledger") if name in BASE})
    program = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    imported = subprocess.run(
        [python, "-W", "error", "-c", program, *modules], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert imported.returncode == 0, imported.stderr
