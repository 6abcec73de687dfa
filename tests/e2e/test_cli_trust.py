"""``trainmark trust witnesses``: a verifier asks for cosignatures of a real witness, and is refused without them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.composition import open_registry
from api.settings import Settings
from ledger.note import COSIGNATURE, VerifierKey, format_vkey
from ledger.trust import parse_trust
from tests.e2e.test_cli_keys import Creator
from tests.e2e.test_cli_story import ok, refused
from tests.simulator import key
from tests.support.process import call
from tests.support.server import running_server
from tests.support.witness import running_witness

STRANGER = format_vkey(VerifierKey("stranger.example/w", COSIGNATURE, key("stranger").public))
ORIGIN = "log.example/witnessed"


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The vkey of the witness that cosigned ``a.proof.json``, in a folder with the trust file of who asked for none."""
    folder = tmp_path_factory.mktemp("witnessed")
    with open_registry(Settings(data_dir=folder / "registry", origin=ORIGIN)) as running:
        log = running.writer.registry.log.vkey
    with contextlib.chdir(folder), running_witness(folder / "w", [log]) as served:
        vkey = served.witness.vkey
        policy = folder / "witnesses"
        policy.write_text(f"witness w {vkey} {served.url}\nquorum w\n")
        with running_server(folder / "registry", origin=ORIGIN, witnesses=policy) as server:
            Creator(server.url, "seen").publish("pictures", 1)
            ok(call("trust", "add", server.url, "--yes", "--class", "development"))
            ok(call("prove", "t-pictures/a.png", "-o", "a.proof.json", "--registry", server.url))
        yield vkey


@pytest.fixture
def trust(witness: str) -> Iterator[Path]:
    """A copy of the trust file."""
    copy = Path("copy.json")
    copy.write_bytes(Path("trust.json").read_bytes())
    yield copy
    copy.unlink()


def asked(trust: Path, *arguments: str) -> None:
    """Asks for the cosignatures of these witnesses."""
    ok(call("trust", "witnesses", *arguments, "--yes", "--trust", trust))


def test_verify_asks_for_the_cosignature(witness: str, trust: Path) -> None:
    verify = ("verify", "a.proof.json", "--trust", trust)
    assert "no witness" in ok(call(*verify)).out
    asked(trust, witness)
    assert "no witness" not in ok(call(*verify)).out
    assert "witness.example/w1" in ok(call(*verify, "--json")).out
    asked(trust, STRANGER)
    refused(call(*verify), 1, "the witnesses' quorum witnesses is not reached")
    asked(trust, witness, STRANGER)
    refused(call(*verify), 1, "the witnesses' quorum witnesses is not reached")
    asked(trust, witness, STRANGER, "--quorum", "any")
    ok(call(*verify))
    asked(trust, witness, STRANGER, "--quorum", "1")
    ok(call(*verify))
    asked(trust)
    assert "no witness" in ok(call(*verify)).out


def test_it_shows_what_it_asks_about_and_keeps_all_else(witness: str, trust: Path) -> None:
    before = parse_trust(trust.read_bytes())
    declined = call("trust", "witnesses", witness, "--trust", trust, answers="n\n")
    assert (declined.code, parse_trust(trust.read_bytes())) == (130, before)
    said = ok(call("trust", "witnesses", witness, "--trust", trust, answers="y\n")).out
    assert "0 witnesses until now, 1 from now on; quorum all\nwitness   witness.example/w1\n" in said
    after = parse_trust(trust.read_bytes())
    assert (after.policy.logs, after.anchors, after.registry) == (before.policy.logs, before.anchors, before.registry)
    assert list(after.policy.witnesses) == ["witness.example/w1"]
    assert "witness   witness.example/w1\n" in ok(call("trust", "show", "--trust", trust)).out
    value = ok(call("trust", "witnesses", "--yes", "--json", "--trust", trust)).value
    assert (value["witnesses"], value["quorum"]) == ([], "none")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("rubbish",), 2, "VKEY: expected name+id+key, found 'rubbish'"),
        ((STRANGER, STRANGER), 2, "the name 'stranger.example/w' is taken"),
        ((STRANGER, "--quorum", "2"), 2, "expected 1 to 1, any or all, found '2'"),
        ((STRANGER, "--quorum", "0"), 2, "expected 1 to 1, any or all, found '0'"),
        ((STRANGER, "--trust", "none.json"), 2, "no trust file at none.json"),
    ],
)
def test_it_refuses(trust: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    before = trust.read_bytes()
    refused(call("trust", "witnesses", "--yes", "--trust", trust, *arguments), code, message)
    assert trust.read_bytes() == before


def test_a_logs_key_is_no_witness(trust: Path) -> None:
    log = (Path("registry") / "log.vkey").read_text()
    refused(
        call("trust", "witnesses", log, "--yes", "--trust", trust), 2, "a key of kind 4 is needed here, found kind 1"
    )
