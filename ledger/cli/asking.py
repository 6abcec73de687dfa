"""Questions to the person at the terminal, and what is said where nobody is there to answer.

A question is always about one option or setting, so that a script can answer it too.  They go to standard error:
standard output is for the answer of the command.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from getpass import GetPassWarning
from typing import Any

import click

from ledger.errors import MalformedError


@contextmanager
def answered_by(option: str) -> Iterator[None]:
    """Holds one question, which `option` would have answered.

    Raises:
        UsageError: nobody can answer: the input is closed or at its end, or there is no terminal on which a passphrase
            stays hidden.
        Abort: Ctrl-C, or a no to what had to be confirmed.
    """
    unanswered = click.UsageError(f"nobody is there to answer the question: give {option}")
    if sys.stdin is None:  # closed before Python began
        raise unanswered
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)  # it would go on and show what is typed
            yield
    except GetPassWarning as e:
        raise unanswered from e
    except click.Abort as e:
        if isinstance(e.__context__, EOFError):  # click aborts for the end of the input as for Ctrl-C
            raise unanswered from e
        raise


def ask_passphrase(question: str, setting: str) -> str:
    """Returns a passphrase typed by a person; `setting` is what a script sets instead."""
    with answered_by(setting):
        return str(click.prompt(question, hide_input=True, err=True))


def ask_new_passphrase(question: str, setting: str, check: Callable[[str], str]) -> str:
    """Returns a passphrase typed twice that `check` takes; what it raises is told, and asked again."""
    with answered_by(setting):
        while True:
            passphrase = str(click.prompt(question, hide_input=True, err=True))
            try:
                check(passphrase)
            except MalformedError as e:
                click.echo(f"Error: {e.message}", err=True)
                continue
            if click.prompt("The same again", hide_input=True, err=True) == passphrase:
                return passphrase
            click.echo("Error: the two are not the same", err=True)


def valid(check: Callable[[str, str], str]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Returns the callback of an option whose value, where there is one, `check` takes with a field's name."""

    def callback(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        return None if value is None else checked(check, value)

    return callback


def checked(check: Callable[[str, str], str], value: str) -> str:
    """Returns `value` if `check` takes it.

    Raises:
        BadParameter: it does not; a question is asked again then.
    """
    try:
        return check(value, "")
    except MalformedError as e:
        raise click.BadParameter(e.message) from e


class AskedOption(click.Option):
    """An option that is asked for when it is missing; its prompt is the question."""

    def prompt_for_value(self, ctx: click.Context) -> Any:
        """Asks until the answer is a value of the option's type."""
        with answered_by(self.opts[0]):
            return click.prompt(
                str(self.prompt),
                type=self.type,
                show_choices=self.show_choices,
                value_proc=lambda value: self.process_value(ctx, value),
                err=True,
            )
