"""Kept answers: they hold until the log, the catalog or an anchor changes, and not a moment longer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from api.anchorer import Anchorer
from api.answers import CHUNK, KEPT_ANSWERS, Answers
from api.composition import Running, open_registry
from api.settings import Settings
from ledger.encoding import digest_encode, sha256
from ledger.registry.anchoring import Anchoring
from ledger.registry.proving import prove
from tests.support.chain import Chain, ChainAnchor
from tests.support.library import Library, make_library, signing_key

KEY = signing_key("answers")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with open_registry(Settings(data_dir=tmp_path)) as running:
        yield running


def published(running: Running, name: str) -> Library:
    library = make_library(KEY, running.writer.registry.identity.origin, [name.encode()], title=name)
    running.writer.registry.publish(library.data, library.terms, library.text, KEY.did)
    return library


def test_an_answer_is_kept_until_the_log_grows(running: Running) -> None:
    answers, digest = Answers(running), published(running, "one").digest()
    assert answers.kept(digest) is None
    first = answers.resolve(digest)
    assert answers.kept(digest) == first
    published(running, "two")
    assert answers.kept(digest) is None
    assert json.loads(answers.resolve(digest))["size"] == running.writer.registry.log.head.size


def test_an_answer_is_kept_until_the_catalog_changes(running: Running) -> None:
    answers, digest = Answers(running), published(running, "one").digest()
    assert len(json.loads(answers.resolve(digest))["claims"]) == 1
    running.writer.registry.catalog.remove_manifest(1)  # the log does not grow with it
    answers.changed()
    assert answers.kept(digest) is None
    assert json.loads(answers.resolve(digest))["claims"] == []


def test_an_answer_is_kept_until_an_anchor_comes(running: Running) -> None:
    answers, digest = Answers(running), published(running, "one").digest()
    assert json.loads(answers.resolve(digest))["claims"][0]["anchor"] is None
    running.writer.anchorer.step()
    assert answers.kept(digest) is None
    assert json.loads(answers.resolve(digest))["claims"][0]["anchor"]["state"] == "final"
    assert running.writer.anchorer.step() == ()
    assert answers.kept(digest) is not None


def test_an_answer_is_kept_until_an_older_anchor_changes(running: Running) -> None:
    """A slow chain: a newer anchor is under way when the one that the answer names becomes final."""
    chain = Chain()
    anchorer = Anchorer(running.writer.registry, lambda: ChainAnchor(chain), 60)
    answers, digest = Answers(replace(running, beside=anchorer)), published(running, "one").digest()
    anchorer.step()
    chain.mine()
    chain.finalize()
    published(running, "two")
    before = answers.resolve(digest)
    assert json.loads(before)["claims"][0]["anchor"] is None
    assert [row.state for row in anchorer.step()] == ["final", "pending"]
    assert answers.kept(digest) is None
    assert json.loads(answers.resolve(digest))["claims"][0]["anchor"]["state"] == "final"
    chain.mine()
    assert [row.state for row in anchorer.step()] == ["mined"]
    assert answers.kept(digest) is None


def test_an_anchor_in_a_block_with_a_wide_header(running: Running) -> None:
    """Header and nodes of a record are longer, in hex, than any text for people may be."""
    answers, digest = Answers(running), published(running, "one").digest()
    Anchoring(running.writer.registry, ChainAnchor(Chain(is_instant=True, extra=bytes(3000)))).step()
    [row] = running.writer.registry.catalog.anchors(None, 9)
    assert len(row.record or b"") > 6000
    assert answers.anchor_value(row)["time"] is not None
    assert json.loads(answers.resolve(digest))["claims"][0]["anchor"]["state"] == "final"
    assert prove(running.writer.registry, digest)


def test_an_answer_overtaken_while_it_was_made_is_not_kept(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, digest = Answers(running), published(running, "one").digest()
    make = answers.resolve_many

    def overtaken(digests: Sequence[bytes]) -> Iterator[list[bytes]]:
        found = list(make(digests))
        answers.changed()
        return iter(found)

    monkeypatch.setattr(answers, "resolve_many", overtaken)
    answers.resolve(digest)
    assert answers.kept(digest) is None


def test_kept_answers_are_bounded(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.answers.KEPT_ANSWERS", 10)
    answers = Answers(running)
    for n in range(15):
        answers.resolve(sha256(b"%d" % n))
    assert [answers.kept(sha256(b"%d" % n)) is not None for n in range(15)] == [False] * 5 + [True] * 10
    assert KEPT_ANSWERS > 10


def test_kept_answers_are_bounded_in_bytes(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, digests = Answers(running), [sha256(b"%d" % n) for n in range(15)]
    size = len(answers.resolve(digests[0]))
    monkeypatch.setattr("api.answers.KEPT_BYTES", 10 * size + size // 2)
    for _ in range(2):  # one that is kept already counts once
        for digest in digests:
            answers.resolve(digest)
    assert [answers.kept(digest) is not None for digest in digests] == [False] * 5 + [True] * 10
    published(running, "one")  # what counts no more takes no room
    for digest in digests[:10]:
        answers.resolve(digest)
    assert all(answers.kept(digest) for digest in digests[:10])


def test_a_long_answer_is_not_kept(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, known, unknown = Answers(running), published(running, "one").digest(), sha256(b"unknown")
    monkeypatch.setattr("api.answers.KEPT_ANSWER_BYTES", len(answers.resolve(unknown)))
    answers.changed()
    assert json.loads(answers.resolve(known))["claims"]
    answers.resolve(unknown)
    assert (answers.kept(known), answers.kept(unknown) is not None) == (None, True)


def test_many_are_answered_in_chunks_and_in_order(running: Running) -> None:
    answers, known = Answers(running), published(running, "one").digest()
    asked = [sha256(b"%d" % n) for n in range(CHUNK)] + [known, known]
    chunks = list(answers.resolve_many(asked))
    assert [len(chunk) for chunk in chunks] == [CHUNK, 2]
    found = [json.loads(answer) for chunk in chunks for answer in chunk]
    assert [answer["digest"] for answer in found] == [digest_encode(digest) for digest in asked]
    assert [len(answer["claims"]) for answer in found[-3:]] == [0, 1, 1]


def test_each_answer_is_of_one_size(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    # Others keep writing: after a few tries the log is held while the answer is made.
    answers, library = Answers(running), published(running, "one")
    registry, names = running.writer.registry, iter(f"more {n}" for n in range(9))
    claims = registry.claims
    sizes: list[tuple[int, int]] = []

    def growing(digests: Sequence[bytes]) -> object:
        before = registry.log.head.size
        if len(sizes) < 3:
            published(running, next(names))
        sizes.append((before, registry.log.head.size))
        return claims(digests)

    monkeypatch.setattr(registry, "claims", growing)
    answer = json.loads(answers.resolve(library.digest()))
    assert len(sizes) == 4
    assert all(before < after for before, after in sizes[:3])
    assert sizes[3] == (answer["size"], answer["size"])
