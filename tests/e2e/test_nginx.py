"""nginx with the server block of the guide, to the letter: it serves the log with the application off, and on."""

from __future__ import annotations

import socket
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api.routes.publishing import ENVELOPE_BYTES
from ledger.audit.answers import NEVER
from ledger.client import RegistryClient
from ledger.manifests import MAX_MANIFEST_BYTES
from ledger.trust import Trust, format_trust
from tests.e2e import test_api_story as story
from tests.support import ROOT
from tests.support.library import make_library, signing_key
from tests.support.nginx import nginx
from tests.support.process import Said, call, free_port
from tests.support.server import running_server

IMMUTABLE = ("application/octet-stream", "public, max-age=31536000, immutable")


def server_block(port: int, application: int, data: Path) -> str:
    """Returns the guide's server block for one machine: without a certificate, each change made once."""
    text = (ROOT / "docs/examples/nginx.conf").read_text()
    for old, new in (
        ("    listen 443 ssl;\n", f"    listen 127.0.0.1:{port};\n"),
        ("    ssl_certificate /etc/ssl/registry.example.pem;\n", ""),
        ("    ssl_certificate_key /etc/ssl/registry.example.key;\n", ""),
        ("root /srv/registry/log;", f"root {data}/log;"),
        ("proxy_pass http://127.0.0.1:8787;", f"proxy_pass http://127.0.0.1:{application};"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@dataclass(frozen=True, slots=True)
class Site:
    """A registry's data folder, where nginx serves it, where the application listens when it is on, and its trust."""

    data: Path
    url: str
    application: int
    trust: Trust
    leaves: int

    def audit(self, folder: Path, *options: str) -> Said:
        """Audits the log as nginx serves it, from the start."""
        trust_file = folder / "trust.json"
        trust_file.write_bytes(format_trust(self.trust))
        return call("log", "audit", self.url, "--state", folder / "audit", "--trust", trust_file, "--json", *options)

    def get(self, path: str, accepted: str = "identity") -> httpx.Response:
        return httpx.get(self.url + path, headers={"Accept-Encoding": accepted})


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """nginx before a registry with one manifest, whose application is off."""
    # Not below pytest's own folder: started by root, nginx reads as another user.
    with tempfile.TemporaryDirectory(prefix="trainmark-nginx-", dir="/tmp") as name:
        top, application, port = Path(name), free_port(), free_port()
        top.chmod(0o755)
        data, own = top / "registry", top / "nginx"
        own.mkdir()
        ada = signing_key("nginx ada")
        with running_server(data, port=application) as server, story.client_of(server, ada) as client:
            policy = client.policy()
            library = make_library(ada, policy.origin, [b"nginx %d" % n for n in range(3)])
            client.publish(library.manifest, library.terms, library.text)
            story.anchored(client, library.digest())
            leaves = client.policy().size
        data.chmod(stat.S_IMODE(data.stat().st_mode) | stat.S_IXOTH)
        with nginx(own, server_block(port, application, data), port):
            yield Site(data, f"http://127.0.0.1:{port}", application, story.trust_of(policy), leaves)


def test_the_log_is_audited_with_the_application_off(site: Site, tmp_path: Path) -> None:
    assert site.get("/v1/policy").status_code == 502
    said = site.audit(tmp_path, "--tiles-only")
    assert said.code == 0, said.out + said.err
    assert said.value["size"] == site.leaves


def test_the_log_is_served_with_its_headers(site: Site) -> None:
    bundle, hashes = f"/tile/entries/000.p/{site.leaves}", f"/tile/0/000.p/{site.leaves}"
    for path, kept in (
        (bundle, IMMUTABLE),
        (hashes, IMMUTABLE),
        ("/checkpoint", ("text/plain; charset=utf-8", "no-cache")),
    ):
        answer = site.get(path)
        assert (answer.status_code, answer.content) == (200, (site.data / "log" / path[1:]).read_bytes())
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == kept
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "content-encoding" not in answer.headers
    assert (site.get(bundle, "gzip").headers["content-encoding"], site.get(bundle, "gzip").content) == (
        "gzip",
        site.get(bundle).content,
    )
    assert site.get(bundle).headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in site.get(hashes, "gzip").headers
    assert site.get("/readyz").status_code == 404


@pytest.mark.parametrize(
    "path", ["/tile/0/999", "/tile/entries/999", "/tile/0/", "/tile/0", "/tile/", "/tile/entries/"]
)
def test_what_is_not_there(site: Site, path: str) -> None:
    answer = site.get(path)
    assert (answer.status_code, "cache-control" in answer.headers) == (404, False)


@pytest.mark.parametrize(
    "path",
    [
        "/.tmp/x",
        "/log.vkey",
        "/../log.vkey",
        "/tile/../../log.vkey",
        "/tile/%2e%2e/%2e%2e/keys/log.pem",
        "/tile/",
        "/log",
    ],
)
def test_nothing_but_the_log_is_served(site: Site, path: str) -> None:
    (site.data / "log" / ".tmp").mkdir(exist_ok=True)
    (site.data / "log" / ".tmp" / "x").write_bytes(b"half a tile")
    assert site.get(path).status_code in (400, 404, 502)


def test_what_lies_beside_the_log_is_for_its_owner_only(site: Site) -> None:
    public = [path.name for path in site.data.iterdir() if path.stat().st_mode & stat.S_IRWXO]
    assert {name for name in public if not name.startswith("chain.db")} == {"log", "log.vkey"}


@pytest.mark.parametrize(("more", "status"), [(0, 502), (1 << 20, 413)])
def test_as_much_gets_through_as_the_application_takes(site: Site, more: int, status: int) -> None:
    size = MAX_MANIFEST_BYTES + ENVELOPE_BYTES + more
    with socket.create_connection(("127.0.0.1", httpx.URL(site.url).port or 0), timeout=10) as connection:
        connection.sendall(f"POST /v1/manifests HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
        assert connection.recv(64).startswith(f"HTTP/1.1 {status} ".encode())


def test_all_else_comes_from_the_application(site: Site, tmp_path: Path) -> None:
    with running_server(site.data, port=site.application), RegistryClient(site.url) as client:
        assert client.policy().size >= site.leaves
        said = site.audit(tmp_path)
        assert (said.code, said.value["differences"]) == (0, []), said.out + said.err
        assert [line for line in said.value["not_checked"] if "API" in line] == [NEVER]
