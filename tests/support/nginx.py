"""An nginx of the tests' own: in a temporary folder, on a port of 127.0.0.1, ended by its id; it runs the server block
that it is given, and writes nowhere else."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.process import wait_for

MISSING = "nginx is not installed, and the tests need it: apt-get install --no-install-recommends nginx-light"
_MAIN = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/server.conf;
}}
"""


def program() -> str:
    """Returns the path of nginx; Debian keeps it out of the PATH of who is not root."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        raise RuntimeError(MISSING)
    return found


@contextlib.contextmanager
def nginx(folder: Path, server: str, port: int) -> Iterator[None]:
    """Serves the server block `server`, which listens on `port`, until the block ends; `folder` is nginx's own."""
    (folder / "server.conf").write_text(server)
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
    output = folder / "output"
    with output.open("wb") as written:
        process = subprocess.Popen(
            [program(), "-c", str(folder / "nginx.conf"), "-e", "stderr"],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    try:
        wait_for(process, port, output)
        yield
    finally:
        process.terminate()
        process.wait(30)
