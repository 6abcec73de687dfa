"""The token vectors: each good case passes, each bad one is refused with its reason code and at its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.encoding import b64url_decode
from ledger.errors import TrainmarkError
from ledger.tokens.attribution import SdJwt, TokenIssuer, parse_token, verify_token
from ledger.tokens.bundle import TokenResult, format_token_bundle, parse_token_bundle, verify_token_bundle
from ledger.tokens.presentation import parse_presentation, verify_presentation
from ledger.tokens.status import check_status, parse_status_list, unpack_status, verify_status_list
from ledger.trust import parse_trust
from scripts.make_token_vectors import DIRECTORY, documents, packed_arrays

FILES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DIRECTORY.glob("*.json"))}
TOKENS, STATUSES, PRESENTATIONS, BUNDLES = (
    json.loads(FILES[f"{name}.json"]) for name in ("tokens", "statuses", "presentations", "bundles")
)
TRUST = parse_trust(FILES["trust.json"].encode())


def cases(document: dict[str, Any]) -> list[Any]:
    """Returns the cases of a document as parameters named for themselves."""
    return [pytest.param(case, id=case["name"]) for case in document["cases"]]


def issuer(document: dict[str, Any], case: dict[str, Any]) -> TokenIssuer:
    """Returns the issuer of a document, with the keys of the case where it has its own."""
    keys = case.get("keys", document["issuer"]["keys"])
    decoded = {kid: b64url_decode(x, "x") for kid, x in keys.items()}
    return TokenIssuer(document["issuer"]["iss"], document["issuer"]["log"], decoded)


def outcome(case: dict[str, Any], error: TrainmarkError | None) -> None:
    """Compares what happened with what the case says."""
    if error is None:
        assert case["code"] is None, f"accepted, expected {case['code']}"
    else:
        assert (error.code, error.field) == (case["code"], case["field"]), str(error)


@pytest.mark.parametrize("case", cases(TOKENS))
def test_token(case: dict[str, Any]) -> None:
    error: TrainmarkError | None = None
    try:
        found: SdJwt = verify_token(parse_token(case["text"]), issuer(TOKENS, case), case.get("now", TOKENS["now"]))
        assert found.text == case["text"]
    except TrainmarkError as e:
        error = e
    outcome(case, error)


@pytest.mark.parametrize("case", cases(STATUSES))
def test_status_list(case: dict[str, Any]) -> None:
    error: TrainmarkError | None = None
    try:
        status = parse_status_list(case["text"])
        keys = issuer(STATUSES, case).keys
        verify_status_list(status, keys, STATUSES["uri"], case.get("now", STATUSES["now"]))
        check_status(status.array, case.get("index", STATUSES["index"]))
    except TrainmarkError as e:
        error = e
    outcome(case, error)


@pytest.mark.parametrize("case", cases(PRESENTATIONS))
def test_presentation(case: dict[str, Any]) -> None:
    error: TrainmarkError | None = None
    asked = {name: PRESENTATIONS[name] for name in ("aud", "nonce", "max_age")}
    now = case.get("now", PRESENTATIONS["now"])
    try:
        verify_presentation(parse_presentation(case["text"]), issuer(PRESENTATIONS, case), now=now, **asked)
    except TrainmarkError as e:
        error = e
    outcome(case, error)


@pytest.mark.parametrize("case", cases(BUNDLES))
def test_bundle(case: dict[str, Any]) -> None:
    error: TrainmarkError | None = None
    try:
        now = case.get("now", BUNDLES["now"])
        result: TokenResult = verify_token_bundle(case["text"].encode(), TRUST, now, at=case.get("at"))
        assert result.as_of == case.get("at", now)
    except TrainmarkError as e:
        error = e
    outcome(case, error)


@pytest.mark.parametrize("case", [c for c in cases(BUNDLES) if c.values[0]["code"] is None])
def test_good_bundle_is_written_as_it_was_read(case: dict[str, Any]) -> None:
    text = case["text"]
    bundle = parse_token_bundle(text.encode())
    note = json.loads(text)["checkpoint"].encode()
    parts = (note, bundle.leaves, bundle.status.jwt.text, bundle.anchors)
    if bundle.files is not None:
        assert format_token_bundle(bundle.sd_jwt, bundle.files, *parts) == text.encode()
    else:
        written = json.loads(format_token_bundle(bundle.sd_jwt, [bytes(32)], *parts))
        assert {**written, "files": None} == json.loads(text)


def test_names_are_distinct() -> None:
    for document in (TOKENS, STATUSES, PRESENTATIONS, BUNDLES):
        names = [case["name"] for case in document["cases"]]
        assert len(set(names)) == len(names)


def test_files_are_what_the_generator_makes() -> None:
    # The packed arrays come from the file: another zlib packs the same array differently.
    packed = STATUSES["packed"]
    for name, lst in packed_arrays().items():
        if name not in ("bomb", "short", "long"):
            assert unpack_status(packed[name], name) == unpack_status(lst, name)
    assert documents(packed) == FILES
