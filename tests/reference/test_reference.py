"""The reference is right: known answers of the standards it follows, and what it has to refuse."""

from __future__ import annotations

import ast
import hashlib
import itertools
import re
from pathlib import Path

import pytest

from tests.reference import ed25519, jcs, merkle, note, receipt, snapshot, statement, tiles, token
from tests.reference.refuted import RefutedError
from tests.reference.world import LOG, ORIGIN, WITNESS, Key, checkpoint, policy_text

HERE = Path(__file__).parent


def test_the_reference_imports_nothing_of_what_it_checks() -> None:
    imported = set()
    for file in HERE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add((node.module or "").split(".")[0])
    assert "hashlib" in imported  # the walk finds imports
    assert not imported & {"ledger", "api", "anchors"}


class TestJcs:
    """RFC 8785; the examples with floats are outside the profile."""

    def test_writes_strings_as_rfc_8785_3_2_2_does(self) -> None:
        value: jcs.Json = {"string": '€$\u000f\nA\'B"\\\\"/', "literals": [None, True, False]}
        expected = '{"literals":[null,true,false],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        assert jcs.canonical(value) == expected.encode()

    def test_sorts_keys_as_rfc_8785_3_2_3_does(self) -> None:
        keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
        written = jcs.canonical({key: i for i, key in enumerate(keys)}).decode()
        order = [written.index(f":{i}") for i in (1, 3, 5, 6, 0, 4, 2)]
        assert order == sorted(order)

    def test_sorts_nested_objects_of_the_test_data_of_rfc_8785(self) -> None:
        # "french.json" and "structures.json" of the RFC's own test data, the latter with 56 for 56.0.
        french: jcs.Json = {"peach": "a", "péché": "b", "pêche": "c", "sin": "d"}
        assert jcs.canonical(french).decode() == '{"peach":"a","péché":"b","pêche":"c","sin":"d"}'
        text = '{"":"empty","1":{"\\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}'
        assert jcs.canonical(jcs.parse(text.encode())) == text.encode()

    @pytest.mark.parametrize(
        "data",
        [
            b'{"a":1,"a":1}',
            b'{"b":1,"a":1}',
            b'{"a": 1}',
            b"1.0",
            b"1e3",
            b"-0",
            b"01",
            b"NaN",
            b"9007199254740992",
            b'"\\u0041"',
            b'"\\/"',
            b'"\\ud800"',
            b'"\xed\xa0\x80"',
            b"\xef\xbb\xbf1",
            b"1\n",
            b"",
            b"1 2",
            '{"é":1}'.encode(),
            '"e\u0301"'.encode(),
            '"\u0378"'.encode(),
            b"[" * 100 + b"]" * 100,
            b"[" * 100_000,
        ],
    )
    def test_refuses_what_it_would_not_write(self, data: bytes) -> None:
        with pytest.raises(RefutedError) as caught:
            jcs.parse(data)
        assert caught.value.code == "malformed"

    @pytest.mark.parametrize("data", [b"9007199254740991", b"-9007199254740991", b"0", b'"\x7f"', '"é"'.encode()])
    def test_reads_the_edges_of_the_profile(self, data: bytes) -> None:
        assert jcs.canonical(jcs.parse(data)) == data

    @pytest.mark.parametrize("text", ["QQ==", "QR", "Q", "Q Q", "QQ\n", "Q+", "Q/", "ＱＱ"])
    def test_refuses_loose_base64url(self, text: str) -> None:
        assert jcs.b64url_decode("QQ", "field") == b"A"
        with pytest.raises(RefutedError):
            jcs.b64url_decode(text, "field")

    @pytest.mark.parametrize("text", ["QQ", "QR==", "QQ==\n", "Q-==", "QQ==QQ=="])
    def test_refuses_loose_base64(self, text: str) -> None:
        assert jcs.b64_decode("QQ==", "field") == b"A"
        with pytest.raises(RefutedError):
            jcs.b64_decode(text, "field")


# RFC 8032, 7.1: TEST 1 to 3 (public key, message, signature).
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465"
        "5141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb0"
        "0d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc0"
        "27beceea1ec40a",
    ),
]
# The eight points of small order, as the literature on Ed25519's cofactor lists them; then encodings that are not
# canonical: y = p, y = p + 1, both signs, and x = 0 with the sign set.
BAD_KEYS = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


class TestEd25519:
    """RFC 8032 and did:key."""

    @pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
    def test_accepts_the_vectors_of_rfc_8032(self, public: str, message: str, signature: str) -> None:
        ed25519.verify(bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature))

    @pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
    def test_refuses_another_message_key_or_signature(self, public: str, message: str, signature: str) -> None:
        key, data, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
        other = bytes.fromhex(RFC_8032[0][0] if public != RFC_8032[0][0] else RFC_8032[1][0])
        s_plus_l = (int.from_bytes(signed[32:], "little") + ed25519.L).to_bytes(32, "little")
        for args in (
            (key, data + b"x", signed),
            (other, data, signed),
            (key, data, signed[:-1]),
            (key, data, signed + b"\0"),
            (key, data, signed[:32] + s_plus_l),
            (key, data, bytes([signed[0] ^ 1]) + signed[1:]),
            (key, data, bytes(64)),
        ):
            with pytest.raises(RefutedError) as caught:
                ed25519.verify(*args)
            assert caught.value.code == "bad-signature"

    @pytest.mark.parametrize("public", BAD_KEYS)
    def test_refuses_keys_that_are_not_canonical_or_of_small_order(self, public: str) -> None:
        key = bytes.fromhex(public)
        # R = the neutral element, S = 0: what OpenSSL accepts under several of these keys.
        with pytest.raises(RefutedError, match="canonical key"):
            ed25519.verify(key, b"", b"\x01" + bytes(63))
        with pytest.raises(RefutedError, match="canonical key"):
            ed25519.did_decode(ed25519.did_encode(key), "key")

    def test_a_key_that_is_no_point_is_read_and_verifies_nothing(self) -> None:
        key = b"\x02" + bytes(31)
        assert ed25519._decode_point(key) is None
        assert ed25519.did_decode(ed25519.did_encode(key), "key") == key
        with pytest.raises(RefutedError, match="no point") as caught:
            ed25519.verify(key, b"", b"\x01" + bytes(63))
        assert caught.value.code == "bad-signature"

    def test_its_arithmetic_is_that_of_the_curve(self) -> None:
        # RFC 8032, 5.1.5: the public key of TEST 1 is the clamped hash of its secret times the base point.
        secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
        scalar = int.from_bytes(hashlib.sha512(secret).digest()[:32], "little")
        scalar = (scalar & (2**254 - 8)) | 2**254
        base = ed25519._decode_point((4 * pow(5, ed25519.P - 2, ed25519.P) % ed25519.P).to_bytes(32, "little"))
        assert base is not None
        total = (0, 1)
        for bit in bin(scalar)[2:]:
            total = ed25519._add(total, total)
            total = ed25519._add(total, base) if bit == "1" else total
        assert total == ed25519._decode_point(bytes.fromhex(RFC_8032[0][0]))

    @pytest.mark.parametrize(
        ("did", "public"),
        [
            # The Ed25519 vectors of the did:key specification, with keys that are published beside them.
            (
                "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
                "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
            ),
        ],
    )
    def test_did_key(self, did: str, public: str) -> None:
        assert ed25519.did_encode(bytes.fromhex(public)) == did
        assert ed25519.did_decode(did, "key") == bytes.fromhex(public)

    def test_base58(self) -> None:
        # draft-msporny-base58, test vectors.
        assert ed25519._base58_encode(b"Hello World!") == "2NEpo7TZRRrLZSi2U"
        assert ed25519._base58_encode(bytes.fromhex("0000287fb4cd")) == "11233QC4"
        assert ed25519._base58_decode("11233QC4", "key") == bytes.fromhex("0000287fb4cd")

    @pytest.mark.parametrize(
        "did",
        [
            "",
            "did:key:",
            "did:web:example.com",
            "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW",
            "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWpp",
            "did:key:z16MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
            "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp#x",
            "did:key:z6LShLeXRTzevtwcfehaGEzCMyL3bNsAeKCwcqwJxyCo63yE",
            "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv",
            "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mD0oWp",
        ],
    )
    def test_refuses_other_dids(self, did: str) -> None:
        with pytest.raises(RefutedError):
            ed25519.did_decode(did, "key")


# The eight leaves of the Certificate Transparency test data and the roots of the trees of their first n.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class TestMerkle:
    """RFC 9162, section 2.1."""

    @pytest.mark.parametrize("size", range(9))
    def test_roots_of_the_certificate_transparency_leaves(self, size: int) -> None:
        assert merkle.root(CT_LEAVES[:size]).hex() == CT_ROOTS[size]

    @pytest.mark.parametrize(
        ("index", "size", "expected"),
        [(0, 1, ""), (0, 8, "96a296d2 5f083f0a 6b47aaf2"), (5, 8, "bc1a0643 ca854ea1 d37ee418"), (2, 3, "fac54203")],
    )
    def test_paths_of_the_certificate_transparency_leaves(self, index: int, size: int, expected: str) -> None:
        path = merkle.path(index, [merkle.leaf_hash(leaf) for leaf in CT_LEAVES[:size]])
        assert " ".join(item.hex()[:8] for item in path) == expected

    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            (1, 1, ""),
            (1, 8, "96a296d2 5f083f0a 6b47aaf2"),
            (6, 8, "0ebc5d34 ca854ea1 d37ee418"),
            (2, 5, "5f083f0a bc1a0643"),
        ],
    )
    def test_proofs_of_the_certificate_transparency_leaves(self, first: int, second: int, expected: str) -> None:
        proof = merkle.proof(first, [merkle.leaf_hash(leaf) for leaf in CT_LEAVES[:second]])
        assert " ".join(item.hex()[:8] for item in proof) == expected

    @pytest.mark.parametrize("size", range(1, 20))
    def test_inclusion_of_each_leaf_and_of_nothing_else(self, size: int) -> None:
        hashes = [merkle.leaf_hash(bytes([i])) for i in range(size)]
        root = merkle.tree(hashes)
        for index in range(size):
            path = merkle.path(index, hashes)
            merkle.verify_inclusion(index, size, hashes[index], path, root, "x")
            flipped = [[*path[:i], merkle.leaf_hash(p), *path[i + 1 :]] for i, p in enumerate(path)]
            bad_paths = [bad for bad in (path[:-1], [*path, root], *flipped) if bad != path]
            wrong = [(other, size, hashes[index], path, root) for other in range(-1, size + 1) if other != index]
            wrong += [(index, size, hashes[index], bad, root) for bad in bad_paths]
            wrong += [(index, size, merkle.leaf_hash(b"no"), path, root), (index, size, hashes[index], path, bytes(32))]
            for args in wrong:
                with pytest.raises(RefutedError):
                    merkle.verify_inclusion(*args, "x")

    @pytest.mark.parametrize("second", range(1, 20))
    def test_consistency_from_each_size_and_no_other(self, second: int) -> None:
        hashes = [merkle.leaf_hash(bytes([i])) for i in range(second)]
        root = merkle.tree(hashes)
        for first in range(1, second + 1):
            old, proof = merkle.tree(hashes[:first]), merkle.proof(first, hashes)
            merkle.verify_consistency(first, second, old, root, proof, "x")
            flipped = [[*proof[:i], merkle.leaf_hash(p), *proof[i + 1 :]] for i, p in enumerate(proof)]
            wrong = [(first, second, old, root, bad) for bad in (proof[:-1], [*proof, root], *flipped) if bad != proof]
            wrong += [(first, second, bytes(32), root, proof), (first, second, old, bytes(32), proof)]
            wrong += [(0, second, old, root, proof), (second + 1, second, old, root, proof)]
            for args in wrong:
                with pytest.raises(RefutedError):
                    merkle.verify_consistency(*args, "x")


# The example of the package that the specification came from (golang.org/x/mod/sumdb/note).
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The examples of c2sp.org/signed-note and c2sp.org/tlog-cosignature, whose keys are not published.
QUASIMODO = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""  # noqa: E501 - the line as the specification has it
SOFA = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501 - the lines as the specification has them


class TestNote:
    """C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-policy."""

    def test_the_example_of_the_first_implementation(self) -> None:
        key = note.parse_vkey(PETER)
        assert note.verify_note(note.parse_note(f"{PETER_TEXT}\n{PETER_LINE}".encode()), [key]) == [key]

    def test_the_example_of_the_specification(self) -> None:
        parsed = note.parse_note(QUASIMODO.encode())
        assert parsed.text.endswith("\n\ned è subito sera.\n")  # the last empty line divides
        assert [(s.name, len(s.signature)) for s in parsed.signatures] == [("quasimodo.example/salvatore", 64)]
        with pytest.raises(RefutedError, match="no known key"):
            note.verify_note(parsed, [note.parse_vkey(PETER)])

    def test_the_cosigned_checkpoint_of_the_specification(self) -> None:
        parsed = note.parse_note(SOFA.encode())
        head = note.parse_checkpoint(parsed.text)
        assert (head.origin, head.size, head.root.hex()[:8]) == ("example.com/behind-the-sofa", 20852163, "0ac5186a")
        cosignature = parsed.signatures[1].signature
        assert len(cosignature) == 72
        assert int.from_bytes(cosignature[:8], "big") == 1679315147  # the time that the specification shows

    def test_a_false_signature_of_a_known_key_refuses_the_note(self) -> None:
        data = f"{PETER_TEXT}\n{PETER_LINE}".replace("problem is", "problem iz").encode()
        with pytest.raises(RefutedError) as caught:
            note.verify_note(note.parse_note(data), [note.parse_vkey(PETER)])
        assert caught.value.code == "checkpoint"

    def test_each_mangling_of_a_verifier_key_is_refused(self) -> None:
        for start, end in itertools.combinations(range(len(PETER) + 1), 2):
            if (start, end) != (0, len(PETER)):
                with pytest.raises(RefutedError):
                    note.parse_vkey(PETER[start:end])
        for i, character in enumerate(PETER):
            with pytest.raises(RefutedError):
                note.parse_vkey(PETER[:i] + chr(ord(character) + 1) + PETER[i + 1 :])

    @pytest.mark.parametrize(
        "data",
        [
            PETER_TEXT + PETER_LINE,
            f"{PETER_TEXT}\n{PETER_LINE}"[:-1],
            f"{PETER_TEXT}\n",
            f"{PETER_TEXT}\n{PETER_LINE}x\n",
            f"{PETER_TEXT}\n{PETER_LINE}".replace("— ", "- "),
            f"{PETER_TEXT}\n{PETER_LINE}".replace("— ", "—  "),
            f"{PETER_TEXT}\n{PETER_LINE}".replace("PeterNeumann", "Peter+Neumann"),
            f"{PETER_TEXT}\n{PETER_LINE}".replace("PeterNeumann", "Peter\u00a0Neumann"),
            f"{PETER_TEXT}\n{PETER_LINE}".replace("AM=", "AN="),
            f"{PETER_TEXT}\n{PETER_LINE}".replace("problem,", "problem,\r"),
            f"{PETER_TEXT}\n— PeterNeumann x08gow==\n",
            f"{PETER_TEXT}\n" + 65 * PETER_LINE,
        ],
    )
    def test_refuses_what_is_no_signed_note(self, data: str) -> None:
        with pytest.raises(RefutedError) as caught:
            note.parse_note(data.encode())
        assert caught.value.code == "malformed"

    @pytest.mark.parametrize(
        "text",
        [
            "o\n1\n",
            "o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
            "o\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "o\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "o\n٣\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "o\n1_0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "o\n9007199254740992\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nextension\n",
            "o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==\n",
        ],
    )
    def test_refuses_what_is_no_checkpoint(self, text: str) -> None:
        with pytest.raises(RefutedError):
            note.parse_checkpoint(text)

    def test_a_checkpoint_under_a_policy(self) -> None:
        policy = note.parse_policy(policy_text())
        assert note.verify_checkpoint(checkpoint([b"a", b"b"]).encode(), policy).size == 2
        with pytest.raises(RefutedError, match="quorum"):
            note.verify_checkpoint(checkpoint([b"a"], with_witness=False).encode(), policy)
        without = note.parse_policy(f"log {LOG.vkey(ORIGIN, 1)}\nquorum none\n")
        assert note.verify_checkpoint(checkpoint([b"a"], with_witness=False).encode(), without).size == 1
        other = note.parse_policy(f"log {LOG.vkey('another.example', 1)}\nquorum none\n")
        with pytest.raises(RefutedError, match="no known key"):
            note.verify_checkpoint(checkpoint([b"a"]).encode(), other)

    @pytest.mark.parametrize("threshold", ["any", "1", "2", "all"])
    def test_thresholds_of_groups(self, threshold: str) -> None:
        absent = Key(99).vkey("w2.example", note.WITNESS_KEY)
        lines = [
            f"log {LOG.vkey(ORIGIN, 1)}",
            f"witness a\t{WITNESS.vkey('witness.example', 4)}  https://witness.example/",
            f" witness b {absent}",
            f"group g {threshold} a b",
            "quorum g",
        ]
        policy = note.parse_policy("\n".join(lines) + "\n")
        data = checkpoint([b"a"]).encode()
        if threshold in ("any", "1"):
            assert note.verify_checkpoint(data, policy).size == 1
        else:
            with pytest.raises(RefutedError, match="quorum"):
                note.verify_checkpoint(data, policy)

    @pytest.mark.parametrize(
        "tail",
        [
            "",
            "quorum none\nquorum none\n",
            "quorum w9\n",
            "group g 2 w1\nquorum g\n",
            "group g 0 w1\nquorum g\n",
            "group g 01 w1\nquorum g\n",
            "group g any\nquorum none\n",
            "group g any none\nquorum none\n",
            "group none any w1\nquorum none\n",
            "group g any w1\ngroup h any w1\nquorum none\n",
            "group g any w1 w1\nquorum none\n",
            "group w1 any w1\nquorum none\n",
            "quorum g\ngroup g any w1\n",
            "quorum none x\n",
            "unknown x\nquorum none\n",
            "log none\nquorum none\n",
            "quorum\u00a0none\n",
            "quorum none\r\n",
            f"log {LOG.vkey(ORIGIN, 1)}\nquorum none\n",
            f"log {LOG.vkey('other.example', 1)}\nquorum none\n",
            f"log {WITNESS.vkey('w', 4)}\nquorum none\n",
            f"witness w2 {WITNESS.vkey('w', 4)}\nquorum none\n",
            f"witness w2 {WITNESS.vkey('w', 1)}\nquorum none\n",
        ],
    )
    def test_refuses_what_is_no_policy(self, tail: str) -> None:
        head = f"log {LOG.vkey(ORIGIN, 1)}\nwitness w1 {WITNESS.vkey('witness.example', 4)}\n"
        assert note.parse_policy(head + "quorum w1\n").quorum == "w1"
        with pytest.raises(RefutedError):
            note.parse_policy(head + tail)


class TestTiles:
    """C2SP tlog-tiles."""

    def test_the_example_path(self) -> None:
        assert tiles.tile_path(0, 1234067, 256) == "tile/0/x001/x234/067"
        assert tiles.tile_path("entries", 5, 17) == "tile/entries/005.p/17"
        assert tiles.parse_tile_path("tile/0/x001/x234/067") == ("0", 1234067, 256)

    @pytest.mark.parametrize(
        "path",
        [
            "tile/00/000",
            "tile/64/000",
            "tile/0/0",
            "tile/0/1000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/data/000",
            "tile/0/000.p",
            "tile/0/٣٣٣",
        ],
    )
    def test_refuses_other_paths(self, path: str) -> None:
        with pytest.raises(RefutedError):
            tiles.parse_tile_path(path)

    def test_the_sizes_of_the_examples(self) -> None:
        # "A tree of size 70,000 will be represented by …", "a tree of size 256 will be represented by …".
        found: dict[tuple[str, int], int] = {}
        for path in tiles.expected_tiles([i.to_bytes(3, "big") for i in range(70_000)]):
            level, _, width = tiles.parse_tile_path(path)
            found[level, width] = found.get((level, width), 0) + 1
        assert {key: n for key, n in found.items() if key[0] != "entries"} == {
            ("0", 256): 273,
            ("0", 112): 1,
            ("1", 256): 1,
            ("1", 17): 1,
            ("2", 1): 1,
        }
        paths = set(tiles.expected_tiles([bytes([i]) for i in range(256)]))
        assert paths == {"tile/entries/000", "tile/0/000", "tile/1/000.p/1"}

    def test_a_tile_holds_the_hashes_of_its_level(self) -> None:
        leaves = [i.to_bytes(2, "big") for i in range(600)]
        files = tiles.expected_tiles(leaves)
        assert files["tile/1/000.p/2"][32:] == merkle.root(leaves[256:512])
        assert files["tile/0/002.p/88"][-32:] == merkle.leaf_hash(leaves[-1])

    def test_a_folder(self, tmp_path: Path) -> None:
        leaves = [b"leaf %d" % i for i in range(600)]
        head = note.Checkpoint(ORIGIN, 550, merkle.root(leaves[:550]))
        # The tiles of the size, an older partial tile, and those staged for a later size.
        for size in (550, 300, 600):
            _write(tmp_path, tiles.expected_tiles(leaves[:size]))
        assert tiles.verify_folder(tmp_path, head) == leaves[:550]
        for file in [file for file in (tmp_path / "tile").rglob("*") if file.is_file()]:
            level, _, _ = tiles.parse_tile_path(file.relative_to(tmp_path).as_posix())
            data = file.read_bytes()
            first = 0 if level != "entries" else 2
            file.write_bytes(data[:first] + bytes([data[first] ^ 1]) + data[first + 1 :])
            with pytest.raises(RefutedError):
                tiles.verify_folder(tmp_path, head)
            file.write_bytes(data)
        with pytest.raises(RefutedError) as caught:
            tiles.verify_folder(tmp_path, note.Checkpoint(ORIGIN, 550, bytes(32)))
        assert caught.value.code == "checkpoint"

    def test_a_full_tile_serves_for_a_partial_one_and_a_missing_one_is_missed(self, tmp_path: Path) -> None:
        leaves = [b"leaf %d" % i for i in range(512)]
        _write(tmp_path, tiles.expected_tiles(leaves))
        head = note.Checkpoint(ORIGIN, 300, merkle.root(leaves[:300]))
        with pytest.raises(RefutedError, match=re.escape("tile/1/000.p/1 is missing")):
            tiles.verify_folder(tmp_path, head)
        _write(tmp_path, {"tile/1/000.p/1": merkle.root(leaves[:256])})
        assert tiles.verify_folder(tmp_path, head) == leaves[:300]
        (tmp_path / "tile/0/001").unlink()
        with pytest.raises(RefutedError, match="is missing"):
            tiles.verify_folder(tmp_path, head)

    @pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x01a\x00"])
    def test_refuses_entry_bundles_that_end_early(self, data: bytes) -> None:
        assert tiles.split_entries(b"\x00\x01a\x00\x00\x00\x02bc") == [b"a", b"", b"bc"]
        with pytest.raises(RefutedError):
            tiles.split_entries(data)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


class TestReceipt:
    """The yellow paper's appendices and the tests of ethereum/tests."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (b"dog", "83646f67"),
            ([b"cat", b"dog"], "c88363617483646f67"),
            (b"", "80"),
            ([], "c0"),
            (b"\x0f", "0f"),
            (b"\x04\x00", "820400"),
            ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
            (b"Lorem ipsum dolor sit amet, consectetur adipisicing elit", "b8384c6f72656d20697073756d"),
        ],
    )
    def test_rlp(self, value: receipt.Rlp, expected: str) -> None:
        assert receipt.rlp_encode(value).hex().startswith(expected)
        assert receipt.rlp_decode(receipt.rlp_encode(value)) == value

    @pytest.mark.parametrize(
        "data",
        ["", "8100", "817f", "b800", "b801ff", "b90001ff", "f800", "c1", "c180c0", "c281", "8180ff", "bf" + "ff" * 8],
    )
    def test_refuses_other_rlp(self, data: str) -> None:
        with pytest.raises(RefutedError):
            receipt.rlp_decode(bytes.fromhex(data))

    def test_keccak(self) -> None:
        empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
        assert receipt.keccak256(b"").hex() == empty
        transfer = receipt.keccak256(b"Transfer(address,address,uint256)").hex()
        assert transfer == "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"

    @pytest.mark.parametrize(
        ("items", "root"),
        [
            # TrieTests/trieanyorder.json: "dogs", "puppy", "foo", "smallValues".
            (
                {"doe": "reindeer", "dog": "puppy", "dogglesworth": "cat"},
                "8aad789dff2f538bca5d8ea56e8abe10f4c7ba3a5dea95fea4cd6e7c3a1168d3",
            ),
            (
                {"do": "verb", "horse": "stallion", "doge": "coin", "dog": "puppy"},
                "5991bb8c6514148a29db676a14ac506cd2cd5775ace63c30a4fe457715e9ac84",
            ),
            ({"foo": "bar", "food": "bass"}, "17beaa1648bafa633cda809c90c04af50fc8aed3cb40d16efbddee6fdf63c4c3"),
            (
                {"be": "e", "dog": "puppy", "bed": "d"},
                "3f67c7a47520f79faa29255d2d3c084a7a6df0453116ed7232ff10277a8be68b",
            ),
        ],
    )
    def test_tries(self, items: dict[str, str], root: str) -> None:
        pairs = {key.encode(): value.encode() for key, value in items.items()}
        for key, value in pairs.items():
            found, nodes = receipt.trie_proof(pairs, key)
            assert found.hex() == root
            assert receipt.verify_trie(found, key, nodes) == value
            for wrong in (nodes[:-1], [*nodes, nodes[-1]], [*nodes, b"\xc0"], nodes[::-1] if len(nodes) > 1 else []):
                with pytest.raises(RefutedError):
                    receipt.verify_trie(found, key, wrong)
            for other in (b"x", b"", key + b"s", key[:-1], b"zebra"):
                if other not in pairs:
                    with pytest.raises(RefutedError):
                        receipt.verify_trie(found, other, nodes)

    def test_the_header_of_mainnet_block_1(self) -> None:
        empty_root = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
        header: receipt.Rlp = [
            bytes.fromhex("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"),
            bytes.fromhex("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"),
            bytes.fromhex("05a56e2d52c817161883f50c441c3228cfe54d9f"),
            bytes.fromhex("d67e4d450343046425ae4271474353857ab860dbc0a1dde64b41b5cd3a532bf3"),
            empty_root,
            empty_root,
            bytes(256),
            bytes.fromhex("03ff800000"),
            b"\x01",
            bytes.fromhex("1388"),
            b"",
            bytes.fromhex("55ba4224"),
            b"Geth/v1.0.0/linux/go1.4.2",
            bytes.fromhex("969b900de27b6ac6a67742365dd65f55a0526c41fd18e1b16f1a1215c2e66f59"),
            bytes.fromhex("539bd4979fef1ec4"),
        ]
        encoded = receipt.rlp_encode(header)
        expected = "88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6"
        assert receipt.keccak256(encoded).hex() == expected
        decoded = receipt.rlp_decode(encoded)
        assert decoded[receipt.RECEIPTS_ROOT] == receipt.keccak256(b"\x80")  # the root of the empty trie
        assert decoded[receipt.NUMBER] == b"\x01"
        assert int.from_bytes(bytes(decoded[receipt.TIMESTAMP]), "big") == 1438269988  # type: ignore[arg-type]


class TestToken:
    """RFC 8037, 7638, 9901 and Token Status List."""

    X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

    def test_the_thumbprint_of_rfc_8037_a_3(self) -> None:
        assert token.thumbprint(jcs.b64url_decode(self.X, "x")) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"

    def test_the_signature_of_rfc_8037_a_4_but_not_its_header(self) -> None:
        signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
        signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        ed25519.verify(jcs.b64url_decode(self.X, "x"), signed.encode(), jcs.b64url_decode(signature, "signature"))
        with pytest.raises(RefutedError, match="header"):
            token.parse_jwt(f"{signed}.{signature}", "dc+sd-jwt")

    def test_the_disclosure_of_rfc_9901_4_2_3(self) -> None:
        # Written with blanks: a right digest, but not the canonical JSON that our tokens use.
        text = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
        hashed = jcs.b64url_encode(hashlib.sha256(text.encode()).digest())
        assert hashed == "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"

    @pytest.mark.parametrize(
        ("bits", "packed", "statuses"),
        [
            (1, "eNrbuRgAAhcBXQ", [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]),
            (2, "eNo76fITAAPfAgc", [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]),
        ],
    )
    def test_the_examples_of_token_status_list(self, bits: int, packed: str, statuses: list[int]) -> None:
        array = token.inflate(jcs.b64url_decode(packed, "lst"), len(statuses) * bits // 8)
        assert [token.status_at(array, i, bits) for i in range(len(statuses))] == statuses
        for index in (-1, len(statuses)):
            with pytest.raises(RefutedError):
                token.status_at(array, index, bits)

    def test_refuses_to_unpack_more_or_less_than_the_length(self) -> None:
        data = jcs.b64url_decode("eNo76fITAAPfAgc", "lst")
        for length, packed in ((2, data), (4, data), (3, data[:-1]), (3, data + b"\0"), (3, b"no zlib")):
            with pytest.raises(RefutedError):
                token.inflate(packed, length)


def test_the_pre_authentication_encoding_of_dsse() -> None:
    encoded = statement.pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@pytest.mark.parametrize(
    ("rows", "bits"), [(0, 0), (255, 0), (256, 1), (511, 1), (512, 2), (1_000_000, 12), (2**40, 24)]
)
def test_the_bits_of_a_snapshot(rows: int, bits: int) -> None:
    assert snapshot.bits_of(rows) == bits
