"""Ctrl-C in the middle of an audit on several processes: nothing is left behind, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from ledger.audit.folder import AuditFolder, History
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.statements import sign_statement
from ledger.trust import format_trust
from tests.simulator import ORIGIN, HandMadeLog, identity, key, trust_in
from tests.support.logs import serving, status, write_log
from tests.support.process import COMMAND, environment

SIZE = 256 * 24


def log(folder: Path) -> None:
    """Publishes a log that is read by several processes; its statements are one, again and again."""
    said = sign_statement("poem", key("eva").did, key("eva"), ORIGIN, {"lines": []}).data
    leaves = [HandMadeLog().leaves[0].data, *[said] * (SIZE - 1)]
    root = write_log(folder, leaves, b"").root()
    (folder / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(ORIGIN, SIZE, root), identity().log_key))


def test_ctrl_c(tmp_path: Path) -> None:
    log(tmp_path / "log")
    (tmp_path / "trust.json").write_bytes(format_trust(trust_in(identity())))
    reached, ended = threading.Event(), threading.Event()

    def stuck(request: BaseHTTPRequestHandler) -> None:
        reached.set()
        ended.wait(60)
        status(500)(request)

    words = [*COMMAND, "log", "audit", "--state", "audit", "--jobs", "2", "--tiles-only"]
    with serving(tmp_path / "log") as served:
        served.answers["/tile/entries/020"] = stuck
        process = subprocess.Popen(
            [*words, served.url],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert reached.wait(60)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
            out, err = process.communicate(timeout=60)
        finally:
            ended.set()
            if process.poll() is None:
                process.kill()
                process.wait()
        assert (process.returncode, out, err.strip()) == (130, "", "trainmark: interrupted")
        seen = AuditFolder(tmp_path / "audit").load()
        assert ([signed.checkpoint.size for signed in seen.shown], replace(seen, shown=())) == ([SIZE], History())
        del served.answers["/tile/entries/020"]
        again = subprocess.run(
            [*words, served.url],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (again.returncode, f"at {SIZE} leaves" in again.stdout) == (0, True), again.stderr
