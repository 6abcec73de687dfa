"""``init``, ``license``, ``manifest``, ``show`` and ``verify`` of what they make: a creator's side, no network."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.cli import main
from ledger.cli.creating import read_privacy
from ledger.cli.output import note, progress
from ledger.encoding import digest_encode, sha256
from ledger.library.creator import load_key, load_profile
from tests.reference import documents
from tests.support.pictures import exif_block, exif_segment, jpeg, png, with_png_chunks, with_segments
from tests.support.process import COMMAND, Said, call, environment

MADE = ("creator.json", "recovery.json", "recovery.key.pem", "signing.key.pem")
DECLARED = ("--title", "Avatars", "--rights", "owned", "--release", "not-required", "--privacy", "none")
LICENSE = "ADA-1.license.json"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def creator() -> Path:
    """A creator with a license, in the usual places, and three pictures."""
    assert call("init", "--no-passphrase", "--name", "Ada Lens", "--url", "https://ada.example/").code == 0
    assert new_license("ADA-1").code == 0
    folder = Path("pictures")
    (folder / "more").mkdir(parents=True)
    (folder / "a.png").write_bytes(png())
    (folder / "b.jpg").write_bytes(jpeg())
    (folder / "more/c.jpg").write_bytes(jpeg(seed=9))
    return folder


def new_license(name: str, *options: str) -> Said:
    return call("license", "new", "--preset", "train", "--id", name, "--url", f"https://ada.example/{name}", *options)


def make(*options: object, folder: object = "pictures", license_: object = LICENSE, out: object = "out") -> Said:
    return call("manifest", folder, "-o", out, "--license", license_, *DECLARED, *options)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_init_makes_a_creator_with_two_keys(place: Path) -> None:
    said = call("init", "--no-passphrase", "--name", "Ada Lens", "--url", "https://ada.example/", "--json")
    assert (said.code, said.err) == (0, "")
    home = place / ".trainmark"
    assert names(home) == sorted(MADE)
    profile = load_profile(home)
    assert said.value["creator_id"] == profile.did == load_key(home / "signing.key.pem").did
    recovery = json.loads((home / "recovery.json").read_bytes())
    assert recovery["key"] == load_key(home / "recovery.key.pem").did != profile.did
    assert recovery["recovery"] is True
    assert [(home / f"{name}.key.pem").stat().st_mode & 0o777 for name in ("signing", "recovery")] == [0o600, 0o600]


def test_init_asks_for_what_it_is_not_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINMARK_PASSPHRASE", "correct horse")
    monkeypatch.setenv("TRAINMARK_RECOVERY_PASSPHRASE", "battery staple")
    assert call("init", "--home", "home", answers="Ada Lens\nhttps://ada.example/\n").code == 0
    profile = load_profile(place / "home")
    assert (profile.name, profile.attribution_url) == ("Ada Lens", "https://ada.example/")
    assert load_key(place / "home/signing.key.pem", "correct horse").did == profile.did
    assert load_key(place / "home/recovery.key.pem", "battery staple").did != profile.did
    assert call("init", "--home", "other").code == 2  # nobody answers
    assert not Path("other").exists()


FULL = """
import resource, sys
from ledger.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))  # each write beyond it fails, as on a full disk
sys.exit(main({arguments!r}))
"""


@pytest.mark.parametrize("short", MADE)
def test_init_on_a_full_disk_leaves_nothing(place: Path, short: str) -> None:
    init = ("init", "--no-passphrase", "--name", "Ada", "--url", "https://ada.example/", "--home")
    assert call(*init, "whole").code == 0
    limit = Path("whole", short).stat().st_size - 1
    program = FULL.format(limit=limit, arguments=[*init, "new"])
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot write 'new/" in done.stderr
    assert names(place) == ["whole", *sorted(f"whole/{name}" for name in MADE)]


@pytest.mark.parametrize("home", ["file", "file/below", "loop"])
def test_init_refuses_a_home_that_is_no_folder(place: Path, home: str) -> None:
    Path("file").write_bytes(b"mine")
    Path("loop").symlink_to("loop")
    said = call("init", "--no-passphrase", "--name", "Ada", "--url", "https://ada.example/", "--home", home)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"trainmark: --home: '{home}' is not a folder, and cannot become one [malformed]\n"
    assert sorted(path.name for path in place.iterdir()) == ["file", "loop"]
    assert Path("file").read_bytes() == b"mine"


def test_manifest_refuses_a_link_that_leads_to_itself(creator: Path) -> None:
    Path("loop").symlink_to("loop")
    for said in (make(folder="loop"), make(out="loop")):
        assert (said.code, said.out) == (2, "")
        assert "'loop'" in said.err


def test_manifest_names_a_folder_that_it_cannot_look_into(creator: Path) -> None:
    deep = Path("pictures").absolute()
    while len(bytes(deep)) < 4080:  # 4095 bytes are the longest path there is
        deep /= "d" * min(200, 4085 - len(bytes(deep)) - 1)
        deep.mkdir()
    said = make()
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("trainmark: folder: cannot read '…")
    assert said.err.endswith("ddd': File name too long [backend]\n")
    assert not Path("out").exists()


def test_init_never_replaces_a_creator(place: Path) -> None:
    assert call("init", "--no-passphrase", "--name", "Ada", "--url", "https://ada.example/").code == 0
    before = {name: (place / ".trainmark" / name).read_bytes() for name in MADE}
    said = call("init", "--no-passphrase", "--name", "Eve", "--url", "https://eve.example/")
    assert (said.code, said.out) == (3, "")
    assert said.err == (
        "trainmark: --home: there is a creator in .trainmark already; name another folder for another one [exists]\n"
    )
    assert {name: (place / ".trainmark" / name).read_bytes() for name in MADE} == before


@pytest.mark.parametrize(
    ("name", "url", "message"),
    [
        ("", "https://ada.example/", "'--name': must not be empty"),
        ("Ada\nLens", "https://ada.example/", "'--name': U+000A is not allowed: one line, no direction marks"),
        (
            "Ada",
            "ada.example",
            "'--url': expected an address that begins with https:// or http:// and has no spaces; "
            "ASCII, at most 2048 characters; found 'ada.example'",
        ),
    ],
)
def test_init_refuses_what_is_no_name_or_url(name: str, url: str, message: str) -> None:
    said = call("init", "--name", name, "--url", url, "--home", "home")  # before any passphrase is asked for
    assert (said.code, said.out) == (2, "")
    assert said.err.endswith(f"Error: Invalid value for {message}\n")
    assert "assphrase" not in said.err
    assert not Path("home").exists()


def test_init_asks_again_for_a_url_that_is_none(place: Path) -> None:
    said = call("init", "--no-passphrase", answers="Ada\nada.example\nhttps://ada.example/\n")
    assert said.code == 0
    assert "Error: expected an address that begins with https:// or http://" in said.err
    assert load_profile(place / ".trainmark").attribution_url == "https://ada.example/"


def test_init_asks_again_for_a_passphrase_until_it_is_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["short", "correct horse", "correct hors", "correct horse", "correct horse", *2 * ["battery staple"]])
    asked: list[str] = []

    def getpass(prompt: str = "", stream: object = None) -> str:
        asked.append(prompt)
        return next(typed)

    monkeypatch.setattr("getpass.getpass", getpass)
    said = call("init", "--name", "Ada", "--url", "https://ada.example/")
    assert said.code == 0
    assert said.err == "Error: expected 8 to 1024 characters, found 5\nError: the two are not the same\n"
    question = "Passphrase for the signing key (8 to 1024 characters): "
    assert asked == [
        question, question, "The same again: ", question, "The same again: ",
        "Another passphrase, for the recovery key (8 to 1024 characters): ", "The same again: ",
    ]  # fmt: skip
    assert load_key(place / ".trainmark/signing.key.pem", "correct horse").did == load_profile(place / ".trainmark").did
    assert load_key(place / ".trainmark/recovery.key.pem", "battery staple").did != load_profile(Path(".trainmark")).did


def test_init_refuses_a_short_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINMARK_PASSPHRASE", "short")
    monkeypatch.setenv("TRAINMARK_RECOVERY_PASSPHRASE", "battery staple")
    said = call("init", "--name", "Ada", "--url", "https://ada.example/")
    assert (said.code, said.out) == (2, "")
    assert said.err == "trainmark: passphrase: expected 8 to 1024 characters, found 5 [malformed]\n"
    assert not Path(".trainmark").exists()


def test_license_new_binds_terms_and_text(creator: Path) -> None:
    said = new_license("ADA-2", "--set", "deploy=yes", "--set", "train=no", "--json")
    assert said.code == 0
    data = Path("ADA-2.license.json").read_bytes()
    assert said.value == {
        "license": "ADA-2.license.json",
        "license_digest": digest_encode(sha256(data)),
        "text": "ADA-2.license.txt",
    }
    terms = json.loads(data)
    assert (terms["uses"]["deploy"], terms["uses"]["train"]) == ("yes", "no")
    assert terms["text_digest"] == digest_encode(sha256(Path("ADA-2.license.txt").read_bytes()))
    shown = call("license", "show", "ADA-2.license.json", "--json")
    assert shown.value["license_digest"] == said.value["license_digest"]
    assert [line for line in call("license", "show", "ADA-2.license.json").out.splitlines() if "deploy" in line]


def test_license_new_sets_what_is_no_use(creator: Path) -> None:
    changes = {
        "term_months": "24",
        "exclusive_months": "6",
        "exclusive_after": "delist",
        "audience": "research",
        "territory": "AT,DE",
        "notice_days": "90",
        "trained_models": "retire",
        "audit_per_year": "2",
        "train": "ask",
    }
    said = new_license("ADA-4", *(f"--set={name}={value}" for name, value in changes.items()))
    assert said.code == 0
    terms = json.loads(Path("ADA-4.license.json").read_bytes())
    flat = {**terms, **terms["uses"], **terms["revocation"], "territory": ",".join(terms["territory"])}
    assert {name: str(flat[name]) for name in changes} == changes
    assert "A permission ends 24 months after it was granted." in " ".join(said.out.split())
    told = " ".join(call("license", "new", "--help").out.split())
    assert all(name in told for name in changes)


@pytest.mark.parametrize("columns", [None, 100])
def test_license_show_stays_within_the_terminal(creator: Path, columns: int | None) -> None:
    env = {name: value for name, value in environment().items() if name != "COLUMNS"}
    env |= {"COLUMNS": str(columns)} if columns else {}
    done = subprocess.run([*COMMAND, "license", "show", LICENSE], env=env, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()[1:]
    assert (columns or 80) - 20 < max(map(len, lines)) <= (columns or 80)
    answers = call("license", "show", LICENSE, "--json").value["answers"]
    told = " ".join(done.stdout.split())
    assert all(f"{one['label']} {one['answer']} {one['sentence']}" in told for one in answers)
    assert new_license("ADA-3").out.count("\n") > len(answers) + 3


def test_license_new_asks_for_what_it_is_not_told(creator: Path) -> None:
    said = call("license", "new", "--json", answers="research\nmy license\nADA-R\nhere\n\n")
    assert "Error: expected letters, digits, and the signs . _ -" in said.err
    assert "Error: expected an address that begins with https://" in said.err
    assert said.code == 0
    assert said.value["license"] == "ADA-R.license.json"  # the questions went elsewhere
    assert json.loads(Path("ADA-R.license.json").read_bytes())["license_url"] == "https://ada.example/ADA-R"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--preset", "nothing"], 2, "trainmark: preset: expected one of train, "),
        (
            ["--id", "two words"],
            2,
            "Error: Invalid value for '--id': expected letters, digits, and the signs . _ - behind the first of them; "
            "ASCII, at most 128 characters; found 'two words'\n",
        ),
        (["--url", "here"], 2, "Error: Invalid value for '--url': expected an address that begins with https:// or "),
        (["--set", "train=maybe"], 2, "Error: Invalid value for --set: train=maybe: expected one of search, "),
        (["--set", "paint=yes"], 2, "Error: Invalid value for --set: paint=yes: expected one of search, "),
        (["--set", "term_months=soon"], 2, "Invalid value for --set: term_months=soon: expected a number behind ="),
        (["--set", "term_months=9999"], 2, "trainmark: terms.term_months: "),
        (["--set", "audience=friends"], 2, "trainmark: terms.audience: expected one of any, "),
        (["--set", "territory=Austria"], 2, "trainmark: terms.territory: expected "),
        (["--home", "none"], 2, "trainmark: --home: no creator in none: make one with 'trainmark init'"),
        (["-o", "ADA-9.txt"], 2, "Error: Invalid value for --output: ADA-9.txt: the name must end in .json"),
        (["-o", "none/a.json"], 3, "trainmark: file: cannot write 'none/a.json': No such file or directory"),
        (["-o", LICENSE], 3, f"trainmark: file: '{LICENSE}' exists and is not replaced [exists]"),
    ],
)
def test_license_new_refuses(creator: Path, arguments: list[str], code: int, message: str) -> None:
    before = names(Path())
    said = call("license", "new", "--preset", "train", "--id", "ADA-9", "--url", "https://ada.example/9", *arguments)
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert names(Path()) == before


def test_license_new_leaves_no_terms_without_their_text(creator: Path) -> None:
    Path("ADA-2.license.txt").write_text("mine")
    assert new_license("ADA-2").code == 3
    assert not Path("ADA-2.license.json").exists()
    assert Path("ADA-2.license.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none", "trainmark: license: there is no file 'none' [not-found]"),
        ("pictures", "Error: Invalid value for 'FILE': File 'pictures' is a directory."),
        ("pictures/a.png", "trainmark: terms: "),
        (".trainmark/creator.json", "trainmark: terms: "),
    ],
)
def test_license_show_refuses(creator: Path, file: str, message: str) -> None:
    said = call("license", "show", file)
    assert (said.code, said.out) == (2, "")
    assert message in said.err


def test_manifest_makes_a_library_that_the_reference_believes(creator: Path) -> None:
    originals = {path: path.read_bytes() for path in creator.rglob("*.*")}
    said = make("--json")
    assert (said.code, said.err) == (0, "")
    out = Path("out")
    found = documents.verify_manifest((out / "dataset_manifest.json").read_bytes())
    assert (found.digest, said.value["outcome"], said.value["entries"]) == (said.value["digest"], "new", 3)
    assert [entry["path"] for entry in found.entries] == ["a.png", "b.jpg", "more/c.jpg"]
    for entry in found.entries:
        path = out / str(entry["path"])
        assert entry["published_hash"] == digest_encode(sha256(path.read_bytes()))
        assert entry["provenance_hash"] == digest_encode(sha256((creator / str(entry["path"])).read_bytes()))
        documents.verify_attribution(Path(f"{path}.attribution.json").read_bytes())
    assert {path: path.read_bytes() for path in creator.rglob("*.*")} == originals


def test_manifest_again_changes_nothing(creator: Path) -> None:
    first = make("--json")
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    again = make("--json")
    assert {**first.value, "outcome": "unchanged"} == again.value
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"folder": "none"}, 2, "trainmark: folder: there is no folder "),
        ({"folder": "pictures/a.png"}, 2, "Error: Invalid value for 'FOLDER': Directory 'pictures/a.png' is a file."),
        ({"folder": "empty"}, 2, "no file in "),
        ({"license_": "none.json"}, 2, "trainmark: --license: there is no file 'none.json' [not-found]"),
        ({"license_": "pictures"}, 2, "Error: Invalid value for '--license': File 'pictures' is a directory."),
        ({"license_": "pictures/a.png"}, 2, "trainmark: terms: not JSON"),
        ({"out": "pictures"}, 3, "trainmark: out: the pictures are in it; choose another [output-folder]"),
        ({"out": "full"}, 3, "[output-folder]"),
    ],
)
def test_manifest_refuses(creator: Path, changed: dict[str, str], code: int, message: str) -> None:
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/mine.txt").write_text("not a library")
    before = names(Path())
    said = make(**changed)
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert names(Path()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--home", "none"], "trainmark: --home: no creator in none: make one with 'trainmark init' [not-found]"),
        (["--title", ""], "trainmark: header.title: must not be empty"),
        (["--version", "a\tb"], "trainmark: header.version: "),
        (["--tier", "No Tier"], "price_tier: expected "),
        (["--rights", "mine"], "Error: Invalid value for '--rights': 'mine' is not one of 'owned', "),
        (["--privacy", "faces"], "Error: Invalid value for --privacy: expected none, unknown or some of face, minor"),
    ],
)
def test_manifest_refuses_what_is_declared_in_other_words(creator: Path, options: list[str], message: str) -> None:
    said = make(*options)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert not Path("out").exists()


def test_a_creator_that_is_or_is_not_there_is_told_before_any_question(creator: Path) -> None:
    again = call("init", answers="Eve\nhttps://eve.example/\n")
    assert (again.code, again.out) == (3, "")
    assert again.err.startswith("trainmark: --home: there is a creator in .trainmark already; ")
    nobody = call("manifest", "pictures", "-o", "out", "--license", LICENSE, "--home", "none", answers="Avatars\n")
    assert (nobody.code, nobody.out) == (2, "")
    assert nobody.err == "trainmark: --home: no creator in none: make one with 'trainmark init' [not-found]\n"


def test_what_was_done_to_many_files_is_told_in_one_line(creator: Path) -> None:
    for number in range(22):
        (creator / f"{number:02}.jpg").write_bytes(camera_jpeg(number, "Ada Lens"))
        (creator / f"{number:02}.txt").write_text("notes")
    out = make().out.splitlines()
    [stripped] = [line for line in out if "taken out" in line]
    assert stripped.startswith("Exif:GPS, Exif:CameraOwnerName, ")
    assert " taken out: 00.jpg, 01.jpg, " in stripped
    assert stripped.endswith(", 19.jpg, and 2 more")
    [unseen] = [line for line in out if line.startswith("not examined for private data: 00.txt, ")]
    assert unseen.endswith(", 19.txt, and 2 more")


@pytest.mark.parametrize(
    ("folder", "license_", "message"),
    [
        ("none", LICENSE, "trainmark: folder: there is no folder 'none' [not-found]\n"),
        ("pictures", "none.json", "trainmark: --license: there is no file 'none.json' [not-found]\n"),
    ],
)
def test_manifest_asks_nothing_about_what_is_not_there(creator: Path, folder: str, license_: str, message: str) -> None:
    said = call("manifest", folder, "-o", "out", "--license", license_, answers="Avatars\nowned\n")
    assert (said.code, said.out, said.err) == (2, "", message)


def test_manifest_wants_the_text_beside_its_terms(creator: Path) -> None:
    text = Path("ADA-1.license.txt")
    words = text.read_bytes()
    text.write_bytes(words.replace(b"Ada", b"Eve"))
    changed = make()
    assert changed.code == 1
    assert "text" in changed.err
    text.unlink()
    missing = make()
    assert missing.code == 2
    assert missing.err == "trainmark: license text: there is no file 'ADA-1.license.txt' [not-found]\n"
    assert not Path("out").exists()


def test_manifest_refuses_a_key_that_others_can_read_or_that_is_another_ones(creator: Path) -> None:
    key = Path(".trainmark/signing.key.pem")
    key.chmod(0o644)
    readable = make()
    assert readable.code == 2
    assert "expected 0600 (chmod 600) [key-permissions]" in readable.err
    key.chmod(0o600)
    key.write_bytes(Path(".trainmark/recovery.key.pem").read_bytes())
    exchanged = make()
    assert exchanged.code == 3
    assert "trainmark: .trainmark/signing.key.pem: it is not the key of did:key:" in exchanged.err
    assert not Path("out").exists()


def test_manifest_with_an_encrypted_key_asks_once(creator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINMARK_PASSPHRASE", "correct horse")
    monkeypatch.setenv("TRAINMARK_RECOVERY_PASSPHRASE", "battery staple")
    assert call("init", "--name", "Ada", "--url", "https://ada.example/", "--home", "locked").code == 0
    assert make("--home", "locked").code == 0
    monkeypatch.setenv("TRAINMARK_PASSPHRASE", "wrong horse")
    wrong = make("--home", "locked", out="again")
    assert wrong.code == 2
    assert "[passphrase]" in wrong.err
    assert "wrong horse" not in wrong.err


def test_somebody_elses_rights_are_refused_or_left_alone(creator: Path) -> None:
    assert make().code == 0
    taken = Path("taken")
    taken.mkdir()
    (taken / "a.png").write_bytes(Path("out/a.png").read_bytes())
    assert call("init", "--no-passphrase", "--name", "Eve", "--url", "https://eve.example/", "--home", "eve").code == 0
    refused = make("--home", "eve", folder="taken", out="stolen")
    assert refused.code == 3
    assert "a.png" in refused.err
    assert not Path("stolen").exists()
    beside = make("--home", "eve", "--on-conflict", "sidecar", "--json", folder="taken", out="stolen")
    assert beside.code == 0
    assert beside.value["conflicts"][0]["path"] == "a.png"
    assert Path("stolen/a.png").read_bytes() == (taken / "a.png").read_bytes()


def camera_jpeg(seed: int, name: str) -> bytes:
    """A picture as a camera leaves it that was told its owner's name."""
    block = exif_block(artist=name.encode(), copyright=f"(c) {name}".encode())
    return with_segments(jpeg(seed=seed), exif_segment(block))


def test_the_creators_own_camera_is_no_stranger(creator: Path) -> None:
    (creator / "own.jpg").write_bytes(camera_jpeg(21, "Ada Lens"))
    (creator / "studio.jpg").write_bytes(camera_jpeg(22, "Lens Studio"))
    refused = make()
    assert (refused.code, refused.out) == (3, "")
    assert "'studio.jpg': Exif:Artist: the file says 'Lens Studio', to be written is 'Ada Lens'" in refused.err
    assert "'own.jpg'" not in refused.err
    assert not Path("out").exists()
    known = make("--also-known-as", "Lens Studio", "--json")
    assert (known.code, known.value["conflicts"]) == (0, [])
    assert make("--also-known-as", "Lens\nStudio", out="other").code == 2


def test_files_with_other_rights_are_listed_one_a_line_with_the_choices(creator: Path) -> None:
    for number in range(22):
        (creator / f"{number:02}.jpg").write_bytes(camera_jpeg(number, "Jörg"))
    said = make()
    lines = said.err.splitlines()
    named = [line for line in lines if "the file says" in line]
    assert named[0] == (
        "  '00.jpg': Exif:Artist: the file says 'Jörg', to be written is 'Ada Lens'; also Exif:Copyright"
    )
    assert (said.code, len(named), lines[21]) == (3, 20, "  and 2 more")
    for option in ("--also-known-as NAME", "--on-conflict sidecar", "--on-conflict refuse"):
        assert option in lines[22]
    assert lines[22].endswith("[rights_conflict]")


def test_what_is_no_picture_is_told(creator: Path) -> None:
    assert make("--json").err == ""
    (creator / "notes.txt").write_text("remember")
    (creator / "fake.png").write_text("no picture")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (creator / name).write_bytes(b"x")
    said = make(out="more")
    assert (said.code, said.err) == (0, "2 files are no pictures and get a sidecar: fake.png, notes.txt\n")
    assert "left out: .DS_Store (hidden), Thumbs.db (system), desktop.ini (system)\n" in said.out
    (creator / "fake.png").unlink()
    assert make(out="one").err == "1 file is no picture and gets a sidecar: notes.txt\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--release", "missing"), "release_status missing"),
        (("--rights", "needs-release"), "rights_status needs-release"),
        (("--privacy", "unknown"), "privacy face unknown"),
    ],
)
def test_what_no_registry_lists_is_told(creator: Path, options: tuple[str, str], reason: str) -> None:
    said = make(*options)
    assert said.code == 0
    assert said.err == f"{reason}: a registry logs this and rejects it by its rule 2, so that it is not listed\n"
    assert make("--release", "on-file", out="fine").err == ""


def test_what_is_no_picture_is_told_before_anything_is_signed(creator: Path) -> None:
    (creator / "notes.txt").write_text("remember")
    seen: list[bool] = []

    class Watching(io.StringIO):
        def write(self, text: str) -> int:
            seen.append(any(path.name == "dataset_manifest.json" for path in Path().rglob("*")))
            return super().write(text)

    with contextlib.redirect_stderr(Watching()):
        assert main(["manifest", "pictures", "-o", "out", "--license", LICENSE, *DECLARED]) == 0
    assert seen
    assert not any(seen)


def test_all_damaged_pictures_are_told_with_the_way_out(creator: Path) -> None:
    (creator / "half.jpg").write_bytes(jpeg()[:600])
    (creator / "half.png").write_bytes(png()[:60])
    said = make()
    lines = said.err.splitlines()
    assert (said.code, said.out, lines[0]) == (2, "", "trainmark: files: ")
    assert [line[:14] for line in lines[1:3]] == ["  'half.jpg': ", "  'half.png': "]
    assert lines[3] == "Nothing was written. Leave them out with --skip-broken, or move them away. [malformed]"
    assert not Path("out").exists()
    skipped = make("--skip-broken", "--json")
    assert (skipped.code, skipped.value["entries"]) == (0, 3)
    assert skipped.value["skipped"] == [
        {"path": "half.jpg", "reason": "broken"}, {"path": "half.png", "reason": "broken"},
    ]  # fmt: skip
    assert "left out: half.jpg (broken), half.png (broken)\n" in make("--skip-broken").out


def test_progress_names_its_phases_and_counts_files(creator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    seconds = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))
    with contextlib.redirect_stderr(Terminal()) as terminal, progress("copies", "attributions") as report:
        for done in range(7):
            report(done, 6)
        note("by the way")
    drawn = terminal.getvalue().split("\r")
    assert [line.split("]")[0].rstrip("#.") + line.split("]")[1] for line in drawn[2:7]] == [
        "copies       [ 1/3", "copies       [ 2/3", "attributions [ 0/3", "attributions [ 1/3", "attributions [ 2/3",
    ]  # fmt: skip
    assert drawn[7].endswith("] 3/3")
    assert drawn[8] == "\x1b[Kby the way\n\n"


@pytest.mark.parametrize("kind", ["manifest", "attribution"])
def test_verify_says_who_signed_and_what_is_open(creator: Path, kind: str) -> None:
    make()
    path = Path("out", "dataset_manifest.json" if kind == "manifest" else "a.png.attribution.json")
    said = call("verify", path, "--json")
    assert (said.code, said.err) == (0, "")
    assert (said.value["verified"], said.value["signed_by"]) == (True, [load_profile(Path(".trainmark")).did])
    assert "when it was signed" in said.value["not_checked"]
    lines = call("verify", path).out
    assert lines.index("proved:") < lines.index("not checked:")
    required = call("verify", path, "--require", "anchor")
    assert (required.code, required.err) == (1, "trainmark: anchor was required and is not proved\n")


def test_verify_refuses_what_was_changed(creator: Path) -> None:
    make()
    path = Path("out/dataset_manifest.json")
    whole = path.read_bytes()
    for old, new, code, about in (
        (b'"rights_status":"owned"', b'"rights_status":"licensed"', 1, "entries"),
        (
            b'"title":"Avatars"',
            b'"title":"Avatar5"',
            2,
            "statements: each statement is of type manifest and of this header",
        ),  # a statement about another header
    ):
        path.write_bytes(whole.replace(old, new, 1))
        said = call("verify", path, "--json")
        assert (said.code, said.out) == (code, "")
        assert said.err.startswith(f"trainmark: {about}")
    path.write_bytes(whole + b"\n")
    assert call("verify", path).code == 2


@pytest.mark.parametrize("command", ["verify", "show"])
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none", "trainmark: file: there is no file 'none' [not-found]"),
        ("pictures", "Error: Invalid value for 'FILE': File 'pictures' is a directory."),
        ("pictures/a.png", "trainmark: file: "),
        ("deep.json", "trainmark: file: "),
        ("half.json", "trainmark: "),
    ],
)
def test_verify_and_show_refuse(creator: Path, command: str, file: str, message: str) -> None:
    make()
    Path("deep.json").write_bytes(b"\xff" + b"[" * 100_000)
    Path("half.json").write_bytes(b'{"trainmark":"manifest/v1"}')
    said = call(command, file, "--json")
    assert (said.code, said.out) == (2, "")
    assert message in said.err


def test_show_prints_each_of_the_files(creator: Path) -> None:
    make()
    files = ["out/dataset_manifest.json", "out/a.png.attribution.json", LICENSE, ".trainmark/creator.json"]
    for file in files:
        words, value = call("show", file), call("show", file, "--json")
        assert (words.code, value.code, value.err) == (0, 0, "")
        assert value.value == json.loads(Path(file).read_bytes())
    assert 'title: "Avatars" version 1, part 1 of 1' in call("show", files[0]).out
    assert "file: a.png, entry 0" in call("show", files[1]).out
    assert call("show", "ADA-1.license.txt").out == Path("ADA-1.license.txt").read_text()


def test_show_does_not_let_a_file_move_the_cursor() -> None:
    Path("evil.txt").write_text("all \x1b[2Jgood\u202etxt\u202c\x9b1m\n")
    said = call("show", "evil.txt")
    assert said.out == "all \ufffd[2Jgood\ufffdtxt\ufffd\ufffd1m\n"


def test_privacy_is_read_into_all_four_flags() -> None:
    assert read_privacy("none") == {"face": "no", "minor": "no", "pii": "no", "biometric": "no"}
    assert set(read_privacy("unknown").values()) == {"unknown"}
    assert read_privacy("face, pii") == {"face": "yes", "minor": "no", "pii": "yes", "biometric": "no"}


def test_verify_compares_the_file_with_its_attribution(creator: Path) -> None:
    make()
    path = "out/a.png.attribution.json"
    for file, matched in (("pictures/a.png", "provenance"), ("out/a.png", "published")):
        said = call("verify", path, "--file", file, "--json")
        assert (said.code, said.value["matched"]) == (0, matched)
        assert f"the file is the one meant, by its {matched} hash" in call("verify", path, "--file", file).out
    retagged = Path("retagged.png")
    retagged.write_bytes(with_png_chunks(png(), (b"tEXt", b"Comment\0by another program")))
    assert call("verify", path, "--file", retagged, "--json").value["matched"] == "content"
    assert call("verify", path, "--json").value["matched"] is None
    other = call("verify", path, "--file", "out/b.jpg")
    assert (other.code, other.out) == (1, "")
    assert other.err == "trainmark: --file: the file is not the one the attribution is for [file-mismatch]\n"
    assert call("verify", path, "--file", "none").code == 2


@pytest.mark.parametrize(
    ("file", "option"),
    [
        ("dataset_manifest.json", ("--file", "out/a.png")),
        ("dataset_manifest.json", ("--block-hash", "0x" + 64 * "0")),
        ("a.png.attribution.json", ("--log", "out")),
        ("a.png.attribution.json", ("--files", "out/a.png")),
    ],
)
def test_verify_refuses_what_it_would_not_check(creator: Path, file: str, option: tuple[str, str]) -> None:
    make()
    said = call("verify", f"out/{file}", *option)
    assert (said.code, said.out) == (2, "")
    assert f"{option[0]} says nothing about a file of kind " in said.err
