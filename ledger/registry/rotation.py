"""Which of a registry's log keys, and of its token keys, signs: what the policies in its log say of the keys at hand.

A new key is made beside the old one.  The next start logs a policy that names it; from that leaf on it signs.  So a
rotation that was cut off at any point has either not begun or is finished by the next start.  A key that was replaced
never returns: without the one that replaced it the registry does not run, since a folder of keys that came out of a
backup may hold one that was replaced because it was stolen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ledger.errors import RefusedError
from ledger.keys import Signer, did_decode, did_encode
from ledger.note import parse_vkey
from ledger.statements import PolicyBody


def log_keys(policies: Iterable[PolicyBody]) -> list[bytes]:
    """Returns the public log keys that the policies name, in their order."""
    return [parse_vkey(policy.log_key).public for policy in policies]


def token_keys(policies: Iterable[PolicyBody]) -> list[bytes]:
    """Returns the public token keys that the policies name, in their order."""
    return [did_decode(did) for policy in policies for did in policy.token_keys]


def to_sign(held: Sequence[Signer], named: Sequence[bytes], name: str) -> Signer:
    """Returns the key that is to sign: the newest of `held` that no policy has named yet, else the one `named` last.

    `held` has the oldest first; `name` is what messages call the key.

    Raises:
        RefusedError: ``keys-incomplete``: the one named last is not at hand, and no new one is.
    """
    waiting = waiting_key(held, named)
    if waiting is not None:
        return waiting
    for key in held:
        if key.public == named[-1]:
            return key
    raise _missing(named[-1], name)


def waiting_key(held: Sequence[Signer], named: Sequence[bytes]) -> Signer | None:
    """Returns the newest of `held` that no policy has named yet, if there is one."""
    return next((key for key in reversed(held) if key.public not in named), None)


def checkpoint_signers(held: Sequence[Signer], named: Sequence[bytes]) -> tuple[Signer, ...]:
    """Returns who signs a checkpoint over leaves whose policies `named` these log keys: the last one, and the one that
    it replaced, for verifiers who have not taken the new one yet; each if it is at hand.

    Before the first policy it is the newest of `held`.

    Raises:
        RefusedError: ``keys-incomplete``: neither is.
    """
    if not named:
        return (held[-1],)
    replaced = next((public for public in reversed(named) if public != named[-1]), None)
    signers = tuple(key for public in (named[-1], replaced) for key in held if key.public == public)
    if not signers:
        raise _missing(named[-1], "log")
    return signers


def _missing(public: bytes, name: str) -> RefusedError:
    return RefusedError(
        f"the {name} key is {did_encode(public)} since the log's last policy, and not here; restore it from your "
        f"backup, or make another one (trainmark keys rotate {name})",
        code="keys-incomplete",
        field="keys",
    )
