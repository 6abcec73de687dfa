"""License terms (docs/format.md, section 3): what may be done, read the same way by machines and people.

``license_digest`` is the SHA-256 of the canonical terms.  The text people read ends with the SHA-256 of the terms with
``text_digest`` null, and ``text_digest`` is over that text: bound both ways, without a cycle.  Each of the eleven
uses is ``yes``, ``no`` or ``ask``; only ``yes`` is permission.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ledger import text
from ledger.canonical import (
    Json,
    Object,
    as_bool,
    as_choice,
    as_constant,
    as_int,
    as_list,
    as_object,
    as_text,
    canonical,
    parse,
)
from ledger.encoding import digest_decode, digest_encode, sha256
from ledger.errors import MalformedError, VerificationError, shown

MAX_TERMS_BYTES: Final = 64 * 1024
MAX_LICENSE_TEXT_BYTES: Final = 256 * 1024
MAX_TIERS: Final = 64

USES: Final = (
    "search",
    "mine",
    "evaluate",
    "infer",
    "train",
    "train-generative",
    "finetune",
    "deploy",
    "share-model",
    "sell-outputs",
    "share-data",
)
"""The uses in the order of their numbers n; a row's code is the sum of code << 2n."""

ANSWERS: Final = ("no", "yes", "ask")
"""The answers in the order of their codes 0, 1, 2."""

AUDIENCES: Final = ("any", "non-commercial", "research")
PAYMENT_MODELS: Final = ("free", "per-sample", "dataset", "subscription", "per-use")
CADENCES: Final = ("once", "monthly", "quarterly", "yearly")

_KEYS = (
    "type",
    "v",
    "license_id",
    "license_url",
    "text_digest",
    "uses",
    "audience",
    "attribution_required",
    "exclusive_months",
    "exclusive_after",
    "term_months",
    "territory",
    "revocation",
    "payment",
    "audit_per_year",
    "require",
)
_PAYMENT_KEYS = ("model", "currency", "tiers", "share_bp", "cadence", "minimum", "termination", "escrow")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?")
_TIER = text.Form(re.compile(r"[a-z0-9-]+"), "small letters, digits and -")
_DIGEST_LINE = re.compile(r"(?:.*\n)?(sha256:[0-9a-f]{64})\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Payment:
    """What is owed: `tiers` maps a price tier to a decimal, `share_bp` is a share of model revenue in basis points."""

    model: str
    currency: str
    tiers: Mapping[str, str]
    share_bp: int
    cadence: str
    minimum: str
    termination: str
    escrow: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """Parsed terms; `data` are the canonical bytes, of which `digest` is the SHA-256."""

    license_id: str
    license_url: str
    text_digest: bytes | None
    uses: Mapping[str, str]
    audience: str
    attribution_required: bool
    exclusive_months: int
    exclusive_after: str
    term_months: int
    territory: tuple[str, ...]
    notice_days: int
    trained_models: str
    payment: Payment
    audit_per_year: int
    require: tuple[str, ...]
    data: bytes

    @property
    def digest(self) -> bytes:
        """The ``license_digest`` by which headers and tokens name these terms."""
        return sha256(self.data)

    @property
    def uses_code(self) -> int:
        """The uses as one number, two bits each."""
        return sum(ANSWERS.index(self.uses[use]) << 2 * n for n, use in enumerate(USES))


def check_license_id(value: str, field: str) -> str:
    """Returns a license id like ``CREATOR-TRAIN-2026-v1``."""
    return text.identifier(value, field, text.NAME, 128)


def check_price_tier(value: str, field: str) -> str:
    """Returns the name of a price tier."""
    return text.identifier(value, field, _TIER, 32)


def parse_terms(data: bytes, field: str = "terms") -> Terms:
    """Reads the canonical bytes of ``*.license.json``."""
    return read_terms(parse(data, field, MAX_TERMS_BYTES), field)


def read_terms(value: Json, field: str = "terms") -> Terms:
    """Reads terms that stand inside a parsed document."""
    o = as_object(value, field, _KEYS)
    as_constant(o["type"], f"{field}.type", "license")
    as_constant(o["v"], f"{field}.v", 1)
    uses = as_object(o["uses"], f"{field}.uses", USES)
    revocation = as_object(o["revocation"], f"{field}.revocation", ("notice_days", "trained_models"))
    digest = o["text_digest"]
    return Terms(
        license_id=check_license_id(as_text(o["license_id"], f"{field}.license_id"), f"{field}.license_id"),
        license_url=text.url(as_text(o["license_url"], f"{field}.license_url"), f"{field}.license_url"),
        text_digest=None if digest is None else digest_decode(digest, f"{field}.text_digest"),
        uses={use: as_choice(uses[use], f"{field}.uses.{use}", ANSWERS) for use in USES},
        audience=as_choice(o["audience"], f"{field}.audience", AUDIENCES),
        attribution_required=as_bool(o["attribution_required"], f"{field}.attribution_required"),
        exclusive_months=as_int(o["exclusive_months"], f"{field}.exclusive_months", 0, 1200),
        exclusive_after=as_choice(o["exclusive_after"], f"{field}.exclusive_after", ("non-exclusive", "delist")),
        term_months=as_int(o["term_months"], f"{field}.term_months", 0, 1200),
        territory=_territory(o["territory"], f"{field}.territory"),
        notice_days=as_int(revocation["notice_days"], f"{field}.revocation.notice_days", 0, 3650),
        trained_models=as_choice(
            revocation["trained_models"], f"{field}.revocation.trained_models", ("keep", "retire")
        ),
        payment=_payment(o["payment"], f"{field}.payment"),
        audit_per_year=as_int(o["audit_per_year"], f"{field}.audit_per_year", 0, 52),
        require=_sorted_choices(o["require"], f"{field}.require", ("manifest", "token")),
        data=canonical(o),
    )


def _sorted_choices(value: Json, field: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(as_choice(item, field, choices) for item in as_list(value, field, len(choices)))
    if list(found) != sorted(set(found)):
        raise MalformedError("names must be sorted and distinct", field=field)
    return found


def _territory(value: Json, field: str) -> tuple[str, ...]:
    codes = tuple(as_text(item, field) for item in as_list(value, field, 300, 1))
    if codes == ("world",):
        return codes
    if any(not re.fullmatch(r"[A-Z]{2}", code) for code in codes) or list(codes) != sorted(set(codes)):
        raise MalformedError('expected ["world"] or sorted two-letter country codes (ISO 3166)', field=field)
    return codes


def _decimal(value: Json, field: str) -> str:
    found = as_text(value, field)
    if not _DECIMAL.fullmatch(found):
        raise MalformedError(f"expected a decimal like 12.50, found {shown(found)}", field=field)
    return found


def _payment(value: Json, field: str) -> Payment:
    o = as_object(value, field, _PAYMENT_KEYS)
    tiers = o["tiers"]
    if not isinstance(tiers, dict) or len(tiers) > MAX_TIERS:
        raise MalformedError(f"expected an object of at most {MAX_TIERS} tiers", field=f"{field}.tiers")
    currency = as_text(o["currency"], f"{field}.currency")
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise MalformedError(
            f"expected a currency like EUR (ISO 4217), found {shown(currency)}", field=f"{field}.currency"
        )
    return Payment(
        model=as_choice(o["model"], f"{field}.model", PAYMENT_MODELS),
        currency=currency,
        tiers={check_price_tier(k, f"{field}.tiers"): _decimal(v, f"{field}.tiers.{k}") for k, v in tiers.items()},
        share_bp=as_int(o["share_bp"], f"{field}.share_bp", 0, 10_000),
        cadence=as_choice(o["cadence"], f"{field}.cadence", CADENCES),
        minimum=_decimal(o["minimum"], f"{field}.minimum"),
        termination=_decimal(o["termination"], f"{field}.termination"),
        escrow=as_bool(o["escrow"], f"{field}.escrow"),
    )


def untexted_digest(terms: Terms) -> bytes:
    """Returns the SHA-256 of the terms with ``text_digest`` null: what the text's last line holds."""
    return sha256(canonical({**_value(terms), "text_digest": None}))


def _value(terms: Terms) -> Object:
    value = parse(terms.data, "terms", MAX_TERMS_BYTES)
    assert isinstance(value, dict)
    return value


def verify_text(terms: Terms, data: bytes) -> str:
    """Returns the license text if it and the terms name each other.

    Raises:
        MalformedError: not UTF-8, too long, or without the digest as its last line.
        VerificationError: ``terms-digest``: another text, or a text of other terms.
    """
    if len(data) > MAX_LICENSE_TEXT_BYTES:
        raise MalformedError(f"at most {MAX_LICENSE_TEXT_BYTES} bytes are allowed, found {len(data)}", field="text")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise MalformedError("not UTF-8", field="text") from e
    last = _DIGEST_LINE.fullmatch(content)
    if not last:
        raise MalformedError("the text must end with a line sha256:<digest of the terms>", field="text")
    if digest_decode(last[1], "text") != untexted_digest(terms):
        raise VerificationError("the text belongs to other terms", code="terms-digest", field="text")
    if terms.text_digest != sha256(data):
        raise VerificationError("the terms belong to another text", code="terms-digest", field="terms.text_digest")
    return content


def bind_text(fields: Object, prose: str) -> tuple[Terms, bytes]:
    """Binds terms (all fields but ``text_digest``) and the prose people read; returns both."""
    open_terms = read_terms({**fields, "text_digest": None})
    data = f"{prose.rstrip()}\n\n{digest_encode(sha256(open_terms.data))}\n".encode()
    terms = read_terms({**fields, "text_digest": digest_encode(sha256(data))})
    verify_text(terms, data)
    return terms, data
