"""An S3 service of the tests' own: moto's server, a process on a free port of 127.0.0.1, ended by its id.

It holds what it is given in memory.  As with the real one, strangers read nothing of a bucket that no policy opens.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from tests.support.process import free_port, wait_for

_PROGRAM = "import sys; from moto.server import main; main(sys.argv[1:])"
_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}


class ObjectStore:
    """A running service at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._names = itertools.count()

    @property
    def environment(self) -> Mapping[str, str]:
        """What tells a program where it is, and who asks."""
        return {**_KEYS, "AWS_ENDPOINT_URL": self.url, "AWS_ALLOW_HTTP": "true"}

    def new_bucket(self, readable: str | None = None) -> str:
        """Makes an empty bucket, of which anybody may read what lies below the prefix `readable`; returns its name."""
        name = f"bucket-{next(self._names)}"
        httpx.put(f"{self.url}/{name}").raise_for_status()
        if readable is not None:
            resource = f"arn:aws:s3:::{name}/{readable}/*"
            statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": resource}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            httpx.put(f"{self.url}/{name}?policy", content=policy).raise_for_status()
        return name

    @contextlib.contextmanager
    def forbidding(self) -> Iterator[None]:
        """Until the block ends the service asks who is there, and knows nobody."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"0").raise_for_status()
        try:
            yield
        finally:
            httpx.post(f"{self.url}/moto-api/reset-auth", content=b"inf").raise_for_status()


@contextlib.contextmanager
def object_store(output: Path, env: Mapping[str, str] | None = None) -> Iterator[ObjectStore]:
    """Serves until the block ends; what the process writes goes to `output`."""
    port = free_port()
    command = [sys.executable, "-c", _PROGRAM, "-H", "127.0.0.1", "-p", str(port)]
    with output.open("wb") as written:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=written, stderr=written, env=env)
    try:
        wait_for(process, port, output)
        yield ObjectStore(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(30)
