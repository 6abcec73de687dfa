"""One IPFS node, over its RPC API, by ``ipfshttpclient``: bytes are added and pinned, read by CID, and unpinned.

The node is not trusted with what a CID stands for: it is computed here (:mod:`ledger.cid`), every parameter of the
import is sent, and what the node makes of it, or gives back, is compared.  The client is unmaintained and refuses newer
nodes when it is told to look at their version, so it is not told; nor are calls used that newer nodes no longer have.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Its connections pass a parameter of urllib3 1.
warnings.filterwarnings("ignore", "The 'strict' parameter is no longer needed", FutureWarning)

import ipfshttpclient  # noqa: E402
from ipfshttpclient.exceptions import AddressError, Error, ErrorResponse  # noqa: E402

from ledger.cid import CHUNK_BYTES, MAX_BYTES, cid_decode, cid_encode, cid_of  # noqa: E402
from ledger.errors import BackendError, MalformedError  # noqa: E402

SECONDS: Final = 30.0
READ_SECONDS: Final = 5.0
"""A node looks for what it does not have for as long as it is let."""


class IpfsNode:
    """``PinningNode`` at the address of a node's RPC API, like ``/ip4/127.0.0.1/tcp/5001``; connects to nothing yet."""

    def __init__(self, address: str, field: str = "ipfs") -> None:
        """Raises MalformedError if it is no such address; `field` names the setting."""
        try:
            self._client = ipfshttpclient.Client(address, timeout=SECONDS, session=True)
        except (AddressError, ValueError) as e:
            raise MalformedError("expected an address like /ip4/127.0.0.1/tcp/5001", field=field) from e

    def put(self, data: bytes) -> None:
        cid = cid_of(data)
        with _errors():
            answer = self._client.add(
                io.BytesIO(data),
                pin=True,
                cid_version=1,
                raw_leaves=True,
                chunker=f"size-{CHUNK_BYTES}",
                opts={"hash": "sha2-256", "inline": False, "max-file-links": 1024},
            )
            if cid_decode(answer["Hash"], "Hash") != cid:
                raise BackendError(f"the node has another CID for {cid_encode(cid)}", code="corrupt", field="ipfs")

    def get(self, cid: bytes) -> bytes:
        with _errors():
            data: bytes = self._client.cat(cid_encode(cid), length=MAX_BYTES + 1, timeout=READ_SECONDS)
        if len(data) > MAX_BYTES or cid_of(data) != cid:
            raise BackendError(f"the node gives other bytes for {cid_encode(cid)}", code="corrupt", field="ipfs")
        return data

    def remove(self, cid: bytes) -> None:
        with _errors():
            try:
                self._client.pin.rm(cid_encode(cid))
            except ErrorResponse as e:
                if "not pinned" not in str(e):
                    raise

    def close(self) -> None:
        self._client.close()


@contextmanager
def _errors() -> Iterator[None]:
    """Turns the client's errors into BackendError: ``backend`` where the node says no, else ``unavailable``."""
    try:
        yield
    except ErrorResponse as e:
        raise BackendError("the node says no, see its own log", code="backend", field="ipfs") from e
    except (Error, MalformedError, KeyError, TypeError) as e:
        raise BackendError(
            f"the node does not answer as it should ({type(e).__name__})", code="unavailable", field="ipfs"
        ) from e
