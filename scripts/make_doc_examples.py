"""Makes docs/examples: one real document of each kind, and puts them into the pages that show them.

Two drawn avatars of the demo are tagged, signed, published in a registry in memory, listed, anchored on the embedded
chain and granted; then every other kind of statement is logged once.  Keys, clock and randomness are those of
``tests.simulator``, so a second run writes the same bytes, but for the status list: other zlibs pack it differently.
The keys are public knowledge: nobody may trust what they sign.

A page shows an example where it has the line ``<!-- example: FILE -->`` before a ``json`` block, or
``<!-- example: FILE#a.b -->`` for a part of it.  Run from the root: ``python -m scripts.make_doc_examples``.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from ledger.canonical import Object, canonical
from ledger.encoding import digest_encode, sha256, time_encode
from ledger.gate.folder import check_folder
from ledger.gate.verdict import Wanted
from ledger.library.build import build_manifest
from ledger.library.creator import Profile, format_profile
from ledger.library.heading import Description
from ledger.library.licenses import attribution_text, make_license, preset
from ledger.library.output import refresh_statements
from ledger.library.tagging import Declaration
from ledger.manifests import PRIVACY_FLAGS, format_manifest
from ledger.registry.grants import GrantRequest, Grants
from ledger.registry.proving import prove
from ledger.statements import key_add_body, manifest_body, sign_statement
from ledger.store.files import FolderTileStore
from ledger.tiles import all_tiles
from ledger.tokens.attribution import Licensee, Price
from ledger.trust import format_trust
from tests.simulator import DAY, ORIGIN, START, Clock, Entropy, World, digest, dispute_body, key

ROOT: Final = Path(__file__).parent.parent
EXAMPLES: Final = ROOT / "docs" / "examples"
PICTURES: Final = ROOT / "ledger" / "cli" / "demo_pictures" / "avatars"
NAMES: Final = ("koi.png", "teal.png")
LICENSE_ID: Final = "EXAMPLE-TRAIN-v1"
NAME, URL = "Éva Example", "https://creator.example/"
_BLOCK: Final = re.compile(r"(<!-- example: ([^ #]+)(?:#([a-z0-9_.]+))? -->\n```json\n)(.*?)(```\n)", re.DOTALL)


def main() -> None:
    """Writes the examples and the blocks of the pages."""
    shutil.rmtree(EXAMPLES, ignore_errors=True)
    (EXAMPLES / "statements").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
    for page in (ROOT / "docs").rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        filled = _BLOCK.sub(lambda m: f"{m[1]}{shown(m[2], m[3])}\n{m[5]}", text)
        if filled != text:
            page.write_text(filled, encoding="utf-8")


def shown(name: str, part: str | None) -> str:
    """Returns an example, or the part of it under the dotted `part`, as a page shows it."""
    value: Any = json.loads((EXAMPLES / name).read_bytes())
    for step in part.split(".") if part else ():
        value = value[int(step) if step.isdecimal() else step]
    return json.dumps(value, indent=1, ensure_ascii=False)


def _write(folder: Path) -> None:
    creator, other, maker = key("creator"), key("rival"), key("model-maker")
    profile = Profile(NAME, URL, creator.did, "main")
    (EXAMPLES / "creator.json").write_bytes(format_profile(profile))
    fields = dict(preset("train").fields(LICENSE_ID, f"{URL}license"))
    terms, text = make_license(fields, NAME)
    (folder / "library").mkdir()
    for name in NAMES:
        shutil.copyfile(PICTURES / name, folder / "library" / name)
    built = build_manifest(
        folder / "library",
        folder / "tagged",
        creator=profile,
        key=creator,
        terms=terms,
        license_text=text,
        description=Description("Two avatars", "1", attribution_text(NAME, creator.did, LICENSE_ID, URL)),
        declared=Declaration("owned", "not-required", dict.fromkeys(PRIVACY_FLAGS, "no"), "standard"),
        clock=Clock(),
        entropy=Entropy(),
    )
    world = World()
    try:
        registry = world.registry
        recovery = key("creator, recovery")
        world.speak(creator, "key", key_add_body(creator.did, recovery, recovery=True))
        statement = sign_statement(
            "manifest", creator.did, creator, ORIGIN, manifest_body(built.manifest.header.digest)
        )
        manifest = refresh_statements(folder / "tagged", statement)
        leaf = registry.publish(format_manifest(manifest), terms.data, text, creator.did).logged.index
        row = world.anchor(folder)
        trust = world.trust(row)
        (EXAMPLES / "trust.json").write_bytes(format_trust(trust))
        for path in (folder / "tagged").iterdir():
            shutil.copyfile(path, EXAMPLES / path.name)
        published = sha256((EXAMPLES / NAMES[0]).read_bytes())
        proof = prove(registry, published)
        (EXAMPLES / f"{NAMES[0]}.proof.json").write_bytes(proof)
        tiles = FolderTileStore(EXAMPLES / "log")
        size = registry.log.head.size
        tiles.write([(tile, world.tiles.read(tile)) for tile in all_tiles(size)])
        tiles.write_checkpoint(registry.log.head.note)
        shutil.rmtree(EXAMPLES / "log" / ".tmp")
        grants = Grants(registry)
        request = GrantRequest(
            (leaf,),
            None,
            maker.public,
            Licensee("Model House", "house-7"),
            Price("EUR", 12_500),
            ("train", "train-generative"),
            "any",
            "train a style model",
            START + 365 * DAY,
        )
        token = grants.issue(request, creator.did)
        later = world.anchor(folder)
        assert later.block_hash is not None
        (EXAMPLES / "grant.token.json").write_bytes(grants.bundle(token))
        (EXAMPLES / "verdict.ndjson").write_bytes(_verdict(world, leaf, folder))
        _keep_logged(world, leaf, token.leaf)
        bodies: list[tuple[str, Object, Any]] = [
            ("identity", {"creator": creator.did, "level": "domain", "evidence": None}, world.identity.key),
            ("dispute", dispute_body("open", leaf, entries=[0]), other),
            ("record", {"kind": "usage", "refs": [token.leaf], "evidence": digest_encode(digest("usage"))}, maker),
            (
                "training",
                {
                    "model": digest_encode(digest("weights")),
                    "corpus": {"root": digest_encode(digest("corpus")), "count": 2},
                    "tokens": [token.leaf],
                    "size": size,
                },
                maker,
            ),
            (
                "withdraw",
                {"leaf": leaf, "effective_at": time_encode(START + (terms.notice_days + 1) * DAY)},
                creator,
            ),
        ]
        for kind, body, by in bodies:
            _keep(kind, world.log.leaves[world.speak(by, kind, body).index])
        snapshot: Object = {"size": size, "bits": 0, "count": 6, "root": digest_encode(digest("snapshot"))}
        _keep("snapshot", world.log.leaves[registry.log.append(registry.sign("snapshot", snapshot)).index])
        second = key("creator, second")
        world.speak(creator, "key", key_add_body(creator.did, second, recovery=False), signer=recovery)
        revoked: Object = {"op": "revoke", "key": second.did, "since": None}
        _keep("key-revoke", world.log.leaves[world.speak(creator, "key", revoked, signer=recovery).index])
        _keep("review-delisted", world.log.leaves[world.review(leaf, "delisted").index])
    finally:
        world.close()


def _keep(name: str, data: bytes) -> None:
    (EXAMPLES / "statements" / f"{name}.json").write_bytes(data)


def _keep_logged(world: World, leaf: int, token_leaf: int) -> None:
    leaves = world.log.leaves
    _keep("policy", leaves[0])
    _keep("key-add", leaves[1])
    _keep("manifest", leaves[leaf])
    _keep("review", leaves[leaf + 1])
    _keep("token", leaves[token_leaf])
    _keep("status", leaves[token_leaf - 1])


class _Resolver:
    """A registry that knows one file."""

    def __init__(self, note: bytes, proof: bytes, found: bytes, leaf: int) -> None:
        self._note, self._proof, self._found, self._leaf = note, proof, found, leaf

    def checkpoint(self) -> bytes:
        return self._note

    def claim_leaves(self, digests: Any) -> dict[bytes, list[int]]:
        return {d: [self._leaf] for d in digests if d == self._found}

    def proof(self, digest: bytes, leaf: int) -> bytes:
        return self._proof


def _verdict(world: World, leaf: int, folder: Path) -> bytes:
    corpus = folder / "corpus"
    corpus.mkdir()
    shutil.copyfile(EXAMPLES / NAMES[0], corpus / NAMES[0])
    found = sha256((corpus / NAMES[0]).read_bytes())
    resolver = _Resolver(world.registry.log.head.note, prove(world.registry, found), found, leaf)
    wanted, registry = Wanted(("train",)), world.identity.issuer
    verdicts = check_folder(corpus, resolver, world.trust(), wanted, registry=registry, now=START)
    return b"".join(canonical(v.value()) + b"\n" for v in verdicts)


if __name__ == "__main__":
    main()
