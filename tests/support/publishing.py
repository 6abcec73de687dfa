"""Publishing small libraries while something happens to the registry, and remembering what it said."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field

from ledger.client import RegistryClient
from ledger.encoding import sha256
from ledger.errors import TrainmarkError
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


def _no_wait(_: float) -> None:
    """A registry that has stopped comes back no sooner for being waited for."""


class Publisher(threading.Thread):
    """Publishes one small library after the other until the server is gone; remembers what was acknowledged."""

    def __init__(self, url: str, round_: int) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.who = f"creator {round_}"
        self.history = History()
        self.first = threading.Event()
        self.ended_by: TrainmarkError | None = None

    def run(self) -> None:
        with RegistryClient(self.url, sleep=_no_wait) as client:
            try:
                origin = log_in(client, self.who)
                for number in itertools.count():
                    self.history.publish(client, origin, self.who, number)
                    self.first.set()
            except TrainmarkError as e:
                self.ended_by = e
