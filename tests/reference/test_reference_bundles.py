"""The reference on whole files: what a small registry made by hand says holds, and no change of it does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reference import bundle, documents, jcs, merkle, note, receipt, snapshot, statement, tiles, token, world
from tests.reference.refuted import RefutedError
from tests.reference.world import CREATOR, CREATOR_2, HOLDER, NOW, ORIGIN, REGISTRY, STRANGER, World

ALL_PROVED = {
    "file",
    "entry",
    "header",
    "terms",
    "signatures",
    "checkpoint",
    "leaves",
    "key",
    "log",
    "snapshot",
    "anchor",
}
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def made() -> World:
    return World()


@pytest.fixture(scope="module")
def trust(made: World) -> bundle.Trust:
    return bundle.parse_trust(jcs.canonical(made.trust()))


def _refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RefutedError) as caught:
        call()
    return caught.value.code


def _mutations(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Each scalar of a value changed a little, each list without its last item, each object without one of its keys."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*place, key, "missing"), {name: other for name, other in value.items() if name != key}
            for where, changed in _mutations(item, (*place, key)):
                yield where, value | {key: changed}
    elif isinstance(value, list):
        if value:
            yield (*place, "shorter"), value[:-1]
        for i, item in enumerate(value):
            for where, changed in _mutations(item, (*place, i)):
                yield where, [*value[:i], changed, *value[i + 1 :]]
    elif isinstance(value, bool):
        yield place, not value
    elif isinstance(value, int):
        yield (*place, "+1"), value + 1
        yield (*place, "-1"), value - 1
    elif isinstance(value, str) and value:
        middle = len(value) // 2
        other = "0" if value[middle] != "0" else "1"
        yield (*place, "changed"), value[:middle] + other + value[middle + 1 :]
        yield (*place, "cut"), value[:-1]
    elif value is None:
        yield (*place, "0"), 0


class TestProofBundle:
    @pytest.mark.parametrize("kind", ["provenance", "published", "content"])
    @pytest.mark.parametrize("number", range(5))
    def test_a_proof_holds(self, made: World, trust: bundle.Trust, number: int, kind: str) -> None:
        result = bundle.verify_bundle(jcs.canonical(made.bundle(number, kind)), trust)
        assert result.proved == ALL_PROVED
        assert result.asserted == {"keys-complete", "listed"}
        assert result.not_checked == {"file"}
        assert result.void == {}
        assert [(f.anchor_class, f.size, f.time) for f in result.anchors] == [
            ("development", made.ANCHORED, world.BLOCK_TIME)
        ]

    def test_the_file_itself(self, made: World, trust: bundle.Trust) -> None:
        data = jcs.canonical(made.bundle(3))
        assert bundle.verify_bundle(data, trust, file=b"original d/d.png").not_checked == set()
        assert _refusal(lambda: bundle.verify_bundle(data, trust, file=b"another")) == "file-mismatch"

    def test_a_block_that_nobody_vouches_for_gives_no_time(self, made: World) -> None:
        trust = bundle.parse_trust(jcs.canonical(made.trust(with_block=False)))
        data = jcs.canonical(made.bundle())
        result = bundle.verify_bundle(data, trust)
        assert "anchor" not in result.proved
        assert {"anchor", "block-hash"} <= result.not_checked
        assert result.anchors[0].time is None
        block = result.anchors[0].block_hash
        assert block is not None
        assert "anchor" in bundle.verify_bundle(data, trust, block_hashes=[block]).proved

    def test_absence(self, made: World, trust: bundle.Trust) -> None:
        for n in range(40):
            result = bundle.verify_bundle(jcs.canonical(made.absence(b"never seen %d" % n)), trust)
            assert result.proved == {"signatures", "checkpoint", "leaves", "snapshot", "anchor"}
            assert result.asserted == {"absent"}
        present = made.bundle() | {"claim": None, "leaves": made.carried([0, 4])}
        present["file"] = {"digest": made.entries[3]["provenance_hash"], "kind": None}
        assert _refusal(lambda: bundle.verify_bundle(jcs.canonical(present), trust)) == "snapshot"

    def test_every_change_is_refused_or_shows_less(self, made: World, trust: bundle.Trust) -> None:
        good = made.bundle()
        before = bundle.verify_bundle(jcs.canonical(good), trust)
        count, passed = 0, []
        for place, changed in _mutations(good):
            count += 1
            try:
                result = bundle.verify_bundle(jcs.canonical(changed), trust)
            except RefutedError:
                continue
            assert result != before, place
            passed.append(place)
        assert count > 600
        # Without an anchor, a snapshot or a leaf that no step needs, the rest still holds and the result says less.
        # The last digit of the block header belongs to no field that is read, but the block hash is another one.
        assert {str(place[0]) for place in passed} <= {"anchors", "rows", "leaves", "claim"}
        assert all(place[1:] == ("shorter",) or "header" in place for place in passed if place[0] == "anchors")

    @pytest.mark.parametrize(
        ("code", "change"),
        [
            ("malformed", lambda b: b.update(extra=None)),
            ("malformed", lambda b: b.update(trainmark="proof/v2")),
            ("malformed", lambda b: b["claim"].update(leaf=3)),
            ("malformed", lambda b: b["file"].update(kind=None)),
            ("malformed", lambda b: b["leaves"].reverse()),
            ("malformed", lambda b: b.update(checkpoint=1)),
            ("malformed", lambda b: b["rows"].extend(b["rows"] * 2)),
            ("malformed", lambda b: b["anchors"].extend(b["anchors"] * 2)),
            ("malformed", lambda b: b["claim"]["terms"]["uses"].update(train="maybe")),
            ("file-mismatch", lambda b: b["file"].update(digest="sha256:" + "00" * 32)),
            ("file-mismatch", lambda b: b["file"].update(kind="content")),
            ("entry-path", lambda b: b["claim"].update(entry_index=2)),
            ("entry-path", lambda b: b["claim"].update(entry_index=5)),
            ("entry-path", lambda b: b["claim"]["entry_path"].pop()),
            ("entry-path", lambda b: b["claim"]["entry"].update(size=1)),
            ("header-digest", lambda b: b["claim"]["header"].update(title="another")),
            ("header-digest", lambda b: b["claim"]["header"].update(creator_id=STRANGER.did)),
            ("terms-digest", lambda b: b["claim"]["terms"]["uses"].update(train="ask")),
            ("bad-signature", lambda b: b["leaves"][2]["statement"].update(key=CREATOR.did)),
            ("checkpoint", lambda b: b.update(checkpoint=b["checkpoint"].replace("\n8\n", "\n9\n"))),
            ("checkpoint", lambda b: b.update(checkpoint=b["checkpoint"].rsplit("\u2014", 1)[0])),
            ("leaf-path", lambda b: b["leaves"][2]["path"].reverse()),
            ("leaf-path", lambda b: b["leaves"][4].update(index=5)),
            ("key-invalid", lambda b: b["leaves"].pop(1)),
            ("snapshot", lambda b: b["leaves"].pop(4)),
            ("snapshot", lambda b: b["rows"][0].update(bits=0, bucket=0)),
            ("snapshot", lambda b: b["rows"][0]["run"].pop()),
            ("snapshot", lambda b: b["rows"][0]["run"].pop(0)),
            ("snapshot", lambda b: b["rows"][0].update(count=b["rows"][0]["count"] - 1)),
            ("snapshot", lambda b: b["rows"][0].update(bucket=1 - b["rows"][0]["bucket"])),
            ("anchor", lambda b: b["anchors"][0].update(size=7)),
            ("anchor", lambda b: b["anchors"][0]["consistency"].pop()),
            ("anchor", lambda b: b["anchors"][0]["record"].update(publisher="0x" + "00" * 20)),
            ("anchor", lambda b: b["anchors"][0]["record"].update(chain="eip155:1")),
            ("anchor", lambda b: b["anchors"][0]["record"].update(receipt_index=128)),
            ("anchor", lambda b: b["anchors"][0]["record"].update(log_index=0)),
            ("anchor", lambda b: b["anchors"][0]["record"].update(log_index=2)),
            ("anchor", lambda b: b["anchors"][0]["record"]["receipt_proof"].append("0xc0")),
        ],
    )
    def test_each_step_refuses_with_its_code(self, made: World, trust: bundle.Trust, code: str, change: Change) -> None:
        changed: dict[str, Any] = copy.deepcopy(made.bundle())
        change(changed)
        assert _refusal(lambda: bundle.verify_bundle(jcs.canonical(changed), trust)) == code

    def test_refuses_other_bytes_of_the_same_value(self, made: World, trust: bundle.Trust) -> None:
        data = jcs.canonical(made.bundle())
        for other in (data + b"\n", b" " + data, data.replace(b'"as_of":null,', b'"as_of": null,')):
            assert _refusal(lambda other=other: bundle.verify_bundle(other, trust)) == "malformed"  # type: ignore[misc]

    @pytest.mark.parametrize(
        "change",
        [
            {"trainmark": "trust/v2"},
            {"registry": "did:web:registry.example"},
            {"blocks": []},
            {"blocks": {"eip155:1": []}},
            {"blocks": {f"{world.CHAIN}/{world.GENESIS}": ["0x00"]}},
            {"anchors": [{"kind": "evm", "class": "public"}]},
            {"anchors": [{"kind": "rfc3161", "class": "trusted", "certificates": []}]},
            {"policy": "quorum w9\n"},
            {"more": None},
        ],
    )
    def test_refuses_what_is_no_trust_file(self, made: World, change: dict[str, jcs.Json]) -> None:
        assert _refusal(lambda: bundle.parse_trust(jcs.canonical(made.trust() | change))) == "malformed"

    def test_trust_is_the_trust_files_alone(self, made: World) -> None:
        data = jcs.canonical(made.bundle())
        fields = made.trust()
        other_log = fields | {"policy": f"log {STRANGER.vkey(ORIGIN, 1)}\nquorum none\n"}
        other_registry = fields | {"registry": STRANGER.did}
        no_anchor = fields | {"anchors": []}
        for changed, code in ((other_log, "checkpoint"), (other_registry, "void"), (no_anchor, "anchor")):
            trust = bundle.parse_trust(jcs.canonical(changed))
            assert _refusal(lambda trust=trust: bundle.verify_bundle(data, trust)) == code  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("leaf", "code"),
        [
            (lambda body: world.signed("manifest", CREATOR, body, log="other.example/log"), "wrong-log"),
            (lambda body: world.signed("manifest", CREATOR, body | {"supersedes": [2]}), "void"),
            (lambda body: world.signed("manifest", CREATOR, body, key=STRANGER), "key-invalid"),
            (lambda body: world.signed("manifest", STRANGER, body), "header-digest"),
        ],
    )
    def test_a_manifest_leaf_that_does_not_count(
        self, made: World, trust: bundle.Trust, leaf: Callable[[dict[str, Any]], bytes], code: str
    ) -> None:
        changed = copy.deepcopy(made)
        named = jcs.digest(jcs.canonical(made.header()))
        changed.leaves[2] = leaf({"manifest": named, "supersedes": []})
        data = changed.bundle() | {"rows": [], "anchors": []}
        assert _refusal(lambda: bundle.verify_bundle(jcs.canonical(data), trust)) == code

    def test_a_second_leaf_of_the_same_manifest_is_void(self, made: World, trust: bundle.Trust) -> None:
        changed = copy.deepcopy(made)
        changed.leaves[5] = changed.leaves[2]
        data: dict[str, Any] = changed.bundle() | {"rows": [], "anchors": [], "leaves": changed.carried(range(6))}
        assert bundle.verify_bundle(jcs.canonical(data), trust).void == {5: "the second leaf of one creator and digest"}
        data["claim"]["leaf"] = 5
        assert _refusal(lambda: bundle.verify_bundle(jcs.canonical(data), trust)) == "void"

    def test_rows_of_another_license_contradict_the_claim(self, made: World, trust: bundle.Trust) -> None:
        changed = copy.deepcopy(made)
        changed.rows = sorted(row[:44] + b"\x00\x00\x00\x01" for row in made.rows)
        body: dict[str, Any] = statement.as_value(statement.parse_statement(made.leaves[4]))["body"]  # type: ignore[assignment]
        body["root"] = world.digests([merkle.root(snapshot.top(changed.rows))])[0]
        changed.leaves[4] = world.signed("snapshot", REGISTRY, body)
        data = changed.bundle() | {"anchors": []}
        assert _refusal(lambda: bundle.verify_bundle(jcs.canonical(data), trust)) == "snapshot"

    def test_two_rows_of_one_claim_contradict_each_other(self, made: World, trust: bundle.Trust) -> None:
        changed = copy.deepcopy(made)
        held = bytes.fromhex(str(made.entries[3]["provenance_hash"])[7:])
        row = next(row for row in made.rows if row[:32] == held)
        changed.rows = sorted([*made.rows, row[:43] + bytes([row[43] + 1]) + row[44:]])
        body: dict[str, Any] = statement.as_value(statement.parse_statement(made.leaves[4]))["body"]  # type: ignore[assignment]
        body |= {"root": world.digests([merkle.root(snapshot.top(changed.rows))])[0], "count": len(changed.rows)}
        changed.leaves[4] = world.signed("snapshot", REGISTRY, body)
        data = changed.bundle() | {"anchors": []}
        assert _refusal(lambda: bundle.verify_bundle(jcs.canonical(data), trust)) == "snapshot"

    @pytest.mark.parametrize(
        ("second", "hours", "outcome"),
        [((7, 3600), 0, "proved"), ((7, 3600), 1, "anchor"), ((7, 3600), -1, "anchor"), ((6, 3600), 0, "anchor")],
    )
    def test_as_of(self, made: World, second: tuple[int, int], hours: int, outcome: str) -> None:
        # Asked for: from the time of the first anchor's block to just before that of the second one's.
        hashes = [merkle.leaf_hash(leaf) for leaf in made.leaves]
        anchors: list[dict[str, Any]] = []
        for size, later in ((made.ANCHORED, 0), second):
            root = merkle.tree(hashes[:size])
            record = world.anchor_record(size, root, time=world.BLOCK_TIME + later)
            proof = world.digests(merkle.proof(size, hashes))
            anchors.append({"size": size, "root": world.digests([root])[0], "consistency": proof, "record": record})
        blocks = [receipt.verify_record(anchor["record"]).block_hash for anchor in anchors]
        vouched: dict[str, jcs.Json] = {f"{world.CHAIN}/{world.GENESIS}": list(blocks)}
        trust = bundle.parse_trust(jcs.canonical(made.trust() | {"blocks": vouched}))
        time = f"2026-09-21T{11 + hours}:26:40Z"
        assert jcs.as_time(time, "time") == world.BLOCK_TIME + 3600 * hours
        data = made.bundle() | {"as_of": {"time": time}}
        if hours >= 0:
            one = bundle.verify_bundle(jcs.canonical(data), trust)
            assert "as-of" in one.not_checked  # the next anchor is not shown
        data["anchors"] = list(anchors)
        if outcome == "proved":
            assert "as-of" in bundle.verify_bundle(jcs.canonical(data), trust).proved
        else:
            assert _refusal(lambda: bundle.verify_bundle(jcs.canonical(data), trust)) == outcome


class TestAnchorRecord:
    def test_a_record(self) -> None:
        found = receipt.verify_record(world.anchor_record(7, b"\x05" * 32))
        assert (found.size, found.root) == (7, b"\x05" * 32)
        assert (found.block_number, found.time) == (42, world.BLOCK_TIME)
        assert (found.contract, found.publisher) == (world.CONTRACT, world.PUBLISHER)

    def test_a_failed_transaction_anchors_nothing(self) -> None:
        record = world.anchor_record(7, b"\x05" * 32, status=0)
        assert _refusal(lambda: receipt.verify_record(record)) == "anchor"

    def test_another_event_of_the_same_shape_is_no_anchor(self) -> None:
        record = world.anchor_record(7, b"\x05" * 32, event_name="Removed(address,bytes32,uint64,bytes32)")
        with pytest.raises(RefutedError, match="another event"):
            receipt.verify_record(record)

    def test_every_change_of_a_byte_is_refused_or_gives_another_block(self) -> None:
        record: dict[str, Any] = world.anchor_record(7, b"\x05" * 32)
        before = receipt.verify_record(record)
        for i in range(2, len(record["header"]), 2):
            changed = record | {"header": record["header"][:i] + f"{int(record['header'][i : i + 2], 16) ^ 1:02x}"}
            changed["header"] += record["header"][i + 2 :]
            try:
                found = receipt.verify_record(changed)
            except RefutedError:
                continue
            assert found.block_hash != before.block_hash
        for n, node in enumerate(record["receipt_proof"]):
            for i in range(2, len(node), 2):
                nodes = list(record["receipt_proof"])
                nodes[n] = node[:i] + f"{int(node[i : i + 2], 16) ^ 1:02x}" + node[i + 2 :]
                code = _refusal(lambda nodes=nodes: receipt.verify_record(record | {"receipt_proof": nodes}))  # type: ignore[misc]
                assert code == "anchor"


class TestTokens:
    def test_a_token(self, made: World) -> None:
        found = token.verify_token(made.token(), [world.TOKEN.did], NOW)
        assert found.disclosed == {
            "licensee": {"name": "Model Works", "id": "L-1"},
            "price": {"currency": "EUR", "minor": 1500},
        }
        signed, *_ = made.token().split("~")
        without = token.verify_token(signed + "~", [world.TOKEN.did], NOW)
        assert (without.disclosed, without.digest) == ({}, found.digest)

    @pytest.mark.parametrize(
        ("code", "change"),
        [
            ("malformed", lambda t: t.rstrip("~").split("~")[0]),
            ("malformed", lambda t: t.replace(".", "..", 1)),
            ("malformed", lambda t: t.replace("~", "=~", 1)),
            ("malformed", lambda t: t.replace("~", "~~", 1)),
            ("malformed", lambda t: t[:-1]),
            ("malformed", lambda t: t.replace("~", ".QQ~", 1)),
            ("malformed", lambda t: t + t.split("~")[0]),
            ("malformed", lambda t: "é" + t),
            ("disclosure", lambda t: t + t.split("~")[1] + "~"),
            ("disclosure", lambda t: t + world.disclosure("price", {"currency": "EUR", "minor": 1}, 9) + "~"),
            ("malformed", lambda t: t + world.disclosure("secret", 1, 9) + "~"),
            ("bad-signature", lambda t: t.replace(t.split("~")[0][-20:-10], t.split("~")[0][-30:-20], 1)),
        ],
    )
    def test_refuses_other_texts(self, made: World, code: str, change: Callable[[str], str]) -> None:
        assert _refusal(lambda: token.verify_token(change(made.token()), [world.TOKEN.did], NOW)) == code

    @pytest.mark.parametrize(
        ("code", "change"),
        [
            ("malformed", lambda c: c.pop("status")),
            ("malformed", lambda c: c.update(sub="x")),
            ("malformed", lambda c: c.update(vct="urn:other")),
            ("malformed", lambda c: c.update(uses=["train", "evaluate"])),
            ("malformed", lambda c: c.update(uses=["fly"])),
            ("malformed", lambda c: c.update(cnf=None)),
            ("malformed", lambda c: c.update(exp=c["iat"])),
            ("malformed", lambda c: c.update(jti="short")),
            ("malformed", lambda c: c.update(purpose="x" * 501)),
            ("malformed", lambda c: c.update(purpose="two\nlines")),
            ("malformed", lambda c: c.update(manifests=[])),
            ("malformed", lambda c: c.update(manifests=c["manifests"] * 2)),
            ("malformed", lambda c: c["_sd"].reverse()),
            ("malformed", lambda c: c["_sd"].append("A" * 43)),
            ("malformed", lambda c: c["status"]["status_list"].update(idx=token.STATUS_COUNT)),
            ("malformed", lambda c: c["cnf"]["jwk"].update(x=jcs.b64url_encode(b"\x01" + bytes(31)))),
            ("disclosure", lambda c: c["_sd"].pop()),
            ("expired", lambda c: c.update(exp=NOW)),
            ("not-yet-valid", lambda c: c.update(iat=NOW + 61)),
        ],
    )
    def test_refuses_other_claims(self, made: World, code: str, change: Change) -> None:
        claims: dict[str, Any] = copy.deepcopy(made.claims())
        change(claims)
        assert _refusal(lambda: token.verify_token(made.token(claims), [world.TOKEN.did], NOW)) == code

    def test_a_key_that_nobody_named(self, made: World) -> None:
        assert _refusal(lambda: token.verify_token(made.token(), [STRANGER.did], NOW)) == "unknown-key"

    def test_who_holds_it(self, made: World) -> None:
        text = made.token()
        found = token.verify_token(text, [world.TOKEN.did], NOW)
        hashed = jcs.b64url_encode(bytes.fromhex(jcs.digest(text.encode())[7:]))
        claims: dict[str, jcs.Json] = {"aud": "https://x.example", "iat": NOW, "nonce": "n", "sd_hash": hashed}
        presented = text + world.jwt("kb+jwt", claims, HOLDER, with_kid=False)
        token.verify_holder(presented, found, "https://x.example", "n", NOW + 5, 60)
        for audience, nonce, now in (
            ("https://y.example", "n", NOW),
            ("https://x.example", "m", NOW),
            ("https://x.example", "n", NOW + 61),
        ):
            code = _refusal(lambda a=audience, n=nonce, t=now: token.verify_holder(presented, found, a, n, t, 60))  # type: ignore[misc]
            assert code == "key-binding"
        for other in (text[:-1], text.replace("~", "~x~", 1), text.split("~")[0] + "~"):
            moved = other + world.jwt("kb+jwt", claims, HOLDER, with_kid=False)
            code = _refusal(lambda p=moved: token.verify_holder(p, found, "https://x.example", "n", NOW, 60))  # type: ignore[misc]
            assert code == "key-binding"
        elsewhere = text + world.jwt("kb+jwt", claims | {"sd_hash": "A" * 43}, HOLDER, with_kid=False)
        assert (
            _refusal(lambda: token.verify_holder(elsewhere, found, "https://x.example", "n", NOW, 60)) == "key-binding"
        )
        stolen = text + world.jwt("kb+jwt", claims, STRANGER, with_kid=False)
        assert (
            _refusal(lambda: token.verify_holder(stolen, found, "https://x.example", "n", NOW, 60)) == "bad-signature"
        )
        assert _refusal(lambda: token.verify_holder(text, found, "https://x.example", "n", NOW, 60)) == "key-binding"

    def test_a_token_bundle(self, made: World, trust: bundle.Trust) -> None:
        found = token.verify_token_bundle(jcs.canonical(made.token_bundle()), trust, NOW)
        assert found.status == "valid"
        assert found.result.proved >= {"token", "token-leaf", "manifests", "files", "status", "anchor"}
        assert found.result.not_checked == {"creator-keys"}

    @pytest.mark.parametrize(
        ("carried", "code"),
        [([2, 6, 7], "leaf-path"), ([0, 6, 7], "leaf-path"), ([0, 2, 7], "status"), ([0, 2, 6], "leaf-path")],
    )
    def test_a_token_bundle_lacks_a_leaf(self, made: World, trust: bundle.Trust, carried: list[int], code: str) -> None:
        data = made.token_bundle() | {"leaves": made.carried(carried)}
        assert _refusal(lambda: token.verify_token_bundle(jcs.canonical(data), trust, NOW)) == code

    @pytest.mark.parametrize("change", [{"iss": "https://other.example"}, {"log": "other.example/log"}])
    def test_a_token_of_another_registry(self, made: World, trust: bundle.Trust, change: dict[str, jcs.Json]) -> None:
        changed = copy.deepcopy(made)
        text = made.token(made.claims() | change)
        changed.leaves[7] = world.signed("token", REGISTRY, {"token": jcs.digest(text.split("~")[0].encode())})
        data = changed.token_bundle() | {"token": text}
        code = "wrong-log" if "log" in change else "malformed"
        assert _refusal(lambda: token.verify_token_bundle(jcs.canonical(data), trust, NOW)) == code

    def test_a_token_logged_before_its_manifest(self, made: World, trust: bundle.Trust) -> None:
        changed = copy.deepcopy(made)
        changed.leaves[1], changed.leaves[7] = made.leaves[7], made.leaves[5]
        data = changed.token_bundle() | {"leaves": changed.carried([0, 1, 2, 6])}
        assert _refusal(lambda: token.verify_token_bundle(jcs.canonical(data), trust, NOW)) == "void"

    def test_the_status_of_its_number(self, made: World, trust: bundle.Trust) -> None:
        changed = copy.deepcopy(made)
        changed.statuses[1] = 0b0100  # index 5: revoked
        body: dict[str, Any] = statement.as_value(statement.parse_statement(made.leaves[6]))["body"]  # type: ignore[assignment]
        data = changed.token_bundle()
        assert _refusal(lambda: token.verify_token_bundle(jcs.canonical(data), trust, NOW)) == "status"
        body["digest"] = jcs.digest(bytes(changed.statuses))
        changed.leaves[6] = world.signed("status", REGISTRY, body)
        assert token.verify_token_bundle(jcs.canonical(changed.token_bundle()), trust, NOW).status == "revoked"

    def test_every_change_is_refused_or_shows_less(self, made: World, trust: bundle.Trust) -> None:
        good = made.token_bundle()
        before = token.verify_token_bundle(jcs.canonical(good), trust, NOW)
        count = 0
        for place, changed in _mutations(good):
            count += 1
            try:
                result = token.verify_token_bundle(jcs.canonical(changed), trust, NOW)
            except RefutedError:
                continue
            assert result != before, place
        assert count > 200

    def test_the_list_beside_the_bundle(self, made: World, trust: bundle.Trust) -> None:
        good = made.token_bundle()
        listed = jcs.b64url_decode(good["files"], "files")
        data = jcs.canonical(good | {"files": None})
        assert "files" in token.verify_token_bundle(data, trust, NOW).result.not_checked
        assert "files" in token.verify_token_bundle(data, trust, NOW, files=listed).result.proved
        for wrong in (
            listed[:-32],
            listed[:-1],
            listed[32:] + listed[:32],
            listed + listed[-32:],
            b"\0" * 32 + listed[32:],
        ):
            code = _refusal(lambda wrong=wrong: token.verify_token_bundle(data, trust, NOW, files=wrong))  # type: ignore[misc]
            assert code == "files"

    def test_the_status_list_of_another_address(self, made: World) -> None:
        text = made.status_list()
        array = token.verify_status_list(text, [world.TOKEN.did], f"{world.ISSUER}/status/0", NOW)
        assert array == bytes(made.statuses)
        other = f"{world.ISSUER}/status/1"
        assert _refusal(lambda: token.verify_status_list(text, [world.TOKEN.did], other, NOW)) == "status"

    def test_a_stale_status_list(self, made: World, trust: bundle.Trust) -> None:
        for issued in (NOW - 86_400, NOW + 61):
            data = jcs.canonical(made.token_bundle() | {"status": made.status_list(issued)})
            assert _refusal(lambda data=data: token.verify_token_bundle(data, trust, NOW)) == "status"  # type: ignore[misc]


class TestDocuments:
    def test_a_manifest_file(self, made: World) -> None:
        found = documents.verify_manifest(jcs.canonical(made.manifest_file()))
        assert found.digest == jcs.digest(jcs.canonical(made.header()))

    def test_every_change_of_a_manifest_file_is_refused(self, made: World) -> None:
        count = 0
        for place, changed in _mutations(made.manifest_file()):
            if place == ("statements", "shorter"):
                continue  # a manifest file may carry fewer statements
            count += 1
            with pytest.raises(RefutedError):
                documents.verify_manifest(jcs.canonical(changed))
        assert count > 250

    def test_a_statement_by_somebody_else_in_a_manifest_file(self, made: World) -> None:
        named: dict[str, jcs.Json] = {"manifest": jcs.digest(jcs.canonical(made.header())), "supersedes": []}
        other = statement.as_value(statement.parse_statement(world.signed("manifest", STRANGER, named, log=None)))
        data = jcs.canonical(made.manifest_file() | {"statements": [other]})
        assert _refusal(lambda: documents.verify_manifest(data)) == "header-digest"

    @pytest.mark.parametrize(
        "path",
        ["/a.png", "a//b.png", "a/../b.png", "./a.png", "a\\b.png", "a\u200bb.png", "a\nb.png", "C:/a.png", "", "a/"],
    )
    def test_refuses_paths(self, made: World, path: str) -> None:
        entry = made.entries[0] | {"path": path}
        assert _refusal(lambda: documents.check_entry(entry)) == "malformed"

    def test_two_paths_that_differ_only_in_case(self) -> None:
        made = World(entries=[world.entry("A.png", 1), world.entry("a.png", 2)])
        assert _refusal(lambda: documents.verify_manifest(jcs.canonical(made.manifest_file()))) == "malformed"

    def test_an_attribution_file(self, made: World) -> None:
        claim: Any = made.bundle(1)["claim"]
        fields = {name: claim[name] for name in ("header", "entry", "entry_index", "entry_path")}
        names = ("creator_id", "creator_name", "license_id", "license_url", "required_attribution_text")
        fields |= {name: claim["header"][name] for name in names}
        fields |= {"trainmark": "attribution/v1", "provenance_hash": claim["entry"]["provenance_hash"]}
        fields |= {"statements": made.manifest_file()["statements"]}
        documents.verify_attribution(jcs.canonical(fields))
        for place, changed in _mutations(fields):
            if place != ("statements", "shorter"):
                with pytest.raises(RefutedError):
                    documents.verify_attribution(jcs.canonical(changed))
        empty = jcs.canonical(fields | {"statements": []})
        assert _refusal(lambda: documents.verify_attribution(empty)) == "bad-signature"

    def test_the_number_of_uses(self) -> None:
        words: dict[str, jcs.Json] = dict.fromkeys(documents.USES, "no")
        assert documents.uses_code(words) == 0
        assert documents.uses_code(words | {"search": "yes", "train": "ask"}) == 1 + (2 << 8)
        assert documents.uses_code(words | {"share-data": "ask"}) == 2 << 20


class TestStatements:
    def test_a_log_is_replayed(self, made: World, tmp_path: Path) -> None:
        for path, data in tiles.expected_tiles(made.leaves).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
        head = note.verify_checkpoint(world.checkpoint(made.leaves).encode(), note.parse_policy(world.policy_text()))
        valid, void = statement.replay(tiles.verify_folder(tmp_path, head), ORIGIN, REGISTRY.did)
        assert (len(valid), void) == (len(made.leaves), {})

    def test_the_keys_of_a_party(self) -> None:
        third, recovery, fifth = world.Key(20), world.Key(21), world.Key(22)
        revoke = {"op": "revoke", "since": None}
        record: dict[str, jcs.Json] = {"kind": "watch", "refs": [], "evidence": jcs.digest(b"")}
        leaves = [
            world.signed("record", CREATOR, record, CREATOR_2),  # 0 void: not added yet
            world.key_added(CREATOR, CREATOR_2),  # 1
            world.key_added(CREATOR, recovery, recovery=True),  # 2
            world.signed("record", CREATOR, record, CREATOR_2),  # 3
            world.signed("record", CREATOR, record, recovery),  # 4 void: signs keys only
            world.signed("key", CREATOR, {**revoke, "key": recovery.did}, CREATOR_2),  # 5 void: only by a recovery key
            world.signed("key", CREATOR, {**revoke, "key": CREATOR.did}, CREATOR_2),  # 6
            world.signed("record", CREATOR, record),  # 7 void: revoked
            world.key_added(CREATOR, third, key=CREATOR),  # 8 void: by a revoked key
            world.key_added(CREATOR, CREATOR, key=recovery),  # 9 void: a revoked key never returns
            world.signed("key", CREATOR, {**revoke, "key": CREATOR_2.did, "since": 3}, recovery),  # 10
            world.signed("key", CREATOR, {**revoke, "key": CREATOR_2.did}, recovery),  # 11 void: again
            world.key_added(CREATOR, fifth, key=recovery),  # 12
            world.signed("record", CREATOR, record, fifth),  # 13
            world.signed("key", CREATOR, {**revoke, "key": recovery.did}, recovery),  # 14
            world.key_added(CREATOR, third, key=recovery),  # 15 void: it revoked itself
        ]
        _, void = statement.replay(leaves, ORIGIN, REGISTRY.did)
        assert sorted(void) == [0, 4, 5, 7, 8, 9, 11, 15]

    def test_a_key_must_show_its_possession(self) -> None:
        good = statement.as_value(statement.parse_statement(world.key_added(CREATOR, CREATOR_2)))
        body: Any = good["body"]
        stolen = world.signed("key", STRANGER, body)  # the proof was made for another by
        _, void = statement.replay([stolen], ORIGIN, REGISTRY.did)
        assert void == {0: "the new key did not sign for its possession"}

    def test_leaves_that_are_void(self) -> None:
        evidence = jcs.digest(b"evidence")
        manifest: dict[str, jcs.Json] = {"manifest": evidence, "supersedes": []}
        case: dict[str, jcs.Json] = {"case": 1, "leaf": 0, "entries": [], "evidence": None, "outcome": None}
        leaves = [
            world.signed("manifest", CREATOR, manifest),  # 0
            world.signed("dispute", STRANGER, case | {"op": "open", "case": None}),  # 1
            world.signed("dispute", CREATOR, case | {"op": "answer"}),  # 2
            world.signed("dispute", REGISTRY, case | {"op": "hold"}),  # 3
            world.signed("dispute", REGISTRY, case | {"op": "decide", "outcome": "rejected"}),  # 4
            world.signed("dispute", STRANGER, case | {"op": "answer"}),  # 5 void
            world.signed("dispute", STRANGER, case | {"op": "hold"}),  # 6 void
            world.signed("manifest", CREATOR, manifest),  # 7 void: twice
            world.signed("manifest", STRANGER, manifest),  # 8: a stranger's, which step 4 tells apart
            world.signed("withdraw", STRANGER, {"leaf": 0, "effective_at": "2027-01-01T00:00:00Z"}),  # 9 void
            world.signed("withdraw", CREATOR, {"leaf": 10, "effective_at": "2027-01-01T00:00:00Z"}),  # 10 void
            world.signed("withdraw", CREATOR, {"leaf": 1, "effective_at": "2027-01-01T00:00:00Z"}),  # 11 void
            world.signed("token", STRANGER, {"token": evidence}),  # 12 void
            world.signed("record", CREATOR, {"kind": "watch", "refs": [], "evidence": evidence}, log="x.example"),  # 13
            world.signed("snapshot", REGISTRY, {"size": 15, "bits": 0, "count": 0, "root": evidence}),  # 14 void
            world.signed("later", CREATOR, {"anything": None}),  # 15: of a type that is not known here
            b"{}",  # 16 void
            world.signed("record", CREATOR, {"kind": "watch", "refs": [], "evidence": evidence})[:-1] + b" }",  # 17
            world.signed("dispute", REGISTRY, case | {"op": "hold", "leaf": 8}),  # 18 void: a case on another leaf
            world.signed("review", REGISTRY, {"leaf": 7, "outcome": "erased", "visibility": None, "evidence": None}),
        ]  # 19 void: of a leaf that is void
        valid, void = statement.replay(leaves, ORIGIN, REGISTRY.did)
        assert sorted(void) == [5, 6, 7, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19]
        assert [index for index, item in valid.items() if not item.known] == [15]

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("review", {"leaf": 0, "outcome": "rejected", "visibility": "public", "evidence": None}),
            ("review", {"leaf": 0, "outcome": "listed", "visibility": None, "evidence": None}),
            ("manifest", {"manifest": "sha256:" + "00" * 32, "supersedes": [2, 1]}),
            ("manifest", {"manifest": "sha256:" + "00" * 32, "supersedes": [1, 1]}),
            ("manifest", {"manifest": "sha256:" + "00" * 32, "supersedes": list(range(201))}),
            ("manifest", {"manifest": "sha512:" + "00" * 32, "supersedes": []}),
            ("manifest", {"manifest": "sha256:" + "AA" * 32, "supersedes": []}),
            ("withdraw", {"leaf": True, "effective_at": "2027-01-01T00:00:00Z"}),
            ("withdraw", {"leaf": 0, "effective_at": "2027-13-01T00:00:00Z"}),
            ("withdraw", {"leaf": 0, "effective_at": "2027-02-29T00:00:00Z"}),
            ("withdraw", {"leaf": 0, "effective_at": "1969-12-31T23:59:59Z"}),
            ("withdraw", {"leaf": 0, "effective_at": "9999-12-31T23:59:60Z"}),
            ("withdraw", {"leaf": -1, "effective_at": "2027-01-01T00:00:00Z"}),
            ("dispute", {"op": "open", "case": None, "leaf": 0, "entries": [], "evidence": None, "outcome": "upheld"}),
            ("dispute", {"op": "open", "case": 0, "leaf": 0, "entries": [], "evidence": None, "outcome": None}),
            ("dispute", {"op": "decide", "case": 0, "leaf": 0, "entries": [], "evidence": None, "outcome": None}),
            ("key", {"op": "remove", "key": CREATOR.did, "since": None}),
            ("record", {"kind": "watch", "refs": [], "evidence": None}),
        ],
    )
    def test_refuses_other_bodies(self, kind: str, body: dict[str, jcs.Json]) -> None:
        data = world.signed(kind, CREATOR, body)
        assert _refusal(lambda: statement.parse_statement(data)) == "malformed"

    def test_every_change_of_a_statement_is_refused(self, made: World) -> None:
        for leaf in made.leaves:
            for _, changed in _mutations(statement.as_value(statement.parse_statement(leaf))):
                with pytest.raises(RefutedError):
                    statement.verify_statement(statement.read_statement(changed))


class TestSnapshot:
    @pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 600])
    def test_every_row_and_every_gap(self, count: int) -> None:
        rows = sorted(
            snapshot.pack_row(bytes.fromhex(jcs.digest(bytes([i % 256, i // 256]))[7:]), 1, i, 1 + i % 3, 1, 5)
            for i in range(count)
        )
        body: dict[str, jcs.Json] = {
            "size": 9,
            "bits": snapshot.bits_of(count),
            "count": count,
            "root": world.digests([merkle.root(snapshot.top(rows))])[0],
        }
        wanted = [row[:32] for row in rows[:: 1 + count // 100]] + [bytes(32), b"\xff" * 32]
        wanted += [bytes.fromhex(jcs.digest(b"absent %d" % i)[7:]) for i in range(30)]
        for digest in wanted:
            found = snapshot.verify_rows(snapshot.prove(rows, digest, 9), body, digest)
            assert [row.data for row in found] == [row for row in rows if row[:32] == digest]

    def test_the_bucket_next_door_shows_no_absence(self) -> None:
        rows = sorted(
            snapshot.pack_row(bytes.fromhex(jcs.digest(bytes([i, 1]))[7:]), 1, i, 1, 1, 0) for i in range(256)
        )
        root = world.digests([merkle.root(snapshot.top(rows))])[0]
        body: dict[str, jcs.Json] = {"size": 9, "bits": 1, "count": 256, "root": root}
        first, last = rows[0][:32], rows[-1][:32]
        # In the other bucket the digest would lie before the first row, or behind the last one.
        for digest, other in (
            (first, snapshot.split_rows(rows)[1][0][:32]),
            (last, snapshot.split_rows(rows)[0][-1][:32]),
        ):
            proof: dict[str, Any] = snapshot.prove(rows, other, 9)
            end = slice(0, 1) if digest == first else slice(-1, None)
            with pytest.raises(RefutedError, match="the bucket of another digest"):
                snapshot.verify_rows(proof | {"run": proof["run"][end]}, body, digest)

    def test_two_rows_of_one_digest_are_both_shown(self) -> None:
        digest = bytes.fromhex("55" * 32)
        rows = sorted(
            [snapshot.pack_row(digest, leaf, 0, 1, 1, 0) for leaf in (3, 4)]
            + [snapshot.pack_row(bytes([b]) * 32, 1, 0, 1, 1, 0) for b in (0x11, 0x99)]
        )
        root = world.digests([merkle.root(snapshot.top(rows))])[0]
        body: dict[str, jcs.Json] = {"size": 9, "bits": 0, "count": 4, "root": root}
        proof: dict[str, Any] = snapshot.prove(rows, digest, 9)
        assert [row.leaf for row in snapshot.verify_rows(proof, body, digest)] == [3, 4]
        run = proof["run"]
        for cut in (run[1:], run[:-1], run[:2], run[2:], [run[0], run[3]], run[::-1], [], [run[0], *run]):
            code = _refusal(lambda cut=cut: snapshot.verify_rows(proof | {"run": cut}, body, digest))  # type: ignore[misc]
            assert code == "snapshot"
        wider = snapshot.prove(rows, bytes.fromhex("99" * 32), 9)  # a longer run is not the run
        assert _refusal(lambda: snapshot.verify_rows(wider, body, bytes.fromhex("10" * 32))) == "snapshot"

    def test_a_row_in_a_bucket_that_is_not_its_own(self) -> None:
        digest, stray = bytes(32), b"\x80" + bytes(31)
        rows = [snapshot.pack_row(item, 1, 0, 1, 1, 0) for item in (digest, stray)]
        hashes = [merkle.leaf_hash(row) for row in rows]
        low = snapshot.top_leaf(2, merkle.tree(hashes))
        high = snapshot.top_leaf(254, bytes(32))
        body: dict[str, jcs.Json] = {
            "size": 9,
            "bits": 1,
            "count": 256,
            "root": world.digests([merkle.root([low, high])])[0],
        }
        run: list[jcs.Json] = [
            {"index": i, "row": row.hex(), "path": world.digests(merkle.path(i, hashes))} for i, row in enumerate(rows)
        ]
        proof: dict[str, jcs.Json] = {"leaf": 9, "bits": 1, "bucket": 0, "count": 2, "run": run}
        proof |= {"root": world.digests([merkle.tree(hashes)])[0]}
        proof |= {"top_path": world.digests([merkle.leaf_hash(high)])}
        with pytest.raises(RefutedError, match="a bucket not its own"):
            snapshot.verify_rows(proof, body, digest)
