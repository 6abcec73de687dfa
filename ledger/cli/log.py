"""``trainmark log …``: the log as a whole, for auditors, operators and witnesses; one module for each command."""

from __future__ import annotations

from ledger.cli import LazyGroup

log = LazyGroup(
    "log",
    lazy={
        "audit": "ledger.cli.auditing:audit_command",
        "fsck": "ledger.cli.fsck:fsck_command",
        "rebuild": "ledger.cli.rebuilding:rebuild_command",
        "witness": "ledger.cli.witnessing:witness",
    },
    help="The log as a whole: for auditors, operators and witnesses.",
)
