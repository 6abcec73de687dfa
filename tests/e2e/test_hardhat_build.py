"""The Hardhat project: the contracts compile to exactly what is shipped, and their own tests pass.

Everything after the installation runs without the network.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.node import PROJECT, install, npm_command, run_npm


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    """Skips only on a developer's machine without npm, never in CI."""
    if npm_command() is None and not os.environ.get("CI"):
        pytest.skip("no npm; `make tools` installs it")
    install()


def test_export_is_what_is_shipped(tmp_path: Path) -> None:
    # The compiler runs each time, whatever an earlier build has left.
    export = run_npm("run", "export", "--", str(tmp_path))
    assert export.returncode == 0, export.stdout
    assert "Compiled 3 Solidity files" in export.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["AnchorLog.json"]
    assert (tmp_path / "AnchorLog.json").read_bytes() == (ROOT / "anchors/abi/AnchorLog.json").read_bytes(), (
        "the contracts were changed and not exported: cd hardhat-local && npm run export"
    )


def test_build_alone_works() -> None:
    done = run_npm("run", "build")
    assert done.returncode == 0, done.stdout
    assert (PROJECT / "artifacts/contracts/AnchorLog.sol/AnchorLog.json").is_file()


def test_contracts_pass_their_tests() -> None:
    done = run_npm("test")
    assert done.returncode == 0, done.stdout
    # A run that finds no test would be green as well.
    for contract in ("AnchorLogTest", "AnchorLogInvariantTest", "ConsistencyProofTest"):
        assert contract in done.stdout, done.stdout
    assert "passing" in done.stdout
