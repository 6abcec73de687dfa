"""What parties say in the log by statements alone: who may say what, and what the moment does not allow.

Many statements are logged together: each is checked as if it came by itself, all that may be logged wait for the log
at once, and each is answered with its place or with why it has none.  One that is not logged stops none of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from ledger.encoding import time_encode
from ledger.errors import RefusedError, TrainmarkError
from ledger.manifests import Entry
from ledger.ports import Catalog, Clock
from ledger.registry.claims import is_erased
from ledger.registry.listing import decide
from ledger.registry.log import Answer, Log
from ledger.registry.turns import Turns
from ledger.statements import (
    DisputeBody,
    IdentityBody,
    KeyAddBody,
    KeyRevokeBody,
    ManifestBody,
    RecordBody,
    ReviewBody,
    Statement,
    TrainingBody,
    WithdrawBody,
    parse_statement,
    verify_statement,
)
from ledger.terms import Terms

CREATORS_SAY: Final = (KeyAddBody, KeyRevokeBody, ManifestBody, WithdrawBody, DisputeBody, TrainingBody, RecordBody)
REGISTRY_SAYS: Final = (KeyAddBody, KeyRevokeBody, ReviewBody, DisputeBody, IdentityBody, RecordBody)
"""What may be said over HTTP.  A policy is logged at a start alone: whoever stole a statement key names no log key."""
DAY: Final = 86_400
MAX_KEYS: Final = 64
MAX_RECOVERED_KEYS: Final = 128


class Speaking:
    """The statements of the parties of one registry, which is `registry` itself; safe to use from several threads."""

    def __init__(
        self,
        registry: str,
        log: Log,
        catalog: Catalog,
        turns: Turns,
        clock: Clock,
        terms_of: Callable[[bytes], Terms],
        entries_of: Callable[[int], list[Entry]],
        erase: Callable[[int], None],
    ) -> None:
        self._registry = registry
        self._log = log
        self._catalog = catalog
        self._turns = turns
        self._clock = clock
        self._terms_of = terms_of
        self._entries_of = entries_of
        self._erase = erase

    def say(self, statements: Sequence[bytes], subject: str) -> list[Answer]:
        """Logs what of `statements` (canonical bytes each) `subject` may say now, in their order; answers each."""
        answers: dict[int, Answer] = {}
        allowed: dict[int, Statement] = {}
        for number, data in enumerate(statements):
            try:
                allowed[number] = self._read(data, subject)
            except TrainmarkError as e:
                answers[number] = e
        for run in _runs(allowed):
            with self._turn_of(run.values()):
                answers |= self._log_now(run)
        return [answers[number] for number in range(len(statements))]

    def _read(self, data: bytes, subject: str) -> Statement:
        statement = verify_statement(parse_statement(data))
        allowed = REGISTRY_SAYS if subject == self._registry else CREATORS_SAY
        if statement.by != subject or not isinstance(statement.body, allowed):
            raise RefusedError(f"{subject} may not make this statement", code="forbidden", field="statement")
        return statement

    def _turn_of(self, statements: Collection[Statement]) -> AbstractContextManager[None]:
        """Whose turns statements need: what the registry says of a manifest is its creator's, an erasure may concern
        what others share, and all else is the speaker's: nobody takes a turn of somebody else."""
        if any(_is_erasure(statement) for statement in statements):
            return self._turns.of_all()
        parties = set()
        with self._log.fold_lock:
            manifests = self._log.fold.manifests
            for statement in statements:
                body, party = statement.body, statement.by
                if party == self._registry and isinstance(body, ReviewBody | DisputeBody) and body.leaf in manifests:
                    party = manifests[body.leaf].by
                parties.add(party)
        return self._turns.of(*parties)

    def _log_now(self, run: Mapping[int, Statement]) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        allowed: dict[int, Statement] = {}
        for number, statement in run.items():
            refusal = self._why_not_now(statement)
            if refusal is None:
                allowed[number] = statement
            else:
                answers[number] = refusal
        try:
            places = self._log.submit(list(allowed.values()))
        except TrainmarkError as e:
            return answers | dict.fromkeys(allowed, e)
        answers |= zip(allowed, places, strict=True)
        for number, statement in allowed.items():
            if _is_erasure(statement) and not isinstance(answers[number], TrainmarkError):
                assert isinstance(statement.body, ReviewBody)
                self._erase(statement.body.leaf)
        return answers

    def _why_not_now(self, statement: Statement) -> TrainmarkError | None:
        """Returns why a statement may not be logged now, or None; what is said already may always be said again."""
        try:
            self._check_now(statement)
        except RefusedError as e:
            try:
                return None if self._is_said(statement) else e
            except TrainmarkError as trouble:
                return trouble
        except TrainmarkError as e:
            return e
        return None

    def _is_said(self, statement: Statement) -> bool:
        """Whether a statement is in the log and holds: saying it again is no new one, whatever the time is now."""
        with self._log.fold_lock:
            return self._log.place_of(statement) is not None and not self._log.fold.is_overtaken(statement)

    def _check_now(self, statement: Statement) -> None:
        """Refuses what the state of this moment does not allow, beyond what would be void in any log."""
        match statement.body:
            case WithdrawBody() as body:
                self._check_notice(body)
            case KeyAddBody():
                self._check_keys(statement)
            case ReviewBody() as body if body.outcome != "erased":
                self._check_not_erased(body.leaf)
                if body.outcome == "listed":
                    self._check_listing(body.leaf)
            case _:
                pass

    def _check_notice(self, body: WithdrawBody) -> None:
        record = self._catalog.manifest(body.leaf)
        if record is None:
            return
        earliest = self._clock() + self._terms_of(record.license).notice_days * DAY
        if body.effective_at < earliest:
            raise RefusedError(
                f"the license's notice runs until {time_encode(earliest)}", code="notice", field="effective_at"
            )

    def _check_keys(self, statement: Statement) -> None:
        """Bounds a party's keys, revoked ones included: whoever verifies a statement reads where its keys come from."""
        with self._log.fold_lock:
            keys = self._log.fold.keys.get(statement.by, {})
        signer = keys.get(statement.key)
        most = MAX_RECOVERED_KEYS if signer is not None and signer.recovery else MAX_KEYS
        if len(keys) >= most:
            raise RefusedError(
                f"{statement.by} has had {len(keys)} keys; a recovery key may add up to {MAX_RECOVERED_KEYS}, "
                f"any other up to {MAX_KEYS}",
                code="too-many-keys",
                field="statement.key",
            )

    def _check_not_erased(self, leaf: int) -> None:
        with self._log.fold_lock:
            manifest = self._log.fold.manifests.get(leaf)
        if manifest is not None and is_erased(manifest):
            raise RefusedError(f"leaf {leaf} was erased: nothing is said of it any more", code="erased", field="leaf")

    def _check_listing(self, leaf: int) -> None:
        """A person decides what waits; what a rule rejects, or nobody can look at, nobody lists."""
        with self._log.fold_lock:
            if leaf not in self._log.fold.manifests:
                return  # void in any log
        if self._catalog.manifest(leaf) is None:
            raise RefusedError(
                f"the registry has no payload of leaf {leaf} that could be listed", code="not-listable", field="leaf"
            )
        decision = decide(self._entries_of(leaf), [])
        if decision.outcome == "reject":
            raise RefusedError(
                f"leaf {leaf} is rejected by rule: {decision.reasons[0]}", code="not-listable", field="leaf"
            )


def _runs(statements: Mapping[int, Statement]) -> Iterator[dict[int, Statement]]:
    """Yields what may be logged together, in order.  Before a new key is checked its party's earlier ones are logged,
    for they are counted; an erasure needs the turn of all, and nothing else waits in it."""
    run: dict[int, Statement] = {}
    for number, statement in statements.items():
        if isinstance(statement.body, KeyAddBody) or _is_erasure(statement):
            if run:
                yield run
            yield {number: statement}
            run = {}
        else:
            run[number] = statement
    if run:
        yield run


def _is_erasure(statement: Statement) -> bool:
    return isinstance(statement.body, ReviewBody) and statement.body.outcome == "erased"
