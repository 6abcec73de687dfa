"""The shipped artifact belongs to the contracts in this checkout; told by digests, without a compiler.

That the bytecode follows from the sources is what tests/e2e/test_hardhat_build.py shows.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import pytest

from tests.support import ROOT

CONTRACTS = ROOT / "contracts"
FILE = ROOT / "anchors/abi/AnchorLog.json"
EXPORT = "changed and not exported: cd hardhat-local && npm run export"


@pytest.fixture(scope="module")
def artifact() -> dict[str, Any]:
    value = json.loads(FILE.read_bytes())
    assert isinstance(value, dict)
    return value


def test_sources_are_those_compiled(artifact: dict[str, Any]) -> None:
    found = {
        path.relative_to(ROOT).as_posix(): f"sha256:{sha256(path.read_bytes()).hexdigest()}"
        for path in CONTRACTS.rglob("*.sol")
    }
    assert len(found) >= 3
    assert artifact["sources"] == found, EXPORT


def test_compiler_is_the_one_locked(artifact: dict[str, Any]) -> None:
    project = ROOT / "hardhat-local"
    solc = json.loads((project / "package.json").read_bytes())["devDependencies"]["solc"]
    config = (project / "hardhat.config.js").read_text("utf-8")
    assert re.fullmatch(rf"{re.escape(solc)}\+commit\.[0-9a-f]{{8}}", artifact["compiler"]["version"]), EXPORT
    assert f'version: "{solc}"' in config
    settings = artifact["compiler"]["settings"]
    assert f'evmVersion: "{settings["evmVersion"]}"' in config, EXPORT
    assert settings["optimizer"] == {"enabled": True, "runs": 200}
    for path in CONTRACTS.rglob("*.sol"):
        assert f"\npragma solidity {solc};\n" in path.read_text("utf-8"), path.name


def test_file_is_canonical(artifact: dict[str, Any]) -> None:
    assert FILE.read_text("ascii") == json.dumps(artifact, sort_keys=True, separators=(",", ":")) + "\n"
    assert set(artifact) == {"contractName", "abi", "bytecode", "deployedBytecode", "compiler", "sources"}


def test_names_are_those_of_the_interface(artifact: dict[str, Any]) -> None:
    source = (CONTRACTS / "interfaces/IAnchorLog.sol").read_text("utf-8")
    declared = set(re.findall(r"^    (error|event|function) (\w+)\(", source, re.MULTILINE))
    assert {(entry["type"], entry["name"]) for entry in artifact["abi"]} == declared


def test_creation_code_holds_the_deployed_code(artifact: dict[str, Any]) -> None:
    # Nothing is linked or filled in at deployment, so the code found on a chain can be compared byte for byte.
    creation, deployed = (bytes.fromhex(artifact[name].removeprefix("0x")) for name in ("bytecode", "deployedBytecode"))
    assert deployed
    assert creation.endswith(deployed)
