"""The border of the command line: lazy commands, exit codes, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from types import ModuleType

import click
import pytest

from ledger import cli, errors
from ledger.cli import COMMANDS, OWN_MISTAKES, LazyGroup, exit_code, main
from tests.support import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ledger.cli", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


def with_command(monkeypatch: pytest.MonkeyPatch, outcome: BaseException | int | None) -> None:
    """Makes ``trainmark act`` raise or return `outcome`."""

    def act() -> int | None:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module = ModuleType("acting")
    module.__dict__["act"] = click.Command("act", callback=act)
    monkeypatch.setitem(sys.modules, "acting", module)
    monkeypatch.setattr(cli.cli, "lazy", {"act": "acting:act"})


def test_version_is_the_distributions() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"trainmark {version('trainmark')}\n", "")


def test_unknown_command_is_misuse() -> None:
    result = run("no-such-command")
    assert result.returncode == 2
    assert "No such command 'no-such-command'" in result.stderr
    assert result.stdout == ""


def test_each_command_can_be_loaded_and_has_help() -> None:
    context = click.Context(cli.cli)
    for name in COMMANDS:
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(), f"{name} says nothing of itself"
        assert command.name == name


def test_group_lists_in_the_order_given_and_knows_no_others() -> None:
    group = LazyGroup("g", lazy={"b": "click:b", "a": "click:a"})
    context = click.Context(group)
    assert group.list_commands(context) == ["b", "a"]
    assert group.get_command(context, "c") is None


def test_group_refuses_what_is_no_command() -> None:
    group = LazyGroup("g", lazy={"a": "click:echo"})
    with pytest.raises(TypeError, match="click:echo is a function, not a click command"):
        group.get_command(click.Context(group), "a")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.VerificationError("x"), 1),
        (errors.RefusedError("x"), 1),
        *((errors.RefusedError("x", code=code), 2) for code in sorted(OWN_MISTAKES)),
        (errors.MalformedError("x"), 2),
        (errors.NotFoundError("x"), 2),
        (errors.ConflictError("x"), 3),
        (errors.BackendError("x"), 3),
        (errors.TrainmarkError("x"), 3),
    ],
)
def test_exit_code_of_each_error(error: errors.TrainmarkError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (1, 1, ""),
        (errors.VerificationError("is not true", field="root"), 1, "trainmark: root: is not true [verification]\n"),
        (errors.MalformedError("is not text"), 2, "trainmark: is not text [malformed]\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x"),
            3,
            "trainmark: 'x': No such file or directory [backend]\n",
        ),
        (OSError("no reason"), 3, "trainmark: no reason [backend]\n"),
        (KeyboardInterrupt(), 130, "trainmark: interrupted\n"),
        (click.Abort(), 130, "trainmark: interrupted\n"),
        (
            click.UsageError("odd"),
            2,
            "Usage: trainmark act [OPTIONS]\nTry 'trainmark act --help' for help.\n\nError: odd\n",
        ),
        (KeyError("k"), 3, "trainmark: unforeseen KeyError: \"'k'\" (set TRAINMARK_TRACEBACK=1 to see where)\n"),
    ],
)
def test_outcome_becomes_exit_code_and_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: BaseException | int | None,
    code: int,
    message: str,
) -> None:
    with_command(monkeypatch, outcome)
    assert main(["act"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with_command(monkeypatch, KeyError("k"))
    monkeypatch.setenv("TRAINMARK_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(["act"])


def test_a_reader_that_went_away_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    program = (
        "import sys, click; from ledger import cli; import types\n"
        "module = types.ModuleType('flood'); sys.modules['flood'] = module\n"
        "module.act = click.Command('act', callback=lambda: [print('x' * 100) for _ in range(10_000)] and None)\n"
        "cli.cli.lazy = {'act': 'flood:act'}\n"
        "sys.exit(cli.main(['act']))\n"
    )
    with os.fdopen(write, "wb") as output:
        result = subprocess.run(
            [sys.executable, "-c", program], stdout=output, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT
        )
    assert (result.returncode, result.stderr) == (3, "")
