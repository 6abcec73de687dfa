"""``trainmark init|license|manifest``: a creator's own side; no network."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ledger.canonical import Json, Object
from ledger.cli.asking import AskedOption, answered_by, ask_new_passphrase, ask_passphrase, checked, valid
from ledger.cli.output import emit, json_option, note, progress
from ledger.encoding import digest_encode
from ledger.errors import BackendError, ConflictError, MalformedError, NotFoundError, RefusedError
from ledger.files import create_file, read_file, shown_path
from ledger.keys import SigningKey
from ledger.library.creator import (
    MAX_KEY_BYTES,
    MAX_PASSPHRASE,
    MIN_PASSPHRASE,
    PROFILE_FILE,
    RECOVERY_KEY_FILE,
    SIGNING_KEY_FILE,
    KeyFile,
    Keyring,
    Profile,
    check_label,
    check_passphrase,
    create_creator,
    load_key,
    load_profile,
)
from ledger.library.source import MANIFEST_FILE
from ledger.manifests import PRIVACY_ANSWERS, PRIVACY_FLAGS, RELEASE_STATUSES, RIGHTS_STATUSES
from ledger.terms import (
    ANSWERS,
    AUDIENCES,
    MAX_LICENSE_TEXT_BYTES,
    MAX_TERMS_BYTES,
    USES,
    Terms,
    check_license_id,
    parse_terms,
    verify_text,
)
from ledger.text import line as check_line
from ledger.text import url as check_url

if TYPE_CHECKING:
    from ledger.client import RegistryClient
    from ledger.library.copies import Prepared
    from ledger.library.source import Skipped

DEFAULT_HOME = Path(".trainmark")
NUMBERS = ("term_months", "exclusive_months", "notice_days", "audit_per_year")
WORDS = ("audience", "exclusive_after", "trained_models")
"""Fields of terms beside the uses that ``license new --set`` changes."""


def home_option_checked(
    check: Callable[[Path], object] | None,
) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """Adds ``--home DIR``, where the creator's profile and keys are; `check` sees it before any question is asked."""

    def callback(_ctx: click.Context, _param: click.Parameter, home: Path) -> Path:
        if check is not None:
            check(home)
        return home

    return click.option(
        "--home",
        type=click.Path(path_type=Path),
        default=DEFAULT_HOME,
        envvar="TRAINMARK_HOME",
        show_default=True,
        is_eager=True,
        callback=callback,
        help="Folder of your creator profile and keys.",
    )


def home_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--home DIR``: where the creator's profile and keys are."""
    return home_option_checked(None)(command)


def profile_in(home: Path) -> Profile:
    """Returns the public profile of the creator in `home`.

    Raises:
        NotFoundError: there is no creator; says how to make one.
    """
    if not (home / PROFILE_FILE).exists():
        raise NotFoundError(f"no creator in {home}: make one with 'trainmark init'", field="--home")
    return load_profile(home)


def load_creator(home: Path, client: RegistryClient | None = None) -> tuple[Profile, SigningKey]:
    """Returns the creator in `home` with the signing key, asking for its passphrase where it has one.

    Of several keys it is the newest one; with a `client`, the newest one that counts in the log of its registry.

    Raises:
        NotFoundError: there is no creator; says how to make one.
        ConflictError: the key is another one's.
        RefusedError: ``key-invalid``: no key in `home` counts there.
    """
    profile = profile_in(home)
    return profile, signing_key(Keyring(home / SIGNING_KEY_FILE, profile.did), "TRAINMARK_PASSPHRASE", client)


def signing_key(keyring: Keyring, setting: str, client: RegistryClient | None = None) -> SigningKey:
    """Returns the newest signing key of a party, with a `client` the newest that counts in the log of its registry.

    Raises:
        NotFoundError: there is no key file.
        ConflictError: a file holds another key than it should.
        RefusedError: ``key-invalid``: none of them counts there.
    """
    files = keyring.files(recovery=False)
    if client is not None and len(files) > 1:
        known = {key.key: key for key in client.party_keys(keyring.did)}
        files = [file for file in files if file.did in known and known[file.did].signs]
        if not files:
            raise RefusedError(
                f"no signing key in {shown_path(keyring.folder)} counts in the log of {client.url}; 'trainmark keys"
                " list' shows them, 'trainmark keys add --recovery FILE' adds one",
                code="key-invalid",
                field="--home",
            )
    file = files[-1] if files else KeyFile(keyring.first, keyring.did, False, 1)
    return open_key_of(file, "Passphrase of the signing key", setting)


def open_key_of(file: KeyFile, question: str, setting: str) -> SigningKey:
    """Returns the key in a key file. Raises ConflictError: it is another one than the file's name says."""
    key = open_key(file.path, question, setting)
    if key.did != file.did:  # a damaged key file may still read as some key
        raise ConflictError(f"it is not the key of {file.did}: restore it from your copy", field=str(file.path))
    return key


def open_key(path: Path, question: str, setting: str) -> SigningKey:
    """Returns the key in a file, with the passphrase of the environment variable `setting`, else asking for it."""
    passphrase = os.environ.get(setting)
    if passphrase is None and b"ENCRYPTED" in read_file(path, MAX_KEY_BYTES, "key"):
        passphrase = ask_passphrase(question, setting)
    return load_key(path, passphrase)


def _no_creator_yet(home: Path) -> None:
    if (home / PROFILE_FILE).exists():
        raise ConflictError(
            f"there is a creator in {home} already; name another folder for another one", code="exists", field="--home"
        )


@click.command("init")
@click.option(
    "--name",
    cls=AskedOption,
    prompt="Your name, as you want to be credited",
    callback=valid(check_line),
    help="Your name, as you want to be credited.",
)
@click.option(
    "--url",
    cls=AskedOption,
    prompt="Your page (attribution_url), like https://you.example/",
    callback=valid(check_url),
    help="Your page: where a credit links to.",
)
@click.option(
    "--label",
    default="main",
    show_default=True,
    callback=valid(check_label),
    help="A word for this creator, if you keep several.",
)
@click.option("--no-passphrase", is_flag=True, help="Leave the keys unencrypted: for tests and machines only you use.")
@home_option_checked(_no_creator_yet)
@json_option
def init(name: str, url: str, label: str, no_passphrase: bool, home: Path, as_json: bool) -> None:
    """Make a creator: an id, a signing key, and a recovery key to keep offline."""
    is_new = not home.exists()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as e:
        raise MalformedError(f"{shown_path(home)} is not a folder, and cannot become one", field="--home") from e
    except OSError as e:
        raise BackendError(f"cannot make {shown_path(home)}: {e.strerror}", field="--home") from e
    try:
        signing = recovery = None
        if not no_passphrase:
            signing = new_passphrase("Passphrase for the signing key", "TRAINMARK_PASSPHRASE")
            recovery = new_passphrase("Another passphrase, for the recovery key", "TRAINMARK_RECOVERY_PASSPHRASE")
        profile = create_creator(
            home,
            name=name,
            attribution_url=url,
            label=label,
            passphrase=signing,
            recovery_passphrase=recovery,
            entropy=os.urandom,
            no_passphrase=no_passphrase,
        )
    except BaseException:
        if is_new:
            with suppress(OSError):
                home.rmdir()
        raise
    value = {
        "creator_id": profile.did,
        "profile": str(home / PROFILE_FILE),
        "signing_key": str(home / SIGNING_KEY_FILE),
        "recovery_key": str(home / RECOVERY_KEY_FILE),
    }
    lines = [
        f"creator id    {profile.did}",
        f"profile       {home / PROFILE_FILE}",
        f"signing key   {home / SIGNING_KEY_FILE}",
        f"recovery key  {home / RECOVERY_KEY_FILE}",
        "Move the recovery key to a place that is not this machine: it takes your name back if the other one is lost.",
        "It counts at a registry once you have registered it: trainmark publish does so the first time.",
    ]
    emit(as_json, value, lines)


def new_passphrase(question: str, setting: str) -> str:
    """Returns the passphrase for a new key: that of the environment variable `setting`, else one that is asked for."""
    given = os.environ.get(setting)
    if given:
        return check_passphrase(given)
    rule = f"{MIN_PASSPHRASE} to {MAX_PASSPHRASE} characters"
    return ask_new_passphrase(f"{question} ({rule})", f"{setting} or --no-passphrase", check_passphrase)


@click.group("license")
def license_group() -> None:
    """License terms: the same for people and machines."""


@license_group.command("new")
@click.option(
    "--preset",
    "preset_name",
    help="Ready-made answers, listed when you leave it out.",
)
@click.option("--id", "license_id", callback=valid(check_license_id), help="A short code, such as SAM-TRAIN-2026-v1.")
@click.option("--url", "license_url", callback=valid(check_url), help="Where you will publish the text.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda _ctx, _param, values: [_change(value) for value in values],
    help=f"Change one answer; may be given again. A use ({', '.join(USES)}) to yes, no or ask; term_months (how long a"
    " permission lasts, 0: without end); exclusive_months and exclusive_after (non-exclusive, delist);"
    f" audience ({', '.join(AUDIENCES)}); territory (world, or countries like AT,DE); notice_days and trained_models"
    " (keep, retire) of a withdrawal; audit_per_year.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Default: <id>.license.json; the text goes beside it."
)
@home_option
@json_option
def license_new(
    preset_name: str | None,
    license_id: str | None,
    license_url: str | None,
    changes: list[tuple[str, Json]],
    output: Path | None,
    home: Path,
    as_json: bool,
) -> None:
    """Make a license: questions (or options) in, terms and the text people read out."""
    from ledger.library.licenses import PRESETS, make_license, preset

    profile = profile_in(home)
    if output is not None and output.suffix != ".json":
        raise click.BadParameter(f"{output}: the name must end in .json", param_hint="--output")
    if preset_name is None:
        click.echo("\n".join(f"  {name:18}{p.title}: {p.summary}" for name, p in PRESETS.items()), err=True)
        with answered_by("--preset"):
            preset_name = click.prompt("Which one", type=click.Choice(list(PRESETS)), default="train", err=True)
    if license_id is None:
        suggested = _suggested_id(profile.name, preset_name)
        with answered_by("--id"):
            license_id = click.prompt(
                "A short code for it",
                default=suggested,
                value_proc=lambda value: checked(check_license_id, value),
                err=True,
            )
    if license_url is None:
        suggested = f"{profile.attribution_url.rstrip('/')}/{license_id}"
        with answered_by("--url"):
            license_url = click.prompt(
                "Where the text will be published",
                default=suggested,
                value_proc=lambda value: checked(check_url, value),
                err=True,
            )
    fields = preset(preset_name).fields(license_id, license_url)
    for name, value in changes:
        fields = _changed(fields, name, value)
    terms, text = make_license(fields, profile.name)
    target = output or Path(f"{license_id}.license.json")
    create_file(target, terms.data)
    try:
        create_file(text_path(target), text)
    except BaseException:
        target.unlink()  # never one without the other
        raise
    made = {"license": str(target), "text": str(text_path(target)), "license_digest": digest_encode(terms.digest)}
    emit(as_json, made, [f"terms  {target}", f"text   {text_path(target)}", *_license_lines(terms)[1:]])


def _change(change: str) -> tuple[str, Json]:
    """Reads ``NAME=VALUE`` of ``--set``; whether the terms take the value is for them to say."""
    name, _, answer = change.partition("=")
    if name in NUMBERS and answer.isascii() and answer.isdigit() and len(answer) < 6:
        return name, int(answer)
    if name in WORDS and answer:
        return name, answer
    if name == "territory" and answer:
        return name, [*answer.split(",")]
    if name in NUMBERS:
        raise click.BadParameter(f"{change}: expected a number behind =", param_hint="--set")
    if name not in USES or answer not in ANSWERS:
        names = ", ".join((*USES, *NUMBERS, *WORDS, "territory"))
        raise click.BadParameter(
            f"{change}: expected one of {names}, then =, and for a use {', '.join(ANSWERS)}", param_hint="--set"
        )
    return name, answer


def _changed(fields: Object, name: str, value: Json) -> Object:
    """Returns fields of terms with one answer changed, wherever it stands in them."""
    group = "uses" if name in USES else "revocation" if name in ("notice_days", "trained_models") else None
    if group is None:
        return {**fields, name: value}
    inner = fields[group]
    assert isinstance(inner, dict)
    return {**fields, group: {**inner, name: value}}


def _suggested_id(name: str, preset_name: str) -> str:
    word = re.sub(r"[^A-Za-z0-9]+", "-", name.encode("ascii", "ignore").decode()).strip("-").upper() or "LICENSE"
    return f"{word[:24]}-{preset_name.upper()}-v1"


def text_path(terms_path: Path) -> Path:
    """Returns where the text of ``x.license.json`` lies: ``x.license.txt`` beside it."""
    return terms_path.with_suffix(".txt")


def load_license(path: Path) -> tuple[Terms, bytes]:
    """Returns terms and their text, each checked against the other."""
    terms = parse_terms(read_file(path, MAX_TERMS_BYTES, "license"))
    text = read_file(text_path(path), MAX_LICENSE_TEXT_BYTES, "license text")
    verify_text(terms, text)
    return terms, text


@license_group.command("show")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def license_show(file: Path, as_json: bool) -> None:
    """Show what a license allows, in plain words."""
    from ledger.library.licenses import explain, short_header

    terms = parse_terms(read_file(file, MAX_TERMS_BYTES, "license"))
    value = {
        "license_digest": digest_encode(terms.digest),
        "header": short_header(terms),
        "answers": [{"label": line.label, "answer": line.answer, "sentence": line.sentence} for line in explain(terms)],
    }
    emit(as_json, value, _license_lines(terms))


def _license_lines(terms: Terms) -> list[str]:
    from ledger.library.licenses import explain

    width = max(shutil.get_terminal_size((80, 24)).columns, 64)
    return [
        f"{terms.license_id}  {digest_encode(terms.digest)}",
        *(row for line in explain(terms) for row in _rows(f"{line.label:23} {line.answer:17} ", line.sentence, width)),
    ]


def _rows(columns: str, sentence: str, width: int) -> list[str]:
    """Returns a row of a table whose last column is text, as lines of at most `width`."""
    return textwrap.wrap(
        f"{columns}{sentence}",
        width,
        initial_indent="  ",
        subsequent_indent=" " * (2 + 24 + 18),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _there(_ctx: click.Context, param: click.Parameter, path: Path) -> Path:
    """Returns a path that leads somewhere; asked before any question is."""
    if not os.path.lexists(path):
        kind = "folder" if param.name == "folder" else "file"
        raise NotFoundError(f"there is no {kind} {shown_path(path)}", field=param.opts[0])
    return path


@click.command("manifest")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), is_eager=True, callback=_there)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="A new folder for the tagged copies."
)
@click.option(
    "--license",
    "license_path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    callback=_there,
    help="Your *.license.json.",
)
@click.option("--title", cls=AskedOption, prompt="Title of the library", help="Title of the library.")
@click.option("--version", "version_label", default="1", show_default=True, help="A label for this version.")
@click.option(
    "--rights",
    cls=AskedOption,
    type=click.Choice(RIGHTS_STATUSES),
    prompt="Rights in every picture",
    help="For every picture.",
)
@click.option(
    "--release", cls=AskedOption, type=click.Choice(RELEASE_STATUSES), prompt="Releases", help="For every picture."
)
@click.option(
    "--privacy",
    cls=AskedOption,
    prompt="People or personal data in the pictures: none, unknown, or flags like face,pii",
    help="none, unknown, or the flags that apply: face,minor,pii,biometric.",
)
@click.option("--tier", default="standard", show_default=True, help="Price tier of every picture.")
@click.option(
    "--on-conflict",
    type=click.Choice(["refuse", "sidecar"]),
    default="refuse",
    show_default=True,
    help="A file that names somebody else's rights: refuse stops and signs nothing, sidecar leaves the file's rights as"
    " they are and puts yours beside it.",
)
@click.option(
    "--also-known-as",
    multiple=True,
    metavar="NAME",
    help="Another name of yours, as your camera or editor writes it; may be given again.",
)
@click.option("--skip-broken", is_flag=True, help="Leave out pictures that are damaged, instead of stopping.")
@click.option("--keep-private", is_flag=True, help="Keep GPS, serial numbers and owner names in the published copies.")
@home_option_checked(profile_in)
@json_option
def manifest(
    folder: Path,
    output: Path,
    license_path: Path,
    title: str,
    version_label: str,
    rights: str,
    release: str,
    privacy: str,
    tier: str,
    on_conflict: Literal["refuse", "sidecar"],
    also_known_as: tuple[str, ...],
    skip_broken: bool,
    keep_private: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Tag copies of the pictures in FOLDER and sign one manifest of them; the originals stay as they are."""
    from ledger.library.build import build_manifest
    from ledger.library.heading import Description
    from ledger.library.licenses import attribution_text
    from ledger.library.tagging import Declaration

    profile, key = load_creator(home)
    terms, text = load_license(license_path)
    description = Description(
        title,
        version_label,
        attribution_text(profile.name, profile.did, terms.license_id, profile.attribution_url),
    )
    declared = Declaration(rights, release, read_privacy(privacy), tier)
    with progress("copies", "attributions") as report, _ways_out():
        built = build_manifest(
            folder,
            output,
            creator=profile,
            key=key,
            terms=terms,
            license_text=text,
            description=description,
            declared=declared,
            clock=lambda: int(time.time()),
            entropy=os.urandom,
            also_known_as=also_known_as,
            on_conflict=on_conflict,
            keep_private=keep_private,
            skip_broken=skip_broken,
            before_signing=_tell_before_signing,
            progress=report,
        )
    header = built.manifest.header
    value = {
        "manifest": str(output / MANIFEST_FILE),
        "digest": digest_encode(header.digest),
        "entries": header.entry_count,
        "outcome": built.outcome,
        "skipped": [{"path": s.path, "reason": s.reason} for s in built.skipped],
        "conflicts": [{"path": c.path, "property": c.property} for c in built.conflicts],
        "stripped": {path: list(names) for path, names in built.stripped.items()},
        "not_examined": list(built.not_examined),
    }
    lines = [
        f"{output / MANIFEST_FILE}  {header.entry_count} files, {built.outcome}",
        f"manifest digest {digest_encode(header.digest)}",
        *_left_out(built.skipped),
        *_by_reason(
            (f"somebody else's {c.property} is kept, and our metadata lies beside it", c.path) for c in built.conflicts
        ),
        *_by_reason((f"{', '.join(names)} taken out", path) for path, names in built.stripped.items()),
        *_by_reason(("not examined for private data", path) for path in built.not_examined),
    ]
    emit(as_json, value, lines)


def _left_out(skipped: Sequence[Skipped]) -> list[str]:
    """Returns one line on what is not in the library, if anything."""
    if not skipped:
        return []
    return [f"left out: {_some([f'{one.path} ({one.reason})' for one in skipped])}"]


def _by_reason(told: Iterable[tuple[str, str]]) -> list[str]:
    """Returns one line for each thing that is told, with the paths it is told of."""
    paths: dict[str, list[str]] = {}
    for reason, path in told:
        paths.setdefault(reason, []).append(path)
    return [f"{reason}: {_some(found)}" for reason, found in paths.items()]


def _tell_before_signing(prepared: Sequence[Prepared]) -> None:
    """Says what is no picture, and what no registry will list; a program reads it in the manifest."""
    reasons = dict.fromkeys(reason for one in prepared if (reason := one.entry.blocks_listing))
    if reasons:
        note(f"{', '.join(reasons)}: a registry logs this and rejects it by its rule 2, so that it is not listed")
    others = [one.path for one in prepared if not one.record.media_type.startswith("image/")]
    if others:
        what = "1 file is no picture and gets" if len(others) == 1 else f"{len(others)} files are no pictures and get"
        note(f"{what} a sidecar: {_some(others)}")


def _some(names: Sequence[str]) -> str:
    """Returns the first twenty names, and how many more there are."""
    more = f", and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


@contextmanager
def _ways_out() -> Iterator[None]:
    """Says behind the files that stop a run which options there are."""
    from ledger.library.copies import BrokenFilesError, RightsConflictError

    try:
        yield
    except RightsConflictError as e:
        raise ConflictError(
            f"{e.message}\n"
            "They name somebody else, and nothing was written. If it is another name of yours, give it with"
            " --also-known-as NAME. With --on-conflict sidecar such a file keeps what it says, and your metadata lies"
            " beside it; with --on-conflict refuse, the default, nothing is signed. Or move these files away.",
            code=e.code,
            field=e.field,
        ) from e
    except BrokenFilesError as e:
        raise MalformedError(
            f"{e.message}\nNothing was written. Leave them out with --skip-broken, or move them away.", field=e.field
        ) from e


def read_privacy(text: str) -> dict[str, str]:
    """Reads the answer to the privacy question into the four flags."""
    if text in ("none", "unknown"):
        return dict.fromkeys(PRIVACY_FLAGS, "no" if text == "none" else PRIVACY_ANSWERS[2])
    named = {flag.strip() for flag in text.split(",")}
    if not named <= set(PRIVACY_FLAGS):
        raise click.BadParameter(
            f"expected none, unknown or some of {', '.join(PRIVACY_FLAGS)}", param_hint="--privacy"
        )
    return {flag: "yes" if flag in named else "no" for flag in PRIVACY_FLAGS}
