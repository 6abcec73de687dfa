"""The demo's story: six steps that work, then the ways to cheat that do not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ledger.cli import main
from ledger.cli.demo_server import Server
from ledger.encoding import digest_encode, sha256
from ledger.errors import BackendError, RefusedError
from ledger.keys import SigningKey
from ledger.ports import Anchor
from ledger.proof import parse_proof
from ledger.receipt import verify_record

PICTURES: Final = Path(__file__).parent / "demo_pictures"
LINES_SHOWN: Final = 14
CHARS_SHOWN: Final = 150
ANCHOR_SECONDS: Final = 30
LICENSE: Final = "DEMO-TRAIN-2026-v1"
_PICTURE: Final = "photographs/friends.jpg"
_STRANGER: Final = "photographs/astronaut.jpg"
"""Shows a person, so it is not in the library: the demo plays it as a picture somebody scraped."""


def tell(server: Server) -> None:
    """Runs the whole story in the current folder, which is empty."""
    story = _Story()
    _creator(story)
    server.start()
    _registry(story, server)
    proof = _proof(story, server)
    _token(story, server)
    _gate(story, server)
    story.title("The server is off: does the proof still hold?")
    server.stop()
    with _chain() as chain:
        block = chain.block_hash(_anchored_block(proof))
    click.echo("   the block hash is read from the chain on this machine; of a public chain, ask a node of your own:")
    story.run(f"verify {proof} --file tagged/{_PICTURE} --block-hash {block} --require anchor", show=24)
    story.proves("Nothing was asked of anybody: the signature, the log, the block and your trust file are enough.")
    story.run(f"verify {proof} --log registry/log --block-hash {block}", show=24)
    story.proves("With a copy of the log every leaf is read again: what was asserted is now replayed.")
    _cheats(story, proof, block)
    server.start()


def shortened(line: str) -> str:
    """Returns a line that is too long up to a whole word, and the mark that there was more."""
    whole = line[:CHARS_SHOWN].rsplit(" ", 1)[0]
    return f"{whole} …" if whole.strip() else f"{line[:CHARS_SHOWN]}…"


class _Story:
    """Numbers the steps, runs commands in this process and shows what they print."""

    def __init__(self) -> None:
        self.number = 0

    def title(self, text: str) -> None:
        self.number += 1
        click.secho(f"\n{self.number}. {text}", bold=True)

    def proves(self, text: str) -> None:
        click.secho(f"   => {text}", fg="green")

    def run(self, command: str, *, expect: int = 0, show: int = LINES_SHOWN) -> str:
        """Runs a command line and prints it with its output; any other exit code than `expect` ends the demo."""
        click.secho(f"   $ trainmark {command}", fg="cyan")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = main(shlex.split(command))
        lines = printed.getvalue().splitlines()
        for line in lines[:show]:
            click.echo(f"     {line if len(line) <= CHARS_SHOWN else shortened(line)}")
        if len(lines) > show:
            click.echo(f"     … {len(lines) - show} more lines")
        if code != expect:
            raise BackendError(f"the demo expected exit code {expect}, not {code}: trainmark {command}")
        return printed.getvalue()

    def refused(self, what: str, command: str, code: int = 1) -> None:
        """Runs a command that must be refused."""
        click.echo(f"   {what}:")
        self.run(command, expect=code, show=3)


def _creator(story: _Story) -> None:
    story.title("A creator: an id, a license, tagged copies of the pictures and one signed manifest")
    shutil.copytree(PICTURES, "library", ignore=shutil.ignore_patterns("*.json", "*.md", Path(_STRANGER).name))
    count = sum(path.is_file() for path in Path("library").rglob("*"))
    click.echo(f"   library/ holds {count} pictures: photographs with camera metadata, and drawn avatars")
    story.run("init --home creator --no-passphrase --name 'Robin Demo' --url https://robin.example/")
    story.run(
        f"license new --home creator --preset train --id {LICENSE} --url https://robin.example/{LICENSE}"
        f" -o {LICENSE}.license.json",
        show=4,
    )
    story.run(
        f"manifest library -o tagged --home creator --license {LICENSE}.license.json --title 'Demo library'"
        " --rights owned --release not-required --privacy none"
    )
    story.proves(
        "Each copy says inside whose it is and what is allowed; place, owner and serial numbers are taken out."
    )
    story.proves("The pictures look as before to the last bit, and one signature covers all files.")


def _registry(story: _Story, server: Server) -> None:
    story.title(f"A registry: logged, reviewed by rule, anchored (started at {server.url})")
    story.run(f"trust add {server.url} --yes --class development --trust trust.json")
    click.echo(
        "   --yes leaves out the question: this registry is your own. Of any other, compare the fingerprints first."
    )
    story.proves("The trust file is yours: no proof you will ever be given can change whom you believe.")
    story.run(f"publish tagged --home creator --to {server.url}")
    story.proves("The manifest is a leaf in an append-only log; the log holds no file name, no name, no file digest.")
    anchor = _wait_for_anchor(server)
    click.echo(
        f"   anchored: {anchor['size']} leaves in block {anchor['block_number']} of {anchor['chain']},"
        f" {anchor['state']}"
    )
    story.proves("One transaction covers everything logged before it, however much that is.")
    shutil.copyfile("registry/log.vkey", "log.vkey")


def _wait_for_anchor(server: Server) -> dict[str, object]:
    from ledger.client import RegistryClient

    deadline = time.monotonic() + ANCHOR_SECONDS
    with RegistryClient(server.url) as client:
        while time.monotonic() < deadline:
            size = client.policy().size
            for anchor in client.anchors():
                if anchor["size"] == size and anchor["state"] == "final":
                    return dict(anchor)
            time.sleep(0.2)
    raise BackendError("the log was not anchored in time")


def _proof(story: _Story, server: Server) -> Path:
    story.title("Anybody with a file: who made it, may I train on it, and how do I prove that?")
    story.run(f"resolve tagged/{_PICTURE} --registry {server.url}")
    proof = Path("proofs") / f"{Path(_PICTURE).name}.proof.json"
    proof.parent.mkdir()
    story.run(f"prove tagged/{_PICTURE} -o {proof} --registry {server.url} --trust trust.json")
    story.run(f"verify {proof}", show=24)
    story.proves("Who signed what under which terms is proved, by your trust file; what is not is named.")
    return proof


def _anchored_block(proof: Path) -> int:
    anchor = parse_proof(proof.read_bytes()).anchors[0]
    return verify_record(anchor.record, _origin()).block_number


def _origin() -> bytes:
    return sha256(Path("log.vkey").read_text().split("+")[0].encode())


@contextlib.contextmanager
def _chain() -> Iterator[Anchor]:
    """The embedded chain with the operator's own key; free once the server is off."""
    from anchors.embedded import EmbeddedChain
    from api.keys import open_keys

    with contextlib.closing(
        EmbeddedChain(Path("registry/chain.db"), open_keys(Path("registry/keys"), None).anchor)
    ) as chain:
        yield chain


def _token(story: _Story, server: Server) -> None:
    story.title("A model-maker: the creator grants a license, the registry issues a token")
    holder = SigningKey(os.urandom(32))
    Path("token").mkdir()
    story.run(
        f"token issue tagged --to {server.url} --home creator --holder {holder.did} --licensee 'Model House' house-7"
        " --price EUR 12500 --use train --use train-generative --purpose 'train a style model'"
        " -o token/grant.token.json"
    )
    story.run("token verify token/grant.token.json", show=18)
    story.proves("Exactly these files, for this licensee and these uses; the log knows only the token's digest.")


def _gate(story: _Story, server: Server) -> None:
    story.title("The gate: may this training folder be used?")
    corpus = Path("corpus")
    corpus.mkdir()
    copies = sorted(path for path in Path("tagged").rglob("*") if path.suffix in (".jpg", ".png", ".webp"))
    for path in copies[:6]:
        shutil.copyfile(path, corpus / path.name)
    shutil.copyfile(PICTURES / _STRANGER, corpus / "scraped.jpg")
    story.run(f"check corpus --registry {server.url}", expect=1, show=6)
    story.proves("Without a token this license is no permission, and a file nobody knows is denied too.")
    (corpus / "scraped.jpg").unlink()
    click.echo("   the file that nobody claims is taken out, so 7 files become 6, and the token is shown:")
    story.run(f"check corpus --registry {server.url} --token token/grant.token.json -o report.ndjson")
    story.proves("Every file is covered by a verified token: exit code 0, and a report with a reason per file.")


def _cheats(story: _Story, proof: Path, block: str) -> None:
    story.title("Now cheat")
    cheats = Path("cheats")
    cheats.mkdir()
    picture = bytearray(Path("tagged", _PICTURE).read_bytes())
    picture[len(picture) // 2] ^= 1
    (cheats / "changed.jpg").write_bytes(picture)
    story.refused("one bit of the picture", f"verify {proof} --file {cheats / 'changed.jpg'}")

    def altered(name: str, change: str, value: object) -> Path:
        document = json.loads(proof.read_bytes())
        place = document
        *way, last = [int(part) if part.isdecimal() else part for part in change.split("/")]
        for part in way:
            place = place[part]
        place[last] = value
        path = cheats / name
        path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
        return path

    entry = altered("entry.proof.json", "claim/entry/rights_status", "licensed")
    story.refused("one word of the entry", f"verify {entry}")
    hashed = altered("hash.proof.json", "leaves/0/path/0", digest_encode(sha256(b"something else")))
    story.refused("one hash of a path", f"verify {hashed}")
    terms = altered("terms.proof.json", "claim/terms/uses/share-data", "yes")
    story.refused("better terms", f"verify {terms}")
    _rewritten_log(story, proof, block, cheats)
    _forked_head(story)


def _rewritten_log(story: _Story, proof: Path, block: str, cheats: Path) -> None:
    """The operator changes one byte of an old leaf in the tiles."""
    shutil.copytree("registry/log", cheats / "log")
    for path in sorted((cheats / "log/tile/entries").rglob("*")):
        if path.is_file():
            data = bytearray(path.read_bytes())
            data[40] ^= 1
            path.chmod(0o644)
            path.write_bytes(data)
    story.refused("a rewritten log", f"verify {proof} --log {cheats / 'log'} --block-hash {block}")


def _forked_head(story: _Story) -> None:
    """The operator itself, with the publisher's key, tells the contract another history."""
    click.echo("   a forked head, sent to the contract with the publisher's own key:")
    with _chain() as chain:
        size, _ = chain.head(_origin())
        for what, forged in (("the same size, another root", size), ("a bigger log that does not extend it", size + 1)):
            try:
                chain.submit(_origin(), forged, sha256(b"another history"), [])
            except RefusedError as e:
                click.echo(f"     {what}: refused, {e.code}")
            else:
                raise BackendError(f"the contract accepted {what}")
    story.proves("The contract takes one history per publisher, even from the operator's own key.")
    story.proves("This chain runs inside the registry, for trying out; on a public one everybody can check that.")
