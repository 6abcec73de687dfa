"""The pages in a real browser, on a real registry: what leaves the browser, what is shown, and to whom it is usable."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from playwright.sync_api import Browser, FileChooser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from ledger.canonical import Object
from ledger.registry.service import Registry
from tests.support.browser import Watched, chromium, launched, watched
from tests.support.library import make_library, signing_key
from tests.support.server import Server, running_server

PATTERN = b"-the-bytes-of-this-picture-"
PICTURE = PATTERN * 999
HOSTILE_TITLE = "<script>window.hit=1</script><img src=x onerror=window.hit=2>"
HOSTILE_PATH = '"><svg onload=window.hit=3> {{7*7}}.png'
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
MAX_PAGE_BYTES = 60_000


@dataclass(frozen=True, slots=True)
class Stage:
    """A registry with libraries in it, by the leaf of each."""

    server: Server
    leaves: dict[str, int]

    def url(self, path: str) -> str:
        return self.server.url + path

    def answer_url(self, data: bytes) -> str:
        return self.url(f"/?digest=sha256:{hashlib.sha256(data).hexdigest()}")

    def license_url(self) -> str:
        record = self.server.registry.catalog.manifest(self.leaves["picture"])
        assert record is not None
        return self.url(f"/l/sha256:{record.license.hex()}")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_server(tmp_path_factory.mktemp("registry")) as server:
        registry = server.registry
        leaves = {
            "picture": publish(registry, "ada", PICTURE),
            "refused": publish(registry, "ben", b"refused", license_preset="no-training"),
            "first": publish(registry, "cleo", b"wanted by two", title="First"),
            "second": publish(registry, "dora", b"wanted by two", title="Second", license_preset="no-training"),
            "third": publish(registry, "ella", b"listed twice", title="Third"),
            "fourth": publish(registry, "fred", b"listed twice", title="Fourth"),
            "hostile": publish(registry, "gus", b"hostile", title=HOSTILE_TITLE, path=HOSTILE_PATH),
            "many": publish(registry, "hal", *(b"%d" % n for n in range(120)), title="Many"),
        }
        listed: Object = {"leaf": leaves["fourth"], "outcome": "listed", "visibility": "public", "evidence": None}
        registry.log.append(registry.sign("review", listed))
        yield Stage(server, leaves)


def publish(registry: Registry, name: str, *files: bytes, **changed: Any) -> int:
    library = make_library(signing_key(name), registry.identity.origin, files, **changed)
    receipt = registry.publish(library.data, library.terms, library.text, signing_key(name).did)
    return receipt.logged.index


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        pytest.fail("no Chromium is installed (Debian: chromium)")
    # A second name for this machine, which is not among those that browsers call secure without https.
    with launched(
        ("--host-resolver-rules=MAP registry.example 127.0.0.1", "--disable-features=HttpsUpgrades")
    ) as found:
        yield found


@pytest.fixture
def watch(browser: Browser) -> Iterator[Watched]:
    """A page in which nothing may go wrong."""
    with watched(browser) as found:
        yield found
        assert found.errors == []


def drop(page: Page, data: bytes, name: str = "picture.png") -> None:
    """Drops a file on the page as a person does."""
    transfer = page.evaluate_handle(
        """([text, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
            return transfer;
        }""",
        [base64.b64encode(data).decode(), name],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


# -- hashing, and what leaves the browser


def test_a_dropped_file_is_answered_and_none_of_its_bytes_leave(stage: Stage, watch: Watched) -> None:
    page = watch.page
    page.goto(stage.url("/"))
    page.wait_for_load_state("networkidle")
    watch.sent.clear()
    drop(page, PICTURE, "my secret name.png")
    expect(page.locator("#verdict")).to_have_text("Under conditions")
    page.wait_for_load_state("networkidle")

    digest = hashlib.sha256(PICTURE).hexdigest()
    asked = [request.url for request in watch.sent if "/static/" not in request.url]
    assert asked == [stage.url(f"/?digest=sha256:{digest}")]
    forms = [PATTERN, base64.b64encode(PATTERN * 3)[4:-4], PATTERN.hex().encode(), b"my secret name"]
    for request in watch.sent:
        assert request.method == "GET"
        assert request.body == b""
        assert request.url.startswith(stage.server.url)
        told = unquote(request.url).encode() + repr(request.headers).encode()
        assert not [form for form in forms if form in told]


def test_the_request_record_would_see_an_upload(stage: Stage, watch: Watched) -> None:
    watch.page.goto(stage.url("/"))
    watch.page.evaluate("(text) => fetch('/healthz?x', {method: 'POST', body: text}).then(() => 0)", PATTERN.decode())
    assert [request.body for request in watch.sent if request.method == "POST"] == [PATTERN]
    watch.errors.clear()  # 405


def test_a_dropped_file_is_named_told_and_kept_in_the_address(stage: Stage, watch: Watched) -> None:
    page = watch.page
    page.goto(stage.url("/"))
    drop(page, PICTURE, "<b>friends</b>.png")
    expect(page.locator("#file-name")).to_have_text("<b>friends</b>.png")
    expect(page.get_by_role("status")).to_have_text("Answer: Under conditions")
    expect(page.locator("#digest")).to_have_value(f"sha256:{hashlib.sha256(PICTURE).hexdigest()}")
    expect(page.locator("#verdict")).to_be_focused()
    expect(page).to_have_title(re.compile("^Under conditions"))
    assert page.url == stage.answer_url(PICTURE)
    drop(page, b"nobody knows this")
    expect(page.locator("#verdict")).to_have_text("Unknown")
    page.go_back()
    expect(page.locator("#verdict")).to_have_text("Under conditions")
    page.go_back()
    expect(page.locator("#verdict")).to_have_count(0)


def test_both_ways_of_hashing_agree_with_hashlib(stage: Stage, watch: Watched) -> None:
    page = watch.page
    page.goto(stage.url("/"))
    sizes = [0, 1, 55, 56, 63, 64, 65, 119, 120, 1_000_000]
    found = page.evaluate(
        """async (sizes) => {
            const { hashBlob } = await import(new URL("sha256.js", document.querySelector("script[src]").src));
            const both = (blob) => Promise.all([hashBlob(blob), hashBlob(blob, { subtle: null })]);
            return Promise.all(sizes.map((n) => both(new Blob([Uint8Array.from({ length: n }, (_, i) => i % 251)]))));
        }""",
        sizes,
    )
    expected = [hashlib.sha256(bytes(i % 251 for i in range(size))).hexdigest() for size in sizes]
    assert found == [[digest, digest] for digest in expected]


def test_pieces_of_any_length_give_the_same_hash(stage: Stage, watch: Watched) -> None:
    page = watch.page
    page.goto(stage.url("/"))
    found = page.evaluate(
        """async () => {
            const { Sha256 } = await import(new URL("sha256.js", document.querySelector("script[src]").src));
            const bytes = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7) % 256);
            const hex = (all) => Array.from(all, (byte) => byte.toString(16).padStart(2, "0")).join("");
            return [1, 3, 63, 64, 65, 130, 4999].map((step) => {
                const hash = new Sha256();
                for (let at = 0; at < bytes.length; at += step) hash.update(bytes.subarray(at, at + step));
                return hex(hash.digest());
            });
        }"""
    )
    assert set(found) == {hashlib.sha256(bytes(i * 7 % 256 for i in range(5000))).hexdigest()}


def test_a_big_file_is_hashed_in_slices(stage: Stage, watch: Watched, tmp_path: Path) -> None:
    path = tmp_path / "big.tif"
    data = hashlib.sha256(b"big").digest() * (33 << 15) + b"end"  # beyond what is read at once
    path.write_bytes(data)
    page = watch.page
    page.goto(stage.url("/"))
    page.set_input_files("#file", path)
    expect(page.locator("#verdict")).to_have_text("Unknown", timeout=60_000)
    expect(page.locator(".verdict .digest")).to_have_text(f"sha256:{hashlib.sha256(data).hexdigest()}")
    expect(page.locator("#progress")).to_be_hidden()


def test_plain_http_elsewhere_hashes_as_well(stage: Stage, browser: Browser) -> None:
    with watched(browser) as watch:
        page = watch.page
        page.goto(stage.url("/").replace("127.0.0.1", "registry.example"))
        assert page.evaluate("[isSecureContext, typeof crypto.subtle]") == [False, "undefined"]
        drop(page, PICTURE)
        expect(page.locator("#verdict")).to_have_text("Under conditions")
        expect(page.locator("[data-copy]").first).to_be_hidden()  # there is no clipboard there
        assert watch.errors == []


def test_a_failing_server_is_said_to_fail(stage: Stage, browser: Browser) -> None:
    with watched(browser) as watch:
        page = watch.page
        page.goto(stage.url("/"))
        page.route("**/?digest=*", lambda route: route.fulfill(status=503, body="<p id=detail>come back later</p>"))
        drop(page, PICTURE)
        expect(page.get_by_role("status")).to_have_text("That did not work: come back later")
        page.unroute("**/?digest=*")
        page.route("**/?digest=*", lambda route: route.abort())
        drop(page, PICTURE)
        expect(page.get_by_role("status")).to_have_text(re.compile("^That did not work: "))
        expect(page.locator("#answer")).to_be_empty()


# -- the answer


@pytest.mark.parametrize(
    ("data", "verdict", "reason"),
    [
        (PICTURE, "Under conditions", "Name the creator with the required attribution text"),
        (b"refused", "No", "No model may be trained on the pictures or adapted with them."),
        (b"nobody knows this", "Unknown", "Unknown is not permission."),
        (b"wanted by two", "Under conditions", "Other people claim this file too"),
        (b"listed twice", "Not settled", "take it as a no"),
    ],
)
def test_the_answer_is_said_in_plain_words(
    stage: Stage, watch: Watched, data: bytes, verdict: str, reason: str
) -> None:
    watch.page.goto(stage.answer_url(data))
    expect(watch.page.get_by_role("heading", level=2).first).to_have_text(verdict)
    expect(watch.page.locator("#answer")).to_contain_text(reason)


def test_an_answer_names_creator_license_state_anchor_and_proof(stage: Stage, watch: Watched) -> None:
    page = watch.page
    registry = stage.server.registry
    leaf = stage.leaves["picture"]
    page.goto(stage.answer_url(PICTURE))
    claim = page.locator(".claim")
    expect(claim).to_contain_text("Ada Lens")
    expect(claim).to_contain_text(signing_key("ada").did)
    expect(claim).to_contain_text("vouches for nothing")
    expect(claim.locator(".tag")).to_have_text("listed")
    claim.get_by_text("Each use in words").click()
    expect(claim.get_by_role("row")).to_have_count(12)
    expect(claim.get_by_role("row", name="train yes You may train a model on the pictures.")).to_be_visible()

    page.wait_for_function("(url) => fetch(url).then((r) => r.text()).then((t) => t.includes('Block'))", arg=page.url)
    page.reload()
    expect(claim).to_contain_text("that shows the order to those who watched it, not the time")

    with page.expect_download() as download:
        claim.get_by_role("link", name="Download the proof").click()
    proof = Path(download.value.path()).read_bytes()
    digest = hashlib.sha256(PICTURE).hexdigest()
    assert proof == httpx.get(stage.url(f"/v1/proofs/sha256:{digest}?leaf={leaf}")).content
    assert download.value.suggested_filename == f"{digest[:16]}.proof.json"
    expect(claim.locator(".command code")).to_have_text(f"trainmark verify {digest[:16]}.proof.json --file FILE")
    expect(claim).to_contain_text(f"trainmark trust add {registry.identity.issuer}")


def test_rival_claims_are_shown_in_their_order(stage: Stage, watch: Watched) -> None:
    page = watch.page
    page.goto(stage.answer_url(b"wanted by two"))
    expect(page.locator(".claim h3")).to_have_text(["1st claim First version 1", "2nd claim Second version 1"])
    expect(page.locator(".claim").first).to_contain_text("The answer above follows this claim.")
    expect(page.locator(".claim .tag")).to_have_text(["listed", "logged, not listed"])
    page.goto(stage.answer_url(b"listed twice"))
    expect(page.locator(".tag.contested")).to_have_count(2)


def test_without_scripts_the_form_gives_the_same_answer(stage: Stage, browser: Browser) -> None:
    with watched(browser, java_script_enabled=False) as watch:
        page = watch.page
        page.goto(stage.url("/"))
        expect(page.locator("#drop")).to_be_hidden()
        page.fill("#digest", f"  {hashlib.sha256(b'refused').hexdigest().upper()} ")
        page.click("text=Look up")
        expect(page.locator("#verdict")).to_have_text("No")
        assert page.url.endswith("#answer")
        assert watch.errors == []


@pytest.mark.parametrize("pasted", ["xyz", "sha256:", "0" * 63, "0" * 65, "sha512:" + "0" * 64, "٣" * 64])
def test_what_is_no_hash_is_refused_beside_the_field(stage: Stage, pasted: str) -> None:
    answer = httpx.get(stage.url("/"), params={"digest": pasted})
    assert answer.status_code == 400
    assert 'id="mistake" role="alert">This is not a SHA-256' in answer.text
    assert 'id="verdict"' not in answer.text


# -- the other pages


def test_a_manifest_is_paged(stage: Stage, watch: Watched) -> None:
    page = watch.page
    page.goto(stage.url(f"/m/{stage.leaves['many']}"))
    seen = page.locator("tbody th").all_inner_texts()
    expect(page.get_by_role("caption")).to_contain_text("1–50 of 120")
    for name in ("51–100", "101–120"):
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_role("caption")).to_contain_text(name)
        seen += page.locator("tbody th").all_inner_texts()
    assert seen == [f"{n:06d}.png" for n in range(120)]
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    page.get_by_role("link", name="Before").click()
    page.get_by_role("link", name="Before").click()
    expect(page.get_by_role("caption")).to_contain_text("1–50 of 120")
    page.get_by_role("link", name="Answer for 000007.png").click()
    expect(page.locator("#verdict")).to_have_text("Under conditions")
    expect(page.locator(".claim")).to_contain_text("the published copy")


def test_a_license_is_shown_in_words_text_and_terms(stage: Stage, watch: Watched) -> None:
    page = watch.page
    page.goto(stage.answer_url(PICTURE))
    page.locator(".claim").get_by_role("link", name="TEST-1").click()
    expect(page).to_have_url(stage.license_url())
    expect(page.locator(".uses tbody tr")).to_have_count(11)
    expect(page.locator("pre").first).to_contain_text("License TEST-1")
    digests = page.locator("dd.digest").all_inner_texts()
    terms = httpx.get(stage.license_url().replace("/l/", "/v1/licenses/")).content
    text = httpx.get(stage.license_url().replace("/l/", "/v1/licenses/") + ".txt").content
    assert digests == [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (terms, text)]


@pytest.mark.parametrize("path", ["/m/999999", "/m/0", "/l/sha256:" + "0" * 64, "/nothing", "/static/x/page.py"])
def test_a_missing_page_is_told_to_people_and_to_programs(stage: Stage, path: str) -> None:
    for_people = httpx.get(stage.url(path), headers={"Accept": "text/html"})
    assert for_people.status_code == 404
    assert for_people.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>Not Found</h1>" in for_people.text
    for_programs = httpx.get(stage.url(path))
    assert for_programs.status_code == 404
    assert for_programs.json()["code"] == "not-found"


def test_a_page_counts_against_the_quota_of_its_address(tmp_path: Path) -> None:
    with running_server(tmp_path, address_per_minute=3) as server:
        answers = [httpx.get(f"{server.url}/", headers={"Accept": "text/html"}) for _ in range(5)]
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    assert answers[4].status_code == 429
    assert int(answers[4].headers["retry-after"]) > 0


# -- hostile words


def test_hostile_names_are_only_shown(stage: Stage, watch: Watched) -> None:
    page = watch.page
    page.goto(stage.url("/"))
    expect(page.get_by_role("link", name=HOSTILE_TITLE)).to_be_visible()
    page.goto(stage.url(f"/m/{stage.leaves['hostile']}"))
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE_TITLE)
    expect(page.locator("tbody th")).to_have_text(HOSTILE_PATH)
    page.goto(stage.url("/"))
    drop(page, b"hostile", HOSTILE_TITLE)
    expect(page.locator(".claim h3")).to_contain_text(HOSTILE_TITLE)
    expect(page.locator(".claim")).to_contain_text(HOSTILE_PATH)
    assert page.evaluate("window.hit") is None
    page.goto(stage.url("/?digest=%22%3E%3Cscript%3Ewindow.hit=4%3C/script%3E"))
    expect(page.locator("#mistake")).to_be_visible()
    assert page.evaluate("window.hit") is None
    watch.errors = [error for error in watch.errors if "400 (Bad Request)" not in error]


def test_a_violation_of_the_policy_would_be_seen(stage: Stage, browser: Browser) -> None:
    with watched(browser) as watch:
        watch.page.goto(stage.url("/"))
        watch.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.hit=1'}))"
        )
        assert watch.page.evaluate("window.hit") is None
        assert "Content Security Policy" in "".join(watch.errors)


# -- usable by everybody


def test_everything_works_with_the_keyboard(stage: Stage, watch: Watched) -> None:
    page = watch.page
    page.goto(stage.url("/"))
    for name in ("Skip to the content", "Trainmark"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name=name, exact=True)).to_be_focused()
        assert outlined(page, "a:focus")
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    assert outlined(page, "#drop")
    choose_by_key(page).set_files({"name": "a.png", "mimeType": "image/png", "buffer": b"refused"})
    expect(page.locator("#verdict")).to_have_text("No")

    page.locator("#file").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#digest")).to_be_focused()
    assert outlined(page, "#digest")
    page.keyboard.type(hashlib.sha256(PICTURE).hexdigest())
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Look up")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_have_text("Under conditions")


def choose_by_key(page: Page) -> FileChooser:
    """Opens the file chooser of the focused field; on a busy machine Chromium swallows a key now and then."""
    for _ in range(4):
        with suppress(PlaywrightTimeoutError):
            with page.expect_file_chooser(timeout=5_000) as chooser:
                page.keyboard.press("Enter")
            return chooser.value
    raise AssertionError("the key opens no file chooser")


def outlined(page: Page, selector: str) -> bool:
    """Returns whether the focus on an element can be seen."""
    style, width = page.evaluate(
        "(s) => { const c = getComputedStyle(document.querySelector(s)); return [c.outlineStyle, c.outlineWidth]; }",
        selector,
    )
    return (style, width) == ("solid", "3px")


def test_the_copy_button_copies_the_command(stage: Stage, browser: Browser) -> None:
    with watched(browser, permissions=["clipboard-read", "clipboard-write"]) as watch:
        page = watch.page
        page.goto(stage.url("/"))
        drop(page, PICTURE)
        page.get_by_role("button", name="Copy the command").click()
        expect(page.get_by_text("Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == f"trainmark verify {hashlib.sha256(PICTURE).hexdigest()[:16]}.proof.json --file FILE"
        assert watch.errors == []


def all_pages(stage: Stage) -> list[str]:
    return [
        stage.url("/"),
        *(stage.answer_url(data) for data in (PICTURE, b"refused", b"unknown", b"listed twice", b"hostile")),
        *(stage.url(f"/m/{stage.leaves[name]}") for name in ("many", "hostile")),
        stage.license_url(),
    ]


CONTRASTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return Array.from(canvas.getImageData(0, 0, 1, 1).data);
    };
    const light = ([r, g, b]) => {
        const part = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const color = rgb(getComputedStyle(e).backgroundColor);
            if (color[3] === 255) return color;
        }
        return [255, 255, 255];
    };
    const found = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
        const element = node.parentElement;
        if (!node.data.trim() || !element.checkVisibility()) continue;
        const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.data.trim().slice(0, 40)]);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(stage: Stage, browser: Browser, scheme: str) -> None:
    with watched(browser, color_scheme=scheme) as watch:
        for url in all_pages(stage):
            watch.page.goto(url)
            watch.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            contrasts = watch.page.evaluate(CONTRASTS)
            assert len(contrasts) > 15
            assert [(ratio, text) for ratio, text in contrasts if ratio < 4.5] == []
            dark = watch.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 23, 20)"
            assert dark == (scheme == "dark")
        assert watch.errors == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(stage: Stage, browser: Browser, width: int) -> None:
    with watched(browser, **{**(PHONE if width < 500 else {}), "viewport": {"width": width, "height": 844}}) as watch:
        for url in all_pages(stage):
            watch.page.goto(url)
            watch.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            assert watch.page.evaluate("document.documentElement.scrollWidth") <= width, url
        assert watch.errors == []


def test_every_page_has_one_heading_a_language_and_labeled_fields(stage: Stage, watch: Watched) -> None:
    for url in all_pages(stage):
        watch.page.goto(url)
        assert watch.page.evaluate("[document.documentElement.lang, document.querySelectorAll('h1').length]") == [
            "en",
            1,
        ]
        unlabeled = "[...document.querySelectorAll('input')].filter((input) => !input.labels.length).length"
        assert watch.page.evaluate(unlabeled) == 0
        duplicates = """() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
            return ids.filter((id, i) => ids.indexOf(id) !== i); }"""
        assert watch.page.evaluate(duplicates) == []


def test_nothing_moves_for_who_wants_no_motion(stage: Stage, browser: Browser) -> None:
    with watched(browser, reduced_motion="reduce") as watch:
        watch.page.goto(stage.answer_url(PICTURE))
        moving = """[...document.querySelectorAll('*')].filter((e) => { const c = getComputedStyle(e);
            return parseFloat(c.transitionDuration) || parseFloat(c.animationDuration) || c.scrollBehavior !== 'auto';
            }).length"""
        assert watch.page.evaluate(moving) == 0


def test_pages_are_small_and_need_nothing_from_elsewhere(stage: Stage, browser: Browser) -> None:
    for url in all_pages(stage):
        with watched(browser) as watch:
            watch.page.goto(url)
            watch.page.wait_for_load_state("networkidle")
            assert all(request.url.startswith(stage.server.url) for request in watch.sent)
            assert sum(len(httpx.get(request.url).content) for request in watch.sent) < MAX_PAGE_BYTES


def test_static_files_are_kept_and_pages_asked_for_again(stage: Stage) -> None:
    home = httpx.get(stage.url("/"))
    assert home.headers["cache-control"] == "no-cache"
    [style] = re.findall(r'href="(/static/[^"]+\.css)"', home.text)
    kept = httpx.get(stage.url(style))
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    other = httpx.get(stage.url(re.sub("/static/[0-9a-f]+/", "/static/0/", style)))
    assert other.content == kept.content
    assert other.headers["cache-control"] == "no-cache"
    for answer in (home, kept):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
