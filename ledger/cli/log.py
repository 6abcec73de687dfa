"""``trainmark log …``: the group of what looks after logs; each command lives in a module of its own."""

from __future__ import annotations

from typing import Final

from ledger.cli import LazyGroup

COMMANDS: Final = {
    "witness": "ledger.cli.witnessing:witness",
}

log = LazyGroup("log", lazy=COMMANDS, help="Look after logs.")
