"""A real browser for tests of the pages: Chromium as the system has it, without network of its own.

``launched()`` gives a browser; ``watched`` gives one of its pages that writes down every request and everything that
goes wrong in it (console errors, which include violations of the content security policy, and uncaught exceptions).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@dataclass(slots=True)
class Sent:
    """One request as it left the browser."""

    method: str
    url: str
    body: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Watched:
    """A page with all it sent and all that went wrong in it."""

    page: Page
    sent: list[Sent] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def chromium() -> str | None:
    """Returns where Chromium is, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def launched(extra: Sequence[str] = ()) -> Iterator[Browser]:
    """Starts the browser and ends it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS, *extra])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched(browser: Browser, **context: Any) -> Iterator[Watched]:
    """Opens a page in a context of its own; `context` are Playwright's options, like `color_scheme`."""
    own = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    try:
        found = Watched(own.new_page())

        def note_request(request: Request) -> None:
            found.sent.append(Sent(request.method, request.url, request.post_data_buffer or b"", request.headers))

        def note_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                found.errors.append(f"{message.type}: {message.text}")

        own.on("request", note_request)  # of the context: those of workers are there as well
        found.page.on("console", note_console)
        found.page.on("pageerror", lambda error: found.errors.append(f"uncaught: {error}"))
        yield found
    finally:
        own.close()
