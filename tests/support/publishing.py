"""Publishing small libraries while something happens to the registry, and remembering what it said."""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger.client import RegistryClient
from ledger.encoding import sha256
from tests.support.library import make_library, signing_key


@dataclass
class History:
    """What a registry said: the leaf of each file it acknowledged, and the checkpoints it gave out."""

    acknowledged: dict[bytes, int] = field(default_factory=dict)
    notes: set[bytes] = field(default_factory=set)

    def publish(self, client: RegistryClient, origin: str, who: str, number: int) -> None:
        """Publishes a library of one file as `who`, whose `client` it is, and remembers what is said."""
        data = b"picture %d of %b" % (number, who.encode())
        library = make_library(signing_key(who), origin, [data], title=f"Library {number}")
        receipt = client.publish(library.manifest, library.terms, library.text)
        self.acknowledged[sha256(data)] = receipt.leaf
        self.notes.update((receipt.checkpoint, client.checkpoint()))


def log_in(client: RegistryClient, who: str) -> str:
    """Lets `who` publish by `client`; returns the log's origin."""
    key = signing_key(who)
    client.authenticate(key, key.did, ("publish",))
    return client.policy().origin
