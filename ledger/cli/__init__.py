"""The command line: the group ``trainmark`` and the border where errors become exit codes.

Each command lives in a module of this package and is named in :data:`COMMANDS`; a module is imported when its command
runs or its help is shown, so that ``trainmark --version`` loads no library but click.  A command module in turn
imports heavy libraries inside the function that needs them.

Exit codes, the same for every command: 0 yes, 1 no (a verdict against), 2 misuse or bad input, 3 anything else failed,
130 interrupted.  A command returns nothing (0) or its code; it raises instead of printing what went wrong.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence

import click

from ledger import errors

YES, NO, MISUSE, FAILED, INTERRUPTED = 0, 1, 2, 3, 130

COMMANDS: Mapping[str, str] = {
    "init": "ledger.cli.creating:init",
    "license": "ledger.cli.creating:license_group",
    "manifest": "ledger.cli.creating:manifest",
    "publish": "ledger.cli.publishing:publish",
    "withdraw": "ledger.cli.publishing:withdraw",
    "resolve": "ledger.cli.resolving:resolve",
    "prove": "ledger.cli.resolving:prove",
    "verify": "ledger.cli.verifying:verify",
    "trust": "ledger.cli.trusting:trust",
    "token": "ledger.cli.tokens:token",
    "keys": "ledger.cli.keys:keys",
    "check": "ledger.cli.checking:check",
    "show": "ledger.cli.showing:show",
    "dispute": "ledger.cli.disputing:dispute",
    "review": "ledger.cli.reviewing:review",
    "identity": "ledger.cli.identifying:identity",
    "log": "ledger.cli.log:log",
    "serve": "ledger.cli.serving:serve",
    "demo": "ledger.cli.demo:demo",
}
"""Name on the command line -> ``module:attribute`` of its click command, in the order in which help lists them."""

OWN_MISTAKES = frozenset(
    {
        *("unsafe-default", "passphrase", "key-permissions", "keys-incomplete", "insecure"),
        *("witness-state", "other-witness"),
    }
)
"""Codes of what is refused to whoever runs a command for a setting or key file of their own: misuse, no verdict."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each on use."""

    def __init__(
        self,
        name: str,
        *,
        lazy: Mapping[str, str],
        params: list[click.Parameter] | None = None,
        help: str | None = None,
    ) -> None:
        super().__init__(name, params=params, help=help)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the order of the mapping."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns the command, ``None`` for an unknown name."""
        target = self.lazy.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is a {type(command).__name__}, not a click command")
        return command


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"trainmark {version('trainmark')}")
        ctx.exit()


cli = LazyGroup(
    "trainmark",
    lazy=COMMANDS,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version.",
        )
    ],
    help="Who made it, may I train on it, and how do I prove that.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (default: the process's own) and returns its exit code; prints errors, never a traceback.

    With ``TRAINMARK_TRACEBACK`` set, an error nobody foresaw is raised instead of being summed up in one line.
    """
    try:
        # Not click's own main(): that one turns a closed pipe into exit code 1, which here would mean "no".
        with cli.make_context("trainmark", list(sys.argv[1:] if arguments is None else arguments)) as context:
            result: object = cli.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return MISUSE
    except (click.Abort, KeyboardInterrupt):
        return _failed(INTERRUPTED, "interrupted")
    except errors.TrainmarkError as error:
        return _failed(exit_code(error), f"{error} [{error.code}]")
    except BrokenPipeError:
        # The reader of our output went away; flushing what is left at exit would raise once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        from ledger.files import shown_path

        where = "" if error.filename is None else f"{shown_path(error.filename)}: "
        return _failed(FAILED, f"{where}{error.strerror or error} [{errors.BackendError.code}]")
    except Exception as error:
        if os.environ.get("TRAINMARK_TRACEBACK"):
            raise
        kind = type(error).__name__
        return _failed(
            FAILED, f"unforeseen {kind}: {errors.shown(str(error))} (set TRAINMARK_TRACEBACK=1 to see where)"
        )
    return result if isinstance(result, int) else YES


def exit_code(error: errors.TrainmarkError) -> int:
    """Returns the exit code an error stands for."""
    if error.code in OWN_MISTAKES:
        return MISUSE
    match error:
        case errors.VerificationError() | errors.RefusedError():
            return NO
        case errors.MalformedError() | errors.NotFoundError():
            return MISUSE
        case _:
            return FAILED


def _failed(code: int, message: str) -> int:
    click.echo(f"trainmark: {message}", err=True)
    return code
