"""What a verified token bundle says, and how much of it; the negative cases are vectors (test_tokens_vectors)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ledger.encoding import digest_encode, time_encode
from ledger.errors import VerificationError
from ledger.receipt import keccak256
from ledger.tokens import bundle as module
from ledger.tokens.bundle import parse_token_bundle, verify_token_bundle
from ledger.tokens.status import STATUS_SECONDS
from scripts import make_token_vectors as vectors

PACKED = vectors.packed_arrays()
TRUST = vectors.trust(PACKED)
GOOD = vectors.World(PACKED).bundle()


def world(**changes: Any) -> bytes:
    """Makes the bundle of a world with something changed."""
    return vectors.World(PACKED, **changes).bundle()


def about(sentences: tuple[str, ...], words: str) -> list[str]:
    """Returns the sentences that hold `words`."""
    return [s for s in sentences if words in s]


def test_everything_known() -> None:
    result = verify_token_bundle(GOOD, TRUST, vectors.NOW)
    assert (result.digest, result.leaf, result.size) == (vectors.good_token().digest, 6, 8)
    assert (result.licensee, result.price) == (vectors.LICENSEE, vectors.PRICE)
    assert result.token == vectors.good_token().token
    assert (result.files_checked, result.status_age, result.as_of) == (True, 1800, vectors.NOW)
    assert result.issued_before == vectors.BLOCK_TIME
    assert about(result.proved, "exactly the 5 files")
    assert about(result.proved, "8 leaves were anchored (development)")
    assert about(result.asserted, "not revoked or suspended")
    assert about(result.not_checked, "holds its key")
    assert about(result.not_checked, "no witness")
    assert not about(result.not_checked, "no anchor of a known block")


def test_as_json() -> None:
    value: Any = json.loads(json.dumps(verify_token_bundle(GOOD, TRUST, vectors.NOW).value()))
    assert value["token"] == digest_encode(vectors.good_token().digest)
    assert value["issued_before"] == time_encode(vectors.BLOCK_TIME)
    assert value["uses"] == ["evaluate", "finetune", "train"]
    assert value["price"] == {"currency": "EUR", "minor": 125_000}
    assert value["anchors"][0]["class"] == "development"


def test_a_block_nobody_vouches_for_gives_no_time() -> None:
    result = verify_token_bundle(GOOD, replace(TRUST, blocks={}), vectors.NOW)
    assert (result.issued_before, result.anchors[0].time) == (None, None)
    assert about(result.not_checked, "its hash is not known to you")
    assert about(result.not_checked, "no anchor of a known block")
    assert not about(result.proved, "anchored")


def test_an_anchor_before_the_token_does_not_date_it() -> None:
    data = world(anchored_size=6)
    record = parse_token_bundle(data).anchors[0].record
    trust = TRUST.with_block(vectors.CHAIN, vectors.GENESIS, keccak256(record.header))
    result = verify_token_bundle(data, trust, vectors.NOW)
    assert result.issued_before is None
    assert about(result.proved, "does not cover this token")
    assert about(result.not_checked, "no anchor of a known block")


def without_files() -> bytes:
    """The good bundle with its list of files left to a file beside it."""
    return vectors.raw({**json.loads(GOOD), "files": None})


def test_files_beside_the_bundle() -> None:
    result = verify_token_bundle(without_files(), TRUST, vectors.NOW)
    assert not result.files_checked
    assert about(result.not_checked, "which files")
    assert verify_token_bundle(without_files(), TRUST, vectors.NOW, files=vectors.FILES[::-1]).files_checked
    with pytest.raises(VerificationError) as e:
        verify_token_bundle(without_files(), TRUST, vectors.NOW, files=vectors.FILES[1:])
    assert e.value.code == "files-count"


def test_a_long_list_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CARRIED_FILES_BYTES", 32 * 5 - 1)
    assert world() == without_files()


def test_a_public_token_has_no_holder_to_ask_for() -> None:
    result = verify_token_bundle(world(sd_jwt=vectors.public_token()), TRUST, vectors.NOW)
    assert (result.licensee, result.price, result.token.uses) == (None, None, ())
    assert not about(result.not_checked, "holds its key")
    assert about(result.proved, "permits no use")


def test_a_creator_key_that_is_not_shown_is_not_checked() -> None:
    result = verify_token_bundle(world(left_out=[2]), TRUST, vectors.NOW)
    assert about(result.not_checked, f"that {vectors.CREATOR_2.did} speaks for {vectors.CREATOR.did}")
    assert not about(verify_token_bundle(GOOD, TRUST, vectors.NOW).not_checked, "speaks for")


@pytest.mark.parametrize(
    ("issued", "at", "words"),
    [
        (vectors.STATUS_ISSUED, vectors.NOW - 300, "for its day"),  # its day includes that moment
        (vectors.STATUS_ISSUED - 2 * STATUS_SECONDS, vectors.NOW - 300, "was logged before"),  # the anchor is older
        (vectors.NOW - 60, vectors.BLOCK_TIME, "was logged before"),  # signed later, the same array
    ],
)
def test_status_in_the_past(issued: int, at: int, words: str) -> None:
    result = verify_token_bundle(world(status_issued=issued), TRUST, vectors.NOW, at=at)
    assert (result.as_of, result.status_age) == (at, at - issued)
    assert about(result.asserted, words)
    assert not about(result.not_checked, "revoked")


def test_status_in_the_past_that_nothing_shows() -> None:
    # Signed after that moment, and anchored after it.
    result = verify_token_bundle(GOOD, TRUST, vectors.NOW, at=vectors.STATUS_ISSUED - 1)
    assert about(result.not_checked, "whether the token was revoked")
    assert not about(result.asserted, "revoked or suspended")


def test_an_anchor_before_the_status_leaf_does_not_date_the_list() -> None:
    data = world(anchored_size=3, status_issued=vectors.STATUS_ISSUED - 2 * STATUS_SECONDS)
    record = parse_token_bundle(data).anchors[0].record
    trust = TRUST.with_block(vectors.CHAIN, vectors.GENESIS, keccak256(record.header))
    result = verify_token_bundle(data, trust, vectors.NOW, at=vectors.NOW - 300)
    assert about(result.not_checked, "whether the token was revoked")


def test_a_token_that_nothing_shows_in_the_log_by_then() -> None:
    """`iat` is the issuer's own word: a token logged today may say that it permits since last year."""
    late = verify_token_bundle(GOOD, TRUST, vectors.NOW, at=vectors.BLOCK_TIME - 1)
    assert about(late.not_checked, f"was issued by {time_encode(vectors.BLOCK_TIME - 1)}")
    undated = verify_token_bundle(GOOD, replace(TRUST, blocks={}), vectors.NOW, at=vectors.BLOCK_TIME)
    assert about(undated.not_checked, "was issued by")
    for result in (
        verify_token_bundle(GOOD, TRUST, vectors.NOW, at=vectors.BLOCK_TIME),
        verify_token_bundle(GOOD, replace(TRUST, blocks={}), vectors.NOW),  # of now: it is in the log
    ):
        assert not about(result.not_checked, "was issued by")


def test_what_only_the_registry_answers_for() -> None:
    result = verify_token_bundle(GOOD, TRUST, vectors.NOW)
    assert about(result.not_checked, "their terms permit this")
    assert about(result.asserted, "no policy is left out")
    assert about(result.asserted, "no leaf left out revoked a signing key")
    assert not about(result.not_checked, "does not know")


def test_a_policy_that_is_left_out_is_asserted_away() -> None:
    """The registry had taken the key from its policy; the bundle does not show it, and says that it need not."""
    changed = vectors.World(PACKED).policy([vectors.TOKEN_2])
    with pytest.raises(VerificationError, match="no trusted key"):
        verify_token_bundle(world(between=[changed]), TRUST, vectors.NOW)
    data = world(between=[changed], left_out=[6])
    trust = TRUST.with_block(
        vectors.CHAIN, vectors.GENESIS, keccak256(parse_token_bundle(data).anchors[0].record.header)
    )
    result = verify_token_bundle(data, trust, vectors.NOW)
    assert about(result.asserted, "no policy is left out")
    assert not about(result.proved, "policy")


def test_there_is_no_status_of_the_future() -> None:
    with pytest.raises(ValueError, match="after the clock"):
        verify_token_bundle(GOOD, TRUST, vectors.NOW, at=vectors.NOW + 1)
