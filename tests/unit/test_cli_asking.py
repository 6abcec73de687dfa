"""Questions that nobody can answer are misuse, and the message names what answers them; Ctrl-C is still Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.pictures import png
from tests.support.process import COMMAND, call, environment

INIT = ("init", "--name", "Ada", "--url", "https://ada.example/")
LICENSE = ("license", "new", "--preset", "train", "--id", "ADA-1", "--url", "https://ada.example/1")
MANIFEST = ("manifest", "pictures", "-o", "out", "--license", "ADA-1.license.json", "--title", "Avatars")
DECLARED = ("--rights", "owned", "--release", "not-required", "--privacy", "none")
PASSPHRASES = {"TRAINMARK_PASSPHRASE": "correct horse", "TRAINMARK_RECOVERY_PASSPHRASE": "battery staple"}


def without(option: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    at = arguments.index(option)
    return arguments[:at] + arguments[at + 2 :]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A creator with encrypted keys, a license and a picture, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, value in PASSPHRASES.items():
        monkeypatch.setenv(name, value)
    assert call(*INIT).code == 0
    assert call(*LICENSE).code == 0
    Path("pictures").mkdir()
    Path("pictures/a.png").write_bytes(png())
    return tmp_path


QUESTIONS = [
    ((*without("--name", INIT), "--home", "new"), PASSPHRASES, "--name"),
    ((*without("--url", INIT), "--home", "new"), PASSPHRASES, "--url"),
    ((*INIT, "--home", "new"), {}, "TRAINMARK_PASSPHRASE or --no-passphrase"),
    (
        (*INIT, "--home", "new"),
        {"TRAINMARK_PASSPHRASE": "correct horse"},
        "TRAINMARK_RECOVERY_PASSPHRASE or --no-passphrase",
    ),
    *((without(option, LICENSE), {}, option) for option in ("--preset", "--id", "--url")),
    *(
        (without(option, (*MANIFEST, *DECLARED)), PASSPHRASES, option)
        for option in ("--title", "--rights", "--release", "--privacy")
    ),
    ((*MANIFEST, *DECLARED), {}, "TRAINMARK_PASSPHRASE"),
    (("review", "list", "--key", ".trainmark/signing.key.pem"), {}, "TRAINMARK_KEY_PASSPHRASE"),
]


@pytest.mark.parametrize("closed", [False, True], ids=["at its end", "closed"])
@pytest.mark.parametrize(("arguments", "env", "option"), QUESTIONS, ids=lambda value: str(value)[:40])
def test_a_question_that_nobody_answers_names_its_option(
    place: Path, arguments: tuple[str, ...], env: dict[str, str], option: str, closed: bool
) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    done = subprocess.run(
        [*COMMAND, *arguments] if not closed else ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, *arguments],
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # without a terminal
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"Error: nobody is there to answer the question: give {option}\n")
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_passphrase_is_not_read_where_it_would_show(place: Path) -> None:
    done = subprocess.run(
        [*COMMAND, *MANIFEST, *DECLARED],
        env=environment(),
        input="correct horse\n",
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "give TRAINMARK_PASSPHRASE\n" in done.stderr
    assert not Path("out").exists()


def test_an_answer_that_is_none_is_asked_for_again(place: Path) -> None:
    said = call(*without("--rights", (*MANIFEST, *DECLARED)), "--json", answers="mine\nowned\n")
    assert said.code == 0
    assert said.value["entries"] == 1  # the questions went to standard error
    assert "'mine' is not one of" in said.err


def test_ctrl_c_at_a_question_interrupts(place: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "license", "new"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    shown = b""
    while b"Which one" not in shown:
        shown += os.read(process.stderr.fileno(), 4096)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.endswith(b"trainmark: interrupted\n")
