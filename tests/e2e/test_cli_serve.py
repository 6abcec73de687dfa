"""``trainmark serve`` that cannot start: what is set wrongly is misuse, and each reason is told without a traceback."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.support.process import COMMAND, START_SECONDS, ServerProcess, environment


def serve(folder: Path, *options: object, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Starts a server that is expected to end by itself; returns its exit code and its last line of errors."""
    done = subprocess.run(
        [*COMMAND, "serve", *map(str, options)],
        cwd=folder,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "unforeseen" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "env", "message"),
    [
        (("--host", "0.0.0.0"), {}, "trainmark: TRAINMARK_CHAIN: a public registry anchors on a real chain; set "),
        (("--issuer", "https://registry.example"), {}, "trainmark: TRAINMARK_CHAIN: "),
        (("--issuer", "ftp://x"), {}, "trainmark: issuer: String should match pattern '^https?://"),
        (("--port", "99999"), {}, "trainmark: port: Input should be less than or equal to 65535. Port to listen on."),
        (("--port", "x"), {}, "Error: Invalid value for '--port': 'x' is not a valid integer."),
        ((), {"TRAINMARK_CHAIN": "x"}, "trainmark: TRAINMARK_CHAIN: expected embedded, or the http(s) URL of a node"),
        ((), {"TRAINMARK_ANCHOR_INTERVAL": "-1"}, "trainmark: anchor_interval: Input should be greater than 0. "),
    ],
)
def test_settings_that_do_not_do_are_misuse(
    tmp_path: Path, options: tuple[str, ...], env: dict[str, str], message: str
) -> None:
    code, error = serve(tmp_path, *options, env=env)
    assert code == 2
    assert error.startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"port =", "trainmark: trainmark.toml: is not TOML in UTF-8: "),
        (b"\xff\xfe", "trainmark: trainmark.toml: is not TOML in UTF-8: "),
        (b"ports = 1", "trainmark: ports: there is no such setting [malformed]"),
    ],
)
def test_a_settings_file_that_is_none_is_misuse(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "trainmark.toml").write_bytes(data)
    code, error = serve(tmp_path)
    assert code == 2
    assert error.startswith(message)


def test_why_a_server_does_not_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = "trainmark: --data-dir: 'file' is not a folder; name another one [malformed]"
    assert serve(tmp_path, "--data-dir", "file") == (2, said)


def test_keys_that_cannot_be_opened_are_misuse(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    server.start()
    try:
        said = f"trainmark: cannot listen on port {server.port} of 127.0.0.1: address already in use; choose another "
        assert serve(tmp_path, "--data-dir", "other", "--port", server.port) == (
            3,
            said + "with --port (or --host) [cannot-listen]",
        )
        code, error = serve(tmp_path, "--data-dir", "data", "--port", 0)
        assert code == 3
        assert error.endswith("end that one, or name another folder with --data-dir [second-writer]")
    finally:
        server.kill()
    code, error = serve(tmp_path, "--data-dir", "data", env={"TRAINMARK_KEY_PASSPHRASE": "correct horse"})
    assert code == 2
    assert error.startswith("trainmark: TRAINMARK_KEY_PASSPHRASE: registry.pem is not encrypted")


def test_a_server_says_when_it_answers_and_when_it_has_ended(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    server.start()
    try:
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
    finally:
        server.stop()
    data = tmp_path / "data"
    assert server.output.read_text().splitlines() == [
        f"{server.url} answers; data in {data}; Ctrl-C ends",
        "the registry has ended",
    ]


def test_json_is_all_a_server_writes(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", {"TRAINMARK_LOG": "json", "TRAINMARK_LOG_LEVEL": "debug"})
    server.start()
    try:
        digest = "sha256:" + "ab" * 32
        answer = httpx.get(f"{server.url}/v1/resolve/{digest}", headers={"X-Request-Id": "mine"})
        refused = httpx.get(f"{server.url}/nothing/{digest}")
    finally:
        server.stop()
    assert (answer.status_code, answer.headers["x-request-id"]) == (200, "mine")
    lines = [json.loads(line) for line in server.output.read_text().splitlines()]
    first, second = (line for line in lines if line["message"] == "request")
    assert (first["request_id"], first["route"], first["status"]) == ("mine", "/v1/resolve/{digest}", 200)
    assert (second["route"], second["status"], second["code"]) == ("none", 404, "not-found")
    assert refused.json()["instance"] == f"urn:trainmark:request:{second['request_id']}"
    published = next(line for line in lines if line["message"] == "published")
    assert (published["leaves"], published["size"]) == (1, 1)  # the policy
    assert "request_id" not in published
    assert [line["level"] for line in lines if line["message"].startswith("the log is open")] == ["info"]
    assert lines[-1]["message"] == "the registry has ended"
    assert digest not in server.output.read_text()
