"""What the commands of a registry begin with: its packages are there, and its settings can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ledger.errors import MalformedError, shown

if TYPE_CHECKING:
    from api.settings import Settings


@contextmanager
def registry_packages() -> Iterator[None]:
    """For the imports in the block, which the base install does not have.

    Raises:
        UsageError: one is not installed; how to install it is said.
    """
    try:
        yield
    except ModuleNotFoundError as e:
        raise click.UsageError(
            f"a registry needs more packages ({e.name}): pip install '.[registry]' in the checkout"
        ) from e


def read_settings(given: Mapping[str, Any]) -> Settings:
    """Returns a registry's settings; what is `given` wins, None is not given.

    Raises:
        UsageError: what a registry needs is not installed.
        MalformedError: a setting, or the file, is not as it should be.
    """
    with registry_packages():
        from pydantic import ValidationError

        from api.settings import SETTINGS_FILE, Settings
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as e:
        first = e.errors()[0]
        name = str(first["loc"][0])
        known = Settings.model_fields.get(name)
        wanted = "there is no such setting" if known is None else f"{first['msg']}. {known.description}"
        raise MalformedError(wanted, field=name) from e
    except ValueError as e:  # before any setting was read
        raise MalformedError(f"is not TOML in UTF-8: {shown(str(e))}", field=SETTINGS_FILE) from e
