"""Ways to make the gate say yes to what nobody permitted; each of them worked once, or would if a line were missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ledger.canonical import Json, Object
from ledger.encoding import digest_encode, sha256
from ledger.errors import BackendError, NotFoundError
from ledger.gate.folder import check_folder, corpus_files
from ledger.gate.verdict import REASONS, Covering, Wanted
from ledger.images import xmp
from ledger.images.content import content_hash
from ledger.images.embed import sidecar
from ledger.images.xmp import Rights
from ledger.keys import SigningKey
from ledger.library.creator import Profile
from ledger.library.output import attributions, license_files
from ledger.library.tagging import Declaration, Tags
from ledger.manifests import Entry, Manifest, format_attribution, format_manifest
from ledger.note import ED25519, VerifierKey
from ledger.policy import format_policy, parse_policy
from ledger.registry.proving import prove
from ledger.registry.service import Registry
from ledger.terms import USES
from tests.simulator import START, Library, World, digest, entry, key, license_of

EVA, BOB, MALLORY = key("eva"), key("bob"), key("mallory")
NO_TRAINING: Object = {**dict.fromkeys(USES, "yes"), "train": "no", "train-generative": "no", "finetune": "no"}
REFUSING = license_of(uses=NO_TRAINING, require=[])
FREE = license_of(require=[])
TRAIN = Wanted(("train",))


def dataset(letter: str) -> Object:
    return {"dataset_id": f"urn:uuid:00000000-0000-4000-8000-00000000000{letter}"}


class Honest:
    """The registry as it is."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def checkpoint(self) -> bytes:
        return self.registry.log.head.note

    def claim_leaves(self, digests: Sequence[bytes]) -> Mapping[bytes, Sequence[int]]:
        found = self.registry.claims(list(digests))
        return {d: [c.match.leaf for c in claims] for d, claims in found.items() if claims}

    def proof(self, digest: bytes, leaf: int) -> bytes:
        return prove(self.registry, digest, leaf)


def run(
    world: World,
    folder: Path,
    resolver: Honest | None = None,
    *,
    wanted: Wanted = TRAIN,
    tokens: Sequence[Covering] = (),
    left_out: Sequence[str] = (),
) -> dict[str, tuple[str, tuple[str, ...]]]:
    verdicts = check_folder(
        folder,
        resolver or Honest(world.registry),
        world.trust(),
        wanted,
        registry="https://registry.example",
        now=START,
        tokens=tokens,
        left_out=left_out,
    )
    found: dict[str, tuple[str, tuple[str, ...]]] = {v.file: (v.verdict, v.reasons) for v in verdicts}
    assert all(reason in REASONS for _, reasons in found.values() for reason in reasons)
    return found


def draw(path: Path, color: str, note: str = "") -> bytes:
    info = PngInfo()
    if note:
        info.add_text("comment", note)
    Image.new("RGB", (8, 8), color).save(path, pnginfo=info)
    return path.read_bytes()


def claim(name: str, data: bytes, **changed: Json) -> Entry:
    own = digest_encode(sha256(data))
    facts: Object = {"provenance_hash": own, "published_hash": own, "content_hash": None}
    return entry(name, **{**facts, **changed})


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_a_token_for_another_work_covers_nothing(world: World, tmp_path: Path) -> None:
    data = draw(tmp_path / "victim.png", "red")
    world.publish(Library.of(EVA, [claim("victim", data)], REFUSING, dataset("a")))
    work = digest("the work the token is for")
    bobs = world.publish(
        Library.of(BOB, [claim("own", b"bob", provenance_hash=digest_encode(work))], FREE, dataset("c"))
    )
    token = Covering(bytes(32), ("train",), frozenset([(bobs.logged.index, bobs.manifest)]), frozenset([work]))
    assert run(world, tmp_path, tokens=[token]) == {"victim.png": ("deny", ("use-refused",))}
    forged = claim("m", data, provenance_hash=digest_encode(work), rights_status="restricted")
    world.publish(Library.of(MALLORY, [forged], FREE, dataset("b")))
    assert run(world, tmp_path, tokens=[token]) == {"victim.png": ("deny", ("use-refused",))}


def test_a_token_answers_its_own_claim_only(world: World, tmp_path: Path) -> None:
    data = draw(tmp_path / "a.png", "red")
    priced = license_of(require=["token"])
    receipt = world.publish(Library.of(EVA, [claim("a", data)], priced, dataset("a")))
    place = (receipt.logged.index, receipt.manifest)
    token = Covering(bytes(32), ("train",), frozenset([place]), frozenset([sha256(data)]))
    assert run(world, tmp_path) == {"a.png": ("deny", ("needs-token",))}
    assert run(world, tmp_path, tokens=[token]) == {"a.png": ("allow", ("token",))}
    for changed in (
        replace(token, uses=("mine",)),
        replace(token, files=frozenset([digest("x")])),
        replace(token, manifests=frozenset([(place[0], digest("x"))])),
        replace(token, manifests=frozenset([(place[0] + 1, place[1])])),
    ):
        assert run(world, tmp_path, tokens=[changed]) == {"a.png": ("deny", ("needs-token",))}


def test_a_claim_on_the_file_does_not_hide_one_on_the_picture(world: World, tmp_path: Path) -> None:
    original = draw(tmp_path / "original.png", "blue")
    copy = draw(tmp_path / "copy.png", "blue", "tagged anew")
    picture = content_hash(original)
    assert picture is not None
    assert content_hash(copy) == picture
    hers = claim("v", original, content_hash=digest_encode(picture))
    world.publish(Library.of(EVA, [hers], REFUSING, dataset("a")))
    world.publish(Library.of(MALLORY, [claim("m", copy)], FREE, dataset("b")))
    assert run(world, tmp_path)["copy.png"] == ("deny", ("use-refused",))


def test_a_claim_on_another_picture_is_none(world: World, tmp_path: Path) -> None:
    data = draw(tmp_path / "a.png", "blue")
    world.publish(Library.of(EVA, [claim("a", data, content_hash=digest_encode(digest("x")))], FREE))
    assert run(world, tmp_path) == {"a.png": ("deny", ("content-mismatch",))}


@pytest.mark.parametrize("outcome", [None, "rejected"])
def test_a_strangers_claim_of_another_picture_blocks_nobody(world: World, tmp_path: Path, outcome: str | None) -> None:
    """Anybody may log that somebody's file shows something else: it waits, or is rejected, and changes nothing."""
    data = draw(tmp_path / "a.png", "blue")
    true = digest_encode(content_hash(data) or b"")
    world.publish(Library.of(EVA, [claim("a", data, content_hash=true)], FREE))
    other = claim("m", data, content_hash=digest_encode(digest("nonsense")))
    leaf = world.publish(Library.of(MALLORY, [other], FREE, dataset("b"))).logged.index
    if outcome is not None:
        world.review(leaf, outcome)
    assert run(world, tmp_path) == {"a.png": ("allow", ("licensed",))}


def test_a_proof_of_one_log_is_not_fresh_by_the_head_of_another(world: World, tmp_path: Path) -> None:
    """The registry runs a second log, which is short: its head says nothing of how old a proof of the first one is."""
    data = draw(tmp_path / "a.png", "red")
    leaf = world.publish(Library.of(EVA, [claim("a", data)], FREE)).logged.index
    old = prove(world.registry, sha256(data), leaf)
    world.review(leaf, "delisted")
    other = World(identity=replace(world.identity, origin="registry.example/log/2027", log_key=key("new log")))
    keys = [VerifierKey(who.origin, ED25519, who.log_key.public) for who in (world.identity, other.identity)]
    text = format_policy(keys)
    trust = replace(world.trust(), policy_text=text, policy=parse_policy(text))

    class Between(Honest):
        def checkpoint(self) -> bytes:
            return other.registry.log.head.note

        def proof(self, digest: bytes, leaf: int) -> bytes:
            return old

    said = check_folder(tmp_path, Between(world.registry), trust, TRAIN, registry="r", now=START)
    other.close()
    assert [(v.verdict, v.reasons) for v in said] == [("deny", ("stale",))]


def test_an_old_proof_is_stale(world: World, tmp_path: Path) -> None:
    data = draw(tmp_path / "a.png", "red")
    receipt = world.publish(Library.of(EVA, [claim("a", data)], FREE))
    old = prove(world.registry, sha256(data), receipt.logged.index)
    assert run(world, tmp_path) == {"a.png": ("allow", ("licensed",))}
    world.review(receipt.logged.index, "delisted")

    class Replaying(Honest):
        def proof(self, digest: bytes, leaf: int) -> bytes:
            return old

    assert run(world, tmp_path) == {"a.png": ("deny", ("ended",))}
    assert run(world, tmp_path, Replaying(world.registry)) == {"a.png": ("deny", ("stale",))}


def test_names_that_are_no_plain_files_are_denied(world: World, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    data = draw(folder / "a.png", "red")
    draw(elsewhere / "b.png", "green")
    world.publish(Library.of(EVA, [claim("a", data)], FREE))
    (folder / "b.png").symlink_to(elsewhere / "b.png")
    (folder / "more").symlink_to(elsewhere)
    draw(folder / ".hidden.png", "green")
    assert run(world, folder) == {
        ".hidden.png": ("deny", ("unknown",)),
        "a.png": ("allow", ("licensed",)),
        "b.png": ("deny", ("link",)),
        "more": ("deny", ("link",)),
    }
    assert [path.name for path in corpus_files(folder)] == [".hidden.png", "a.png", "b.png", "more"]


def test_terms_for_less_than_the_world_need_a_word(world: World, tmp_path: Path) -> None:
    data = draw(tmp_path / "a.png", "red")
    world.publish(Library.of(EVA, [claim("a", data)], license_of(require=[], territory=["NZ"])))
    assert run(world, tmp_path) == {"a.png": ("deny", ("territory",))}
    assert run(world, tmp_path, wanted=Wanted(("train",), territory="AU")) == {"a.png": ("deny", ("territory",))}
    assert run(world, tmp_path, wanted=Wanted(("train",), territory="NZ")) == {"a.png": ("allow", ("licensed",))}


def test_an_exclusive_license_needs_an_agreement(world: World, tmp_path: Path) -> None:
    data = draw(tmp_path / "a.png", "red")
    world.publish(Library.of(EVA, [claim("a", data)], license_of(require=[], exclusive_months=12)))
    assert run(world, tmp_path) == {"a.png": ("deny", ("needs-agreement",))}


def test_errors_deny(world: World, tmp_path: Path) -> None:
    data = draw(tmp_path / "a.png", "red")
    world.publish(Library.of(EVA, [claim("a", data)], FREE))

    class Silent(Honest):
        def claim_leaves(self, digests: Sequence[bytes]) -> Mapping[bytes, Sequence[int]]:
            raise BackendError("away")

    class WithoutCheckpoint(Honest):
        def checkpoint(self) -> bytes:
            raise BackendError("away")

    class WithForeignCheckpoint(Honest):
        def checkpoint(self) -> bytes:
            return World().registry.log.head.note.replace(b"registry.example", b"elsewhere.example")

    class WithoutProof(Honest):
        def proof(self, digest: bytes, leaf: int) -> bytes:
            raise NotFoundError("no")

    class WithOtherProof(Honest):
        def proof(self, digest: bytes, leaf: int) -> bytes:
            return b"{}"

    for kind, reason in (
        (Silent, "error"),
        (WithoutCheckpoint, "error"),
        (WithForeignCheckpoint, "error"),
        (WithoutProof, "proof-missing"),
        (WithOtherProof, "proof-refused"),
    ):
        word, reasons = run(world, tmp_path, kind(world.registry))["a.png"]
        assert (word, reason in reasons) == ("deny", True)


# What goes with pictures


def published(world: World, folder: Path, creator: SigningKey = EVA) -> Library:
    """Puts a library of one picture as it is published into `folder`, and its claim into the log."""
    data = draw(folder / "a.png", "red")
    own = Library.of(creator, [claim("a", data)], license_of(require=["token"]), dataset("a"))
    world.publish(own)
    accompany(own, folder)
    return own


def accompany(own: Library, folder: Path) -> None:
    """Writes what goes with the pictures of a library."""
    manifest = Manifest(own.header, own.entries, (own.statement(log=None),))
    names = license_files(own.terms.license_id)
    (folder / "dataset_manifest.json").write_bytes(format_manifest(manifest))
    (folder / names[0]).write_bytes(own.terms.data)
    (folder / names[1]).write_bytes(own.text)
    for name, attribution in attributions(manifest):
        (folder / name).write_bytes(format_attribution(attribution))
    (folder / "a.png.xmp").write_bytes(sidecar(rights_of(own)))


def rights_of(own: Library) -> Rights:
    """Returns the rights that a creator's command writes for the first work of a library."""
    header = own.header
    profile = Profile(header.creator_name, header.attribution_url, header.creator_id, "main")
    declared = Declaration("owned", "not-required", dict(own.entries[0].privacy), own.entries[0].price_tier)
    tags = Tags(profile, own.terms, header.required_attribution_text)
    return tags.rights(own.entries[0].provenance_hash, declared)


ASIDE = ("aside", ("accompanying",))


def test_what_goes_with_a_checked_picture_is_set_aside(world: World, tmp_path: Path) -> None:
    own = published(world, tmp_path)
    found = run(world, tmp_path)
    assert found.pop("a.png") == ("deny", ("needs-token",))
    assert len(found) == 5
    assert set(found.values()) == {ASIDE}
    (tmp_path / "a.png").unlink()
    assert set(run(world, tmp_path).values()) == {("deny", ("unknown",))}
    assert own.entries


def test_what_goes_with_another_work_is_unknown(world: World, tmp_path: Path) -> None:
    """The same files in good order, of a library that nobody published, or of which nothing lies here."""
    data = draw(tmp_path / "a.png", "red")
    world.publish(Library.of(EVA, [claim("a", data)], FREE, dataset("a")))
    stranger = Library.of(MALLORY, [claim("a", data)], license_of(require=["token"]), dataset("b"))
    accompany(stranger, tmp_path)
    found = run(world, tmp_path)
    assert found.pop("a.png") == ("allow", ("licensed",))
    assert set(found.values()) == {("deny", ("unknown",))}


@pytest.mark.parametrize(
    "name", ["a.png.attribution.json", "dataset_manifest.json", "TEST.license.json", "TEST.license.txt", "a.png.xmp"]
)
def test_nothing_else_hides_behind_such_a_name(world: World, tmp_path: Path, name: str) -> None:
    own = published(world, tmp_path)
    place = tmp_path / name.replace("TEST", own.terms.license_id)
    good = place.read_bytes()
    assert run(world, tmp_path)[place.name] == ASIDE
    hidden = draw(tmp_path / "hidden.png", "green")
    (tmp_path / "hidden.png").unlink()
    for data in (hidden, good + hidden, good + b"\n", b" " + good, good[:-1] + b"0", b"{}", b""):
        place.write_bytes(data)
        assert run(world, tmp_path)[place.name] == ("deny", ("unknown",)), data[:20]
    place.unlink()
    place.symlink_to(tmp_path / "a.png")
    assert run(world, tmp_path)[place.name] == ("deny", ("link",))


def test_a_sidecar_with_anything_more_in_it_is_unknown(world: World, tmp_path: Path) -> None:
    own = published(world, tmp_path)
    rdf = xmp.parse([(tmp_path / "a.png.xmp").read_bytes()])
    next(iter(rdf)).set("{http://ns.adobe.com/xap/1.0/}Label", "eva" * 999)
    for data in (xmp.write(rdf)[0], sidecar(replace(rights_of(own), credit="somebody else"))):
        (tmp_path / "a.png.xmp").write_bytes(data)
        assert run(world, tmp_path)["a.png.xmp"] == ("deny", ("unknown",))


def test_a_claim_on_what_goes_with_a_picture_counts(world: World, tmp_path: Path) -> None:
    own = published(world, tmp_path)
    text = tmp_path / license_files(own.terms.license_id)[1]
    world.publish(Library.of(BOB, [claim("text", text.read_bytes())], REFUSING, dataset("b")))
    assert run(world, tmp_path)[text.name] == ("deny", ("use-refused",))


def test_only_what_is_left_out_by_name_is_not_asked_about(world: World, tmp_path: Path) -> None:
    data = draw(tmp_path / "a.png", "red")
    world.publish(Library.of(EVA, [claim("a", data)], FREE, dataset("a")))
    for name in ("captions.txt", "sub/more.txt", ".DS_Store", "b.txt.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert run(world, tmp_path, left_out=["*.txt", ".DS_Store"]) == {
        ".DS_Store": ("aside", ("left-out",)),
        "a.png": ("allow", ("licensed",)),
        "b.txt.png": ("deny", ("unknown",)),
        "captions.txt": ("aside", ("left-out",)),
        "sub/more.txt": ("aside", ("left-out",)),
    }
    assert run(world, tmp_path, left_out=["sub/*"])["sub/more.txt"] == ("aside", ("left-out",))
    assert run(world, tmp_path, left_out=["sub/*"])["captions.txt"] == ("deny", ("unknown",))
