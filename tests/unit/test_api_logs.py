"""What is reported: one record a line whatever it holds, and what a record of a request says and never says."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.to_thread import run_sync

from api.app import create_app
from api.logs import REQUEST_ID, JsonFormatter, TextFormatter, configure
from api.settings import Settings

HOSTILE = 'x\n{"level": "info"}\r\x1b[2J\u2028\u202e\ud800"'


def record(message: str, *arguments: object, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    """Makes a record as a logger does."""
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.makeLogRecord(
        {"name": "ledger.x", "levelname": "WARNING", "msg": message, "args": arguments, "exc_info": info}
    )
    made.created = 1_790_000_000.25
    made.__dict__.update(extra)
    return made


def caught() -> BaseException:
    """Returns an error that was raised, with hostile text in it."""
    try:
        raise ValueError(HOSTILE)
    except ValueError as e:
        return e


def test_json_is_one_line_that_gives_back_what_was_said() -> None:
    line = JsonFormatter().format(record("said %s", HOSTILE, error=caught(), leaves=3, route=HOSTILE))
    assert line.isascii()
    assert line.isprintable()
    value = json.loads(line)
    assert value.pop("traceback").endswith(f"ValueError: {HOSTILE}")
    assert value == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "warning",
        "logger": "ledger.x",
        "message": f"said {HOSTILE}",
        "leaves": 3,
        "route": HOSTILE,
    }


def test_text_is_one_line_and_a_traceback_is_further_in() -> None:
    line, *traceback = TextFormatter().format(record("said %s", HOSTILE, error=caught(), leaves=3)).split("\n")
    assert line.startswith(
        '2026-09-21T14:13:20.250Z warning: said x\\n{"level": "info"}\\r\\x1b[2J\\u2028\\u202e\\ud800"'
    )
    assert line.endswith(" leaves=3")
    assert traceback[0] == "    Traceback (most recent call last):"
    assert all(part.startswith("    ") and part.isprintable() for part in traceback)


def test_a_record_of_a_thread_that_serves_a_request_has_its_id() -> None:
    async def serve() -> str:
        REQUEST_ID.set("abc")
        return await run_sync(JsonFormatter().format, record("x"))

    assert json.loads(anyio.run(serve))["request_id"] == "abc"
    assert "request_id" not in json.loads(JsonFormatter().format(record("x")))


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Puts back what ``configure`` changes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for name in ("api", "ledger", "anchors"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("logging_as_before")
def test_libraries_are_heard_from_warnings_on_only(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "debug")
    logging.getLogger("httpx").info("GET https://node.example/secret-access-key")
    logging.getLogger("ledger.registry.log").debug("published")
    logging.getLogger("web3").warning("broken pipe")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["published", "broken pipe"]


# Requests

FILE = "sha256:" + "ab" * 32


def asked(tmp_path: Path, caplog: pytest.LogCaptureFixture, *requests: tuple[str, str, dict[str, str]]) -> list[Any]:
    """Asks an application that is not open; returns (answer, record) of each request."""
    caplog.set_level(logging.INFO, logger="api")

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(Settings(data_dir=tmp_path)), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return [await http.request(method, path, headers=headers) for method, path, headers in requests]

    answers = anyio.run(ask)
    records = [json.loads(JsonFormatter().format(r)) for r in caplog.records if r.getMessage() == "request"]
    assert len(records) == len(answers)
    return list(zip(answers, records, strict=True))


def test_the_record_of_a_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = asked(
        tmp_path,
        caplog,
        ("GET", "/v1/rules?key=secret", {}),
        ("POST", "/v1/rules", {"Authorization": "Bearer secret"}),
        ("GET", f"/nothing/{FILE}", {}),
        ("BREW", f"/{FILE}", {}),
        ("GET", f"/v1/resolve/{FILE}", {}),  # the registry is not open: an error of the program
        ("POST", "/v1/statements", {"Content-Length": "99999999"}),
    )
    said = [(r["method"], r["route"], r["status"], r.get("code")) for _, r in rows]
    assert said == [
        ("GET", "/v1/rules", 200, None),
        ("POST", "/v1/rules", 405, "method-not-allowed"),
        ("GET", "none", 404, "not-found"),
        ("other", "none", 404, "not-found"),
        ("GET", "/v1/resolve/{digest}", 500, "internal"),
        ("POST", "none", 413, "too-big"),
    ]
    assert all(r["milliseconds"] >= 0 for _, r in rows)
    written = json.dumps([r for _, r in rows])
    assert not any(word in written for word in ("secret", "abab", "127.0.0.1"))


def test_answer_problem_and_record_share_the_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = ("/v1/rules", "/nothing", f"/v1/resolve/{FILE}")
    for answer, _ in asked(tmp_path, caplog, *(("GET", path, {"Accept": "*/*"}) for path in paths)):
        ids = answer.headers.get_list("x-request-id")
        assert len(ids) == 1
        assert len(ids[0]) == 16
        if answer.status_code != 200:
            assert answer.json()["instance"] == f"urn:trainmark:request:{ids[0]}"


def test_an_id_from_outside_is_kept_if_it_is_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = ["a", "0af7651916cd43dd8448eb211c80319c", "A-b_9" + "x" * 59]
    bad = ["", "x" * 65, "a b", 'a"b', "a\tb", "a,b", "a/b"]
    rows = asked(tmp_path, caplog, *(("GET", "/v1/rules", {"X-Request-Id": given}) for given in good + bad))
    ids = [answer.headers["x-request-id"] for answer, _ in rows]
    assert ids[: len(good)] == good
    assert {len(id_) for id_ in ids[len(good) :]} == {16}
    assert len(set(ids)) == len(ids)


def test_an_error_of_the_program_is_told_with_the_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What serves the application reports such an error after it has answered, in the request's own context."""
    seen: list[str] = []
    app = create_app(Settings(data_dir=tmp_path))

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except Exception:
            seen.append(json.loads(JsonFormatter().format(record("failed", error=sys.exc_info()[1])))["request_id"])

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(serve), base_url="http://127.0.0.1") as http:
            return await http.get(f"/v1/resolve/{FILE}")

    answer = anyio.run(ask)
    assert (answer.status_code, seen) == (500, [answer.headers["x-request-id"]])
