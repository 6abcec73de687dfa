"""The documentation is true: its commands run, its examples are real, nothing a user can meet is missing from it.

A ``sh`` block after the line ``<!-- run -->`` runs.  The blocks of one page, and of the pages of one story, run in
one shell after the other in a fresh folder, which holds `pictures` and a copy of `docs`, beside a registry that is
served from `registry`; any command that fails fails the page.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from api.settings import Settings
from ledger.canonical import canonical, parse
from ledger.checkpoint import parse_checkpoint
from ledger.cli import cli
from ledger.encoding import sha256
from ledger.errors import TrainmarkError, VerificationError
from ledger.gate.verdict import REASONS
from ledger.library.creator import parse_profile
from ledger.manifests import parse_attribution, parse_manifest
from ledger.merkle import leaf_hash, root
from ledger.note import parse_note
from ledger.policy import verify_checkpoint
from ledger.proof import STEPS, verify_proof
from ledger.state import Fold
from ledger.statements import Statement, UnknownBody, parse_statement, verify_statement
from ledger.store.files import FolderTileStore
from ledger.terms import USES, parse_terms, verify_text
from ledger.tiles import read_leaves
from ledger.tokens.bundle import verify_token_bundle
from ledger.trust import Trust, parse_trust
from tests.simulator import START
from tests.support import ROOT
from tests.support.server import running_server

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
PICTURES = ROOT / "ledger" / "cli" / "demo_pictures" / "avatars"
README = ROOT / "README.md"
GUIDES = tuple(DOCS / "guides" / f"{name}.md" for name in ("creator", "model-maker", "auditor", "operator", "keys"))
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")))
STORIES = {"readme": (README,), "guides": GUIDES, "verification": (DOCS / "verification.md",)}

RUN = re.compile(r"<!-- run -->\n```sh\n(.*?)```\n", re.DOTALL)
SH = re.compile(r"```sh\n(.*?)```\n", re.DOTALL)
EXAMPLE = re.compile(r"<!-- example: ([^ #]+)(?:#([a-z0-9_.]+))? -->\n```json\n(.*?)```\n", re.DOTALL)


def read(page: Path) -> str:
    """Returns a page's text."""
    return page.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    """Names a page in the list of tests."""
    return str(path.relative_to(ROOT))


def all_commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yields every command with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from all_commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(all_commands(cli))


# -- what runs


@pytest.mark.e2e
@pytest.mark.parametrize("story", STORIES)
def test_blocks_run(story: str, tmp_path: Path) -> None:
    blocks = [block for page in STORIES[story] for block in RUN.findall(read(page))]
    assert blocks
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("images"))
    (tmp_path / "pictures").mkdir()
    for name in ("koi.png", "teal.png", "zephyr.png"):
        shutil.copyfile(PICTURES / name, tmp_path / "pictures" / name)
    with running_server(tmp_path / "registry") as server:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(["set -x", *blocks])],
            cwd=tmp_path,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "PYTHONWARNINGS": "error",
                "HOME": str(tmp_path),
                "LC_ALL": "C.UTF-8",
                "TRAINMARK_REGISTRY": server.url,
                "TRAINMARK_PASSPHRASE": "the signing key's own",
                "TRAINMARK_RECOVERY_PASSPHRASE": "the recovery key's own",
                "TRAINMARK_NEW_PASSPHRASE": "the signing key's own",
                "TRAINMARK_TRACEBACK": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]


def make(*arguments: str) -> str:
    """Runs make as a shell would, also when these tests are run by make; returns what it says."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_bare_make_tells_the_targets_and_installs_nothing() -> None:
    assert [line.split()[:2] for line in make().splitlines()] == [["make", "demo"], ["make", "test"], ["make", "lint"]]


def test_make_leaves_ctrl_c_to_the_demo() -> None:
    """A shell between the two would die of it, and make would call that a failure."""
    said = make("--dry-run", "--old-file=.venv-demo/.stamp", "demo")
    assert said.startswith("exec .venv-demo/bin/trainmark demo ")


def trainmark_lines(page: Path) -> list[list[str]]:
    """Returns the words of every line of a page's shell blocks that calls the command."""
    text = "\n".join(SH.findall(read(page))).replace("\\\n", " ")
    return [line.split("#")[0].split() for line in text.splitlines() if line.startswith("trainmark ")]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    for words in trainmark_lines(page):
        called = next((c for c in COMMANDS if tuple(words[1 : 1 + len(c)]) == c), None)
        assert called is not None, words
        known = {option for param in COMMANDS[called].params for option in param.opts}
        used = {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)}
        assert used <= known, words


# -- what is there is told


def test_every_command_is_told() -> None:
    told = "".join(read(page) for page in (README, *GUIDES, DOCS / "verification.md"))
    missing = [words for words in COMMANDS if f"trainmark {' '.join(words)}" not in told]
    assert [words for words in missing if len(words) == 1 or " ".join(words) not in told] == []


def test_every_setting_is_told() -> None:
    guide = read(DOCS / "guides" / "operator.md")
    settings = {f"TRAINMARK_{name.upper()}" for name in Settings.model_fields}
    named = {
        word
        for package in ("ledger", "anchors", "api")
        for path in (ROOT / package).rglob("*.py")
        for word in re.findall(r"TRAINMARK_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))
    }
    assert {name for name in settings | named if f"`{name}`" not in guide} == set()
    assert settings == set(re.findall(r"^\| `(TRAINMARK_[A-Z_]+)`", guide, re.MULTILINE))


def test_every_default_is_told() -> None:
    guide = read(DOCS / "guides" / "operator.md")
    told = dict(re.findall(r"^\| `TRAINMARK_([A-Z_]+)` \| (.+?) \|", guide, re.MULTILINE))
    for name, field in Settings.model_fields.items():
        default = field.default
        if default is None:  # nothing, or it follows from others
            assert told[name.upper()] == "none" or name in ("issuer", "origin", "log_level"), name
        elif isinstance(default, bool | int | float):
            assert told[name.upper()] == str(default).lower().removesuffix(".0"), name
        else:
            assert told[name.upper()] == f"`{default}`", name


def test_every_metric_is_told() -> None:
    source = read(ROOT / "api" / "metrics.py")
    names = set(re.findall(r'"(trainmark_[a-z_]+)"', source)) | {
        f"trainmark_witness_{name}" for name in ("failing", "contradicting", "leaves", "timestamp_seconds")
    }
    told = set(re.findall(r"`(trainmark_[a-z_]+)`", read(DOCS / "guides" / "operator.md")))
    assert {name.removesuffix("_total") for name in told} == names


def test_every_code_is_told() -> None:
    codes = {step.code for step in STEPS} | set(REASONS)
    for package in ("ledger", "anchors", "api"):
        for path in (ROOT / package).rglob("*.py"):
            codes |= set(re.findall(r'\bcode\s*=\s*"([a-z_-]+)"', path.read_text(encoding="utf-8")))
    told = read(DOCS / "format.md")
    assert {code for code in codes if f"`{code}`" not in told} == set()


def test_steps_are_told_in_order() -> None:
    table = re.findall(r"^\| ([0-9]+) \| `([a-z-]+)`", read(DOCS / "format.md").split("### Attribution token")[0], re.M)
    assert table == [(str(step.number), step.code) for step in STEPS]


def test_uses_are_told_in_order() -> None:
    table = re.findall(r"^\| `([a-z-]+)` \| ([0-9]+) \|", read(DOCS / "format.md"), re.M)
    assert table == [(use, str(n)) for n, use in enumerate(USES)]


def test_cited_sections_exist() -> None:
    there = set(re.findall(r"^## ([0-9])\. ", read(DOCS / "format.md"), re.M))
    cited = {
        number
        for folder in ("ledger", "anchors", "api", "tests", "contracts", "scripts")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sol")
        for number in re.findall(r"docs/format\.md,\s+sections? ([0-9]+)", path.read_text(encoding="utf-8"))
    }
    assert cited
    assert cited <= there


# -- links


def anchor_of(heading: str) -> str:
    """Returns the fragment by which a page's heading is linked."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", read(linked), re.MULTILINE)
            assert fragment in {anchor_of(heading) for heading in headings}, target


# -- examples


def test_shown_examples_are_the_files() -> None:
    shown = [(page, *found) for page in PAGES for found in EXAMPLE.findall(read(page))]
    assert len(shown) >= 20
    for page, name, part, block in shown:
        value: Any = json.loads((EXAMPLES / name).read_bytes())
        for step in part.split(".") if part else ():
            value = value[int(step) if step.isdecimal() else step]
        assert json.loads(block) == value, f"{name} in {page}"
    blocks = sum(read(page).count("```json\n") for page in PAGES)
    assert blocks == len(shown), "a json block without an example behind it"


def trust() -> Trust:
    """Returns the examples' trust file."""
    return parse_trust((EXAMPLES / "trust.json").read_bytes())


def statements() -> dict[str, Statement]:
    """Returns the example statements by name."""
    return {path.stem: parse_statement(path.read_bytes()) for path in (EXAMPLES / "statements").iterdir()}


def test_every_type_of_statement_has_an_example() -> None:
    found = statements()
    for statement in found.values():
        verify_statement(statement)
        assert not isinstance(statement.body, UnknownBody)
    types = re.findall(r"^\| `([a-z]+)` \| ", read(DOCS / "format.md").split("### Types")[1].split("### Keys")[0], re.M)
    assert len(types) == 12
    assert {statement.type for statement in found.values()} == set(types)


def test_example_documents() -> None:
    manifest = parse_manifest((EXAMPLES / "dataset_manifest.json").read_bytes())
    terms = parse_terms((EXAMPLES / f"{manifest.header.license_id}.license.json").read_bytes())
    verify_text(terms, (EXAMPLES / f"{manifest.header.license_id}.license.txt").read_bytes())
    assert terms.digest == manifest.header.license_digest
    assert parse_profile((EXAMPLES / "creator.json").read_bytes()).did == manifest.header.creator_id
    for entry in manifest.entries:
        assert sha256((EXAMPLES / entry.path).read_bytes()) == entry.published_hash
        assert parse_attribution((EXAMPLES / f"{entry.path}.attribution.json").read_bytes()).entry == entry
    line = (EXAMPLES / "verdict.ndjson").read_bytes()
    value: Any = parse(line[:-1], "verdict", 4096)
    assert (value["verdict"], set(value["reasons"]) <= set(REASONS)) == ("deny", True)


def test_example_proof() -> None:
    tiles = FolderTileStore(EXAMPLES / "log")
    note = tiles.read_checkpoint()
    assert note is not None
    checkpoint, _ = verify_checkpoint(parse_note(note), trust().policy)
    leaves = list(read_leaves(checkpoint.size, tiles.read))
    assert root([leaf_hash(leaf) for leaf in leaves]) == checkpoint.root
    assert Fold(leaves).void == {}
    data = (EXAMPLES / "koi.png.proof.json").read_bytes()
    result = verify_proof(data, trust(), replay=leaves)
    assert (result.state, result.state_replayed, result.logged_before) == ("listed", True, result.anchors[0].time)
    assert result.digest == sha256((EXAMPLES / "koi.png").read_bytes())
    assert parse_checkpoint(note)[0].origin in read(DOCS / "format.md")
    assert note.decode() in read(DOCS / "format.md")


def test_example_token() -> None:
    result = verify_token_bundle((EXAMPLES / "grant.token.json").read_bytes(), trust(), START)
    assert (result.files_checked, result.token.uses) == (True, ("train", "train-generative"))


def changed(value: Any, way: Sequence[str | int]) -> bytes:
    """Returns the document with one hex digit of a digest changed."""
    *steps, last = way
    place = value
    for step in steps:
        place = place[step]
    place[last] = place[last][:-1] + ("1" if place[last][-1] == "0" else "0")
    return canonical(value, max_text=1 << 20)


@pytest.mark.parametrize(
    ("way", "code"),
    [
        (("file", "digest"), "file-mismatch"),
        (("claim", "entry", "provenance_hash"), "entry-path"),
        (("claim", "terms", "text_digest"), "terms-digest"),
        (("leaves", 0, "path", 0), "leaf-path"),
        (("anchors", 0, "root"), "anchor"),
    ],
)
def test_the_example_proof_cannot_be_changed(way: Sequence[str | int], code: str) -> None:
    data = changed(json.loads((EXAMPLES / "koi.png.proof.json").read_bytes()), way)
    with pytest.raises(VerificationError) as refused:
        verify_proof(data, trust())
    assert refused.value.code == code
    assert isinstance(refused.value, TrainmarkError)
