"""How long a request says its body is."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx
import pytest
from starlette.datastructures import Headers

from api.app import create_app
from api.middleware import body_length
from api.settings import Settings
from ledger.errors import MalformedError


def headers(*values: str, **others: str) -> Headers:
    raw = [(b"content-length", value.encode("latin-1")) for value in values]
    return Headers(raw=raw + [(name.replace("_", "-").encode(), value.encode()) for name, value in others.items()])


@pytest.mark.parametrize(
    ("value", "length"), [("0", 0), ("5", 5), ("00000000000000000005", 5), ("99999999999999999999", 10**20 - 1)]
)
def test_one_number(value: str, length: int) -> None:
    assert body_length(headers(value)) == length


def test_a_body_that_does_not_say() -> None:
    assert body_length(headers()) is None
    assert body_length(headers(transfer_encoding="chunked")) is None
    # The chunks count: a small number beside them makes no big upload a small one.
    assert body_length(headers("5", transfer_encoding="chunked")) is None


@pytest.mark.parametrize(
    "values",
    [
        *(("",), ("-1",), ("+1",), ("1.0",), ("1e3",), ("0x10",), ("1_000",), (" 1",), ("1 ",), ("5, 5",), ("\xb2",)),
        *(("5", "5"), ("5", "6"), ("5", ""), ("0" * 21,), ("0" * 5000 + "5",), ("9" * 5000,)),
    ],
)
def test_what_is_no_length(values: tuple[str, ...]) -> None:
    for given in (headers(*values), headers(*values, transfer_encoding="chunked")):
        with pytest.raises(MalformedError, match="Content-Length: expected one number of bytes"):
            body_length(given)


def test_a_server_that_lets_it_through_gets_a_problem(tmp_path: Path) -> None:
    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(Settings(data_dir=tmp_path)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            twice = [("Content-Length", "5"), ("Content-Length", "6")]
            return await http.post("/v1/manifests", headers=twice, content=b"12345")

    answer = anyio.run(post)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "malformed", "Content-Length")
