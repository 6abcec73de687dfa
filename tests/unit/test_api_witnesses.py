"""A registry's witnesses as its operator sets them; and ``trainmark log witness`` where it does not start."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from api.composition import open_registry, rotate
from api.settings import Settings
from ledger.errors import BackendError, MalformedError, NotFoundError
from ledger.note import parse_note
from ledger.policy import parse_policy, verify_checkpoint
from tests.reference.note import WITNESS_KEY
from tests.reference.witness import SIZE_TYPE, Answer, Key, Witness, serving
from tests.support.process import call
from tests.support.server import running_server
from tests.support.witness import running_witness

W0 = f"witness w0 {Key('w0', WITNESS_KEY).vkey}"
DEAD = "http://127.0.0.1:9"


def vkey_of(folder: Path) -> str:
    """Returns the key of the log in a data folder, which is begun without witnesses."""
    with open_registry(Settings(data_dir=folder)) as running:
        return running.writer.registry.log.vkey


def begin(folder: Path, policy: str | bytes) -> bytes:
    """Opens the registry with this policy; returns the published note."""
    file = folder.with_name("witnesses")
    file.write_bytes(policy if isinstance(policy, bytes) else policy.encode())
    with open_registry(Settings(data_dir=folder, witnesses=file, witness_seconds=0.5)) as running:
        return running.writer.registry.log.head.note


@pytest.mark.parametrize("with_log", [True, False])
def test_the_policy_names_the_log_or_leaves_it_out(tmp_path: Path, with_log: bool) -> None:
    folder = tmp_path / "data"
    log = vkey_of(folder)
    with serving(Witness("w0", [log]).answer) as url:
        policy = f"{W0} {url}\nquorum w0"
        own = f"log {log}\n"
        note = begin(folder, own + policy if with_log else policy)
    assert verify_checkpoint(parse_note(note), parse_policy(own + policy))[1] == ("w0",)
    assert (folder / "log" / "checkpoint").read_bytes() == note


def test_a_witness_of_the_old_log_key_cosigns_while_the_key_changes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    old = vkey_of(folder)
    rotate(Settings(data_dir=folder), "log")
    with serving(Witness("w0", [old]).answer) as url:
        note = begin(folder, f"log {old}\n{W0} {url}\nquorum w0")
    new = (folder / "log.vkey").read_text().strip()
    assert new != old
    for log in (old, new):
        assert verify_checkpoint(parse_note(note), parse_policy(f"log {log}\n{W0}\nquorum w0"))[1] == ("w0",)
    (folder / "keys" / "log.pem").unlink()
    with serving(Witness("w0", [new]).answer) as url:
        note = begin(folder, f"log {old}\n{W0} {url}\nquorum w0")
    assert verify_checkpoint(parse_note(note), parse_policy(f"log {new}\n{W0}\nquorum w0"))[1] == ("w0",)


def test_a_first_start_needs_the_quorum_too(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="quorum w0 is not reached") as caught:
        begin(tmp_path / "data", f"{W0} {DEAD}\nquorum w0")
    assert caught.value.code == "quorum"
    assert not (tmp_path / "data" / "log" / "checkpoint").exists()
    assert (
        begin(tmp_path / "data", f"{W0} {DEAD}\nquorum none").count(b"\xe2\x80\x94") == 1
    )  # nobody's fork: it goes on


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (b"\xff", "TRAINMARK_WITNESSES: is not text in UTF-8"),
        ("quorum none", "TRAINMARK_WITNESSES: names no witness"),
        (f"{W0} {DEAD}", "TRAINMARK_WITNESSES: a policy has at least one log line and one quorum line"),
        (f"{W0} {DEAD}\nquorum w1", "TRAINMARK_WITNESSES, line 2: 'w1' is not defined"),
        (f"{W0}\nquorum w0", "TRAINMARK_WITNESSES: the witness 'w0' has no URL"),
        (f"{W0} witness.example\nquorum w0", "TRAINMARK_WITNESSES: expected a URL like"),
        ("# no more\n" * 7000, "TRAINMARK_WITNESSES: .* has more than 65536 bytes"),
    ],
)
def test_a_policy_that_cannot_be_asked_is_refused_before_anything(
    tmp_path: Path, policy: str | bytes, message: str
) -> None:
    with pytest.raises(MalformedError, match=message):
        begin(tmp_path / "data", policy)
    assert not (tmp_path / "data" / "registry.db").exists()


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", witnesses=tmp_path / "none")
    with pytest.raises(NotFoundError, match="TRAINMARK_WITNESSES: there is no file"), open_registry(settings):
        pass


def test_people_are_told_of_a_witness_that_contradicts_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    log = vkey_of(folder)
    with (
        serving(Witness("w0", [log]).answer) as good,
        serving(lambda _: Answer(409, SIZE_TYPE, b"900\n")) as ahead,
    ):
        lines = f"{W0} {good}\nwitness w1 {Key('w1', WITNESS_KEY).vkey} {ahead}\nquorum w0\n"
        (tmp_path / "witnesses").write_text(lines)
        with running_server(folder, witnesses=tmp_path / "witnesses") as server:
            told = httpx.get(f"{server.url}/healthz")
            size = server.registry.log.head.size
            cosigners = server.running.writer.cosigners
            assert cosigners is not None
            contradicting = {name: state.contradicting for name, state in cosigners.states().items()}
    warning = f"the witness w1 says to have cosigned 900 leaves, this log has {size}"
    assert (told.status_code, told.json()["warning"]) == (200, warning)
    assert contradicting == {"w0": False, "w1": True}


# -- the command, where it does not start


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A list of one log."""
    file = tmp_path / "logs"
    file.write_text(f"log {Key('log.example', 1).vkey}\nquorum none\n")
    return file


def test_the_command_says_what_is_wrong(tmp_path: Path, logs: Path) -> None:
    def said(*changed: object, name: str = "w", logs: Path = logs) -> tuple[int, str]:
        answer = call("log", "witness", "--name", name, "--logs", logs, "--dir", tmp_path / "w", "--port", 0, *changed)
        return answer.code, answer.err

    code, text = said("--no-passphrase", name="no name")
    assert (code, "name: a key name has no spaces and no plus" in text) == (2, True)
    code, text = said(logs=tmp_path / "none")
    assert (code, "--logs: there is no file" in text) == (2, True)
    logs.with_name("rubbish").write_bytes(b"\xff")
    code, text = said(logs=logs.with_name("rubbish"))
    assert (code, "--logs: is not text in UTF-8" in text) == (2, True)
    logs.with_name("empty").write_text("quorum none\n")
    code, text = said(logs=logs.with_name("empty"))
    assert (code, "at least one log line" in text) == (2, True)


def test_the_command_refuses_another_name_and_a_lost_memory(tmp_path: Path, logs: Path) -> None:
    with running_witness(tmp_path / "w", [], "w"):
        busy = call("log", "witness", "--name", "w", "--logs", logs, "--dir", tmp_path / "w")
        assert (busy.code, "[in-use]" in busy.err) == (3, True)
    other = call("log", "witness", "--name", "v", "--logs", logs, "--dir", tmp_path / "w")
    assert (other.code, "[other-witness]" in other.err) == (2, True)
    (tmp_path / "w" / "witness.db").unlink()
    lost = call("log", "witness", "--name", "w", "--logs", logs, "--dir", tmp_path / "w")
    assert (lost.code, "[witness-state]" in lost.err) == (2, True)


def test_a_witness_without_a_passphrase_is_asked_for_one(tmp_path: Path, logs: Path) -> None:
    said = call("log", "witness", "--name", "w", "--logs", logs, "--dir", tmp_path / "w")
    assert (said.code, "give TRAINMARK_WITNESS_PASSPHRASE or --no-passphrase" in said.err) == (2, True)
    assert not (tmp_path / "w" / "witness.pem").exists()
