"""``trainmark log witness``: a witness for other logs, on this machine (C2SP tlog-witness)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import click

from ledger.cli.creating import new_passphrase, open_key
from ledger.errors import MalformedError
from ledger.files import read_file, replace_file
from ledger.keys import SigningKey
from ledger.library.creator import SEED_BYTES, save_key
from ledger.policy import parse_policy

MAX_LOGS_BYTES: Final = 64 * 1024
PASSPHRASE: Final = "TRAINMARK_WITNESS_PASSPHRASE"


@click.command("witness")
@click.option("--name", required=True, help="The witness's name, for ever: like witness.example/w1, no scheme.")
@click.option(
    "--logs",
    "logs_path",
    type=click.Path(path_type=Path),
    required=True,
    help="The logs it follows: a tlog-policy with a line 'log <vkey>' of each, and 'quorum none'.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(".trainmark-witness"),
    show_default=True,
    help="Folder of its key and of what it cosigned; made at the first start.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8788, show_default=True, help="Port to listen on.")
@click.option("--no-passphrase", is_flag=True, help="Make its key unencrypted: for tests and machines only you use.")
def witness(name: str, logs_path: Path, folder: Path, host: str, port: int, no_passphrase: bool) -> None:
    """Run a witness: it cosigns checkpoints of other logs that extend what it cosigned before."""
    try:
        import uvicorn
    except ModuleNotFoundError as e:
        raise click.UsageError(f"the server needs more packages ({e.name}): pip install 'trainmark[registry]'") from e
    from ledger.witness.server import WitnessApp, open_witness

    try:
        text = read_file(logs_path, MAX_LOGS_BYTES, "--logs").decode("utf-8")
    except UnicodeDecodeError as e:
        raise MalformedError("is not text in UTF-8", field="--logs") from e
    logs = parse_policy(text, "--logs").logs

    def key(path: Path) -> SigningKey:
        if path.exists():
            return open_key(path, "Passphrase of the witness's key", PASSPHRASE)
        passphrase = None
        if not no_passphrase:
            passphrase = new_passphrase("Passphrase for the witness's key", PASSPHRASE)
        return save_key(path, os.urandom(SEED_BYTES), passphrase, os.urandom, no_passphrase=no_passphrase)

    with open_witness(folder, name, logs, lambda: int(time.time()), key) as opened:
        replace_file(folder / "witness.vkey", f"{opened.vkey}\n".encode())
        click.echo(f"{opened.vkey} follows {len(logs)} logs at http://{host}:{port}", err=True)
        uvicorn.run(
            WitnessApp(opened),
            host=host,
            port=port,
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
