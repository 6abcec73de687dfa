"""License presets, and the one place for the words in which terms are told to people (docs/format.md, section 3).

:func:`explain` turns terms into lines of (label, answer, sentence): the first answers *may I train on it*, then there
is one for each of the eleven uses and for each other field.  :func:`prose` is the license text, made of the same lines;
``ledger.terms.bind_text`` ends it with the digest of the terms.  Pages and the command line show these lines and have
no words of their own.  The words are plain language, written with care, and not legal advice.

Only ``yes`` is permission: ``ask`` is told as "only after a separate agreement".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from textwrap import fill
from types import MappingProxyType
from typing import Final, NamedTuple

from ledger import text
from ledger.canonical import Json, Object
from ledger.errors import MalformedError, shown
from ledger.terms import USES, Payment, Terms, bind_text, read_terms

WIDTH: Final = 80
"""Characters in a line of the license text."""

TRAINING_USES: Final = ("train", "train-generative", "finetune")
MODEL_USES: Final = ("deploy", "share-model", "sell-outputs")
"""Uses of the model that was trained, not of the pictures."""

_USE_WORDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "search": ("search", "index the pictures and show them in search results"),
        "mine": ("data mining", "analyze the pictures by text and data mining, without training a model"),
        "evaluate": ("internal evaluation", "test models on the pictures internally, benchmarks included"),
        "infer": (
            "input at inference",
            "give the pictures to a finished model as input, in retrieval or as reference pictures",
        ),
        "train": ("training", "train a model on the pictures"),
        "train-generative": ("generative training", "train a generative model on the pictures"),
        "finetune": ("fine-tuning", "adapt an existing model with the pictures"),
        "deploy": ("commercial deployment", "offer a model trained on the pictures commercially as a service"),
        "share-model": ("sharing models", "hand on the weights of a model trained on the pictures, or derived models"),
        "sell-outputs": ("selling outputs", "sell what a model trained on the pictures makes"),
        "share-data": ("sharing the pictures", "hand on the pictures themselves"),
    }
)
_PATTERNS: Final = {
    "yes": "You may {}.",
    "no": "You may not {}.",
    "ask": "Only after a separate agreement with the creator may you {}.",
}
_PAYMENT_WORDS: Final = {
    "free": ("free", "No price is due for the pictures."),
    "per-sample": ("per picture", "A price is due for each picture, by its price tier."),
    "dataset": ("one price", "One price is due for the whole library, by its price tier."),
    "subscription": ("subscription", "A price is due for each period of access, by price tier."),
    "per-use": ("per use", "A price is due for each counted use, by the picture's price tier."),
}
_CADENCE_WORDS: Final = {
    "once": "Payment is due once.",
    "monthly": "Accounts are settled monthly.",
    "quarterly": "Accounts are settled quarterly.",
    "yearly": "Accounts are settled yearly.",
}
_AUDIENCE_WORDS: Final = {
    "any": "These answers hold for everybody and for any purpose, commercial or not.",
    "non-commercial": "Each yes holds only for purposes that are not commercial.",
    "research": "Each yes holds only for research.",
}
_KEPT_WORDS: Final = {
    "manifest": "Keep the attribution manifest supplied with each picture, and the record of what was used.",
    "token": "Hold a valid attribution token that names the files, before use begins.",
}

_FREE: Final[Object] = {
    "model": "free",
    "currency": "EUR",
    "tiers": {},
    "share_bp": 0,
    "cadence": "once",
    "minimum": "0",
    "termination": "0",
    "escrow": False,
}


class Line(NamedTuple):
    """One question about the terms: what it is about, the answer in a word or two, and a sentence for people."""

    label: str
    answer: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Preset:
    """A ready-made set of answers; `summary` says it in a sentence, `answers` are the fields but id, URL and digest."""

    title: str
    summary: str
    answers: Mapping[str, Json]

    def fields(self, license_id: str, license_url: str) -> Object:
        """Returns complete fields of terms but ``text_digest``, as ``bind_text`` and :func:`prose` take them.

        Raises:
            MalformedError: the id or the URL has another form.
        """
        fields: Object = {"type": "license", "v": 1, "license_id": license_id, "license_url": license_url}
        fields.update(self.answers)
        read_terms({**fields, "text_digest": None})
        return fields


def _answers(uses: str, **changed: Json) -> Mapping[str, Json]:
    """Returns the fields of a preset: `uses` are eleven letters y, n, a in the order of ``USES``."""
    words = {"y": "yes", "n": "no", "a": "ask"}
    answers: Object = {
        "uses": {use: words[letter] for use, letter in zip(USES, uses, strict=True)},
        "audience": "any",
        "attribution_required": True,
        "exclusive_months": 0,
        "exclusive_after": "non-exclusive",
        "term_months": 0,
        "territory": ["world"],
        "revocation": {"notice_days": 30, "trained_models": "keep"},
        "payment": _FREE,
        "audit_per_year": 0,
        "require": [],
    }
    return MappingProxyType({**answers, **changed})


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "train": Preset(
            "Training yes, redistribution no",
            "Models may be trained and tested inside; what leaves the house needs an agreement, the pictures never do.",
            _answers("yyyayyyaaan", audit_per_year=4, require=["manifest", "token"]),
        ),
        "train-commercial": Preset(
            "Training and commercial deployment",
            "Models may be trained, offered as a service, and their outputs sold; weights are handed on by agreement.",
            _answers("yyyyyyyyayn", audit_per_year=4, require=["manifest", "token"]),
        ),
        "research": Preset(
            "Research only",
            "Researchers may train and test any model; weights leave the house by agreement, the pictures never do.",
            _answers("yyyyyyynann", audience="research", require=["manifest"]),
        ),
        "ask-first": Preset(
            "Ask first",
            "The pictures may be found; everything else needs an agreement, and the pictures are not handed on.",
            _answers("yaaaaaaaaan", require=["manifest", "token"]),
        ),
        "no-training": Preset(
            "No training",
            "The pictures may be found in search; no mining, no training, no use by models.",
            _answers("ynnnnnnnnnn"),
        ),
        "open": Preset(
            "Open",
            "Everything is allowed to everybody, free of charge, as long as the creator is named.",
            _answers("yyyyyyyyyyy"),
        ),
    }
)
"""By name, from the usual case on.  All are free of charge: a price is the creator's to set (``payment``)."""


def make_license(fields: Object, creator_name: str) -> tuple[Terms, bytes]:
    """Makes terms and the text people read, bound to each other, from all fields but ``text_digest``.

    Raises:
        MalformedError: a field is not of its form.
    """
    return bind_text(fields, prose(fields, creator_name))


def prose(fields: Object, creator_name: str) -> str:
    """Returns the license text, without its last line, generated from every field of the terms but ``text_digest``.

    Raises:
        MalformedError: a field is not of its form, or the name is not one line.
    """
    terms = read_terms({**fields, "text_digest": None})
    name = text.line(creator_name, "creator_name")
    short, *lines = explain(terms)
    uses, conditions = lines[: len(USES)], lines[len(USES) :]
    parts = [
        f"License {terms.license_id}",
        f"{name} (the creator) offers the pictures of each library that names this license under the terms below,"
        f" which are published at {terms.license_url}",
        "Each use has the answer yes, no or ask. Only yes is permission. Ask means: not without a separate agreement"
        " with the creator. A use that is not named here is not permitted.",
        f"{short.label} {_capital(short.answer)}. {short.sentence}",
        "Uses",
        *(_item(line) for line in uses),
        "Conditions",
        *(_item(line) for line in conditions),
        "This text and the terms for machines",
        "This text was made from the machine-readable terms, and the two are bound to each other: the last line is the"
        " SHA-256 of the terms in canonical form with text_digest null, and text_digest in the terms is the SHA-256 of"
        " this text. Where the two can be read differently, the reading that permits less holds.",
    ]
    return "\n\n".join(_filled(part) for part in parts) + "\n"


def _item(line: Line) -> str:
    return f"* {line.label}: {line.answer}. {line.sentence}"


def _filled(part: str) -> str:
    indent = "  " if part.startswith("* ") else ""
    return fill(part, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def explain(terms: Terms) -> list[Line]:
    """Returns what the terms say, for people: *may I train on it* first, the eleven uses, then all other fields."""
    answer, conditions = training(terms)
    if answer == "no":
        sentence = "No model may be trained on the pictures or adapted with them."
    else:
        sentence = " ".join(conditions) or "Any model may be trained on the pictures, without conditions."
    return [
        Line("May I train on it?", answer, sentence),
        *(Line(use, terms.uses[use], use_sentence(use, terms.uses[use])) for use in USES),
        _audience(terms),
        _attribution(terms),
        _exclusivity(terms),
        _term(terms),
        _territory(terms),
        _revocation(terms),
        _payment(terms.payment),
        _audits(terms),
        _kept(terms),
    ]


def training(terms: Terms) -> tuple[str, tuple[str, ...]]:
    """Answers *may I train on it*: ``yes``, ``no`` or ``under conditions``, and the conditions as sentences.

    ``yes`` means training of any kind, by anybody, without any condition, not even naming the creator; ``no`` means
    that each of ``train``, ``train-generative`` and ``finetune`` is ``no``.
    """
    if all(terms.uses[use] == "no" for use in TRAINING_USES):
        return "no", ()
    limited = [use for use in (*TRAINING_USES, *MODEL_USES) if terms.uses[use] != "yes"]
    conditions = [use_sentence(use, terms.uses[use]) for use in limited]
    if terms.audience != "any":
        conditions.append(_audience(terms).sentence)
    if terms.attribution_required:
        conditions.append(_attribution(terms).sentence)
    if terms.exclusive_months:
        conditions.append(_exclusivity(terms).sentence)
    if terms.term_months:
        conditions.append(_term(terms).sentence)
    if terms.territory != ("world",):
        conditions.append(_territory(terms).sentence)
    if terms.trained_models == "retire":
        conditions.append(_revocation(terms).sentence)
    if _costs(terms.payment):
        conditions.append(_payment(terms.payment).sentence)
    if terms.audit_per_year:
        conditions.append(_audits(terms).sentence)
    if terms.require:
        conditions.append(_kept(terms).sentence)
    return ("under conditions" if conditions else "yes"), tuple(conditions)


def use_label(use: str) -> str:
    """Returns the name of a use in words, like ``internal evaluation`` for ``evaluate``."""
    return _USE_WORDS[use][0]


def use_sentence(use: str, answer: str) -> str:
    """Returns what `answer` (``yes``, ``no``, ``ask``) to `use` means, as a sentence."""
    return _PATTERNS[answer].format(_USE_WORDS[use][1])


def _audience(terms: Terms) -> Line:
    return Line("audience", terms.audience, _AUDIENCE_WORDS[terms.audience])


def _attribution(terms: Terms) -> Line:
    if not terms.attribution_required:
        return Line("attribution", "not required", "The creator need not be named.")
    sentence = (
        "Name the creator with the required attribution text, in the model card and wherever the training data are"
        " described."
    )
    return Line("attribution", "required", sentence)


def _exclusivity(terms: Terms) -> Line:
    if not terms.exclusive_months:
        return Line("exclusivity", "non-exclusive", "The creator may grant the same rights to others.")
    after = {
        "non-exclusive": "the license goes on without exclusivity",
        "delist": "the pictures are no longer offered",
    }[terms.exclusive_after]
    months = _counted(terms.exclusive_months, "month")
    sentence = f"For {months} from the grant the creator gives these rights to nobody else; then {after}."
    return Line("exclusivity", f"exclusive for {months}", sentence)


def _term(terms: Terms) -> Line:
    if not terms.term_months:
        return Line("term", "no end", "A permission once granted has no date at which it ends.")
    months = _counted(terms.term_months, "month")
    return Line("term", months, f"A permission ends {months} after it was granted.")


def _territory(terms: Terms) -> Line:
    if terms.territory == ("world",):
        return Line("territory", "world", "The permissions hold in all countries.")
    codes = ", ".join(terms.territory)
    return Line("territory", codes, f"The permissions hold only in these countries (ISO 3166): {codes}.")


def _revocation(terms: Terms) -> Line:
    days = _counted(terms.notice_days, "day")
    trained = {
        "keep": "Models trained before then may stay in use.",
        "retire": "Models trained before then must be taken out of use.",
    }[terms.trained_models]
    sentence = f"The creator may withdraw the offer with {days} of notice; then nothing new is granted. {trained}"
    return Line("revocation", f"{days} of notice", sentence)


def _payment(payment: Payment) -> Line:
    answer, sentence = _PAYMENT_WORDS[payment.model]
    sentences = [sentence]
    if payment.tiers:
        prices = ", ".join(f"{tier} {price} {payment.currency}" for tier, price in sorted(payment.tiers.items()))
        sentences.append(f"Prices: {prices}.")
    elif payment.model != "free":
        sentences.append("The price is agreed separately.")
    if payment.share_bp:
        share = f"{Decimal(payment.share_bp) / 100:f} %"
        sentences.append(f"A share of {share} of the revenue of models trained on the pictures is due.")
        answer = f"{answer}, and {share} of revenue"
    sentences.append(_CADENCE_WORDS[payment.cadence])
    if Decimal(payment.minimum):
        sentences.append(f"At least {payment.minimum} {payment.currency} is due each time.")
    if Decimal(payment.termination):
        sentences.append(f"If the license is revoked early, {payment.termination} {payment.currency} is due.")
    if payment.escrow:
        sentences.append("Payments are held in escrow until both sides have delivered.")
    if _costs(payment):
        return Line("payment", answer, " ".join(sentences))
    return Line("payment", answer, "The license is free of charge.")


def _costs(payment: Payment) -> bool:
    """Whether anything can ever be due; prices and dates of a license that costs nothing have no effect."""
    return payment.model != "free" or bool(payment.share_bp or Decimal(payment.minimum) or Decimal(payment.termination))


def _audits(terms: Terms) -> Line:
    if not terms.audit_per_year:
        return Line("audits", "none", "The creator has no right to audits.")
    times = _counted(terms.audit_per_year, "time")
    sentence = f"The creator may have the use of the pictures audited up to {times} a year."
    return Line("audits", f"{times} a year", sentence)


def _kept(terms: Terms) -> Line:
    if not terms.require:
        return Line("to keep", "nothing", "No records need to be kept.")
    return Line("to keep", ", ".join(terms.require), " ".join(_KEPT_WORDS[name] for name in terms.require))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def usage_line(terms: Terms) -> str:
    """Returns the terms in one line for the metadata of a file (``xmpRights:UsageTerms``)."""
    by_answer = [("Allowed", "yes"), ("Only by agreement", "ask"), ("Not allowed", "no")]
    parts = [f"License {terms.license_id}."]
    for words, answer in by_answer:
        names = [use_label(use) for use in USES if terms.uses[use] == answer]
        if names:
            parts.append(f"{words}: {', '.join(names)}.")
    if terms.audience != "any":
        parts.append(_audience(terms).sentence)
    parts.append(f"Full terms: {terms.license_url}")
    return " ".join(parts)


def attribution_text(creator_name: str, creator_id: str, license_id: str, attribution_url: str) -> str:
    """Returns the usual attribution text for model cards."""
    return (
        f"Image assets from {creator_name} (creator_id: {creator_id}). Licensed under {license_id}."
        f" See {attribution_url} for details."
    )


def short_header(terms: Terms) -> Object:
    """Returns the short license header, an export for people and simple programs; it decides nothing.

    ``scope`` names the uses answered ``yes``; what is answered ``ask`` is not in it.
    """
    scope = ", ".join(use_label(use) for use in USES if terms.uses[use] == "yes")
    return {
        "license_id": terms.license_id,
        "license_url": terms.license_url,
        "scope": scope or "none",
        "attribution_required": terms.attribution_required,
        "revocation_notice": _counted(terms.notice_days, "day"),
    }


def data_mining(terms: Terms) -> str:
    """Returns the PLUS DataMining value (``DMI-…``) that says no more than the terms permit.

    PLUS knows no audience, price or agreement, so a plain value is given only where it is the whole truth; the first
    rule that holds:

    1. each use ``no``: ``DMI-PROHIBITED``;
    2. a condition other than naming the creator (audience, exclusivity, term, territory, payment, audits, records,
       models to be retired): ``DMI-PROHIBITED-SEELINKEDRIGHTSEXPR``, the license at ``xmpRights:WebStatement``;
    3. each use ``yes``: ``DMI-ALLOWED``;
    4. ``search`` alone ``yes``, all others ``no``: ``DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING``;
    5. ``train``, ``train-generative`` and ``finetune`` ``no``, all others ``yes``: ``DMI-PROHIBITED-AIMLTRAINING``;
    6. ``train-generative`` alone ``no``, all others ``yes``: ``DMI-PROHIBITED-GENAIMLTRAINING``;
    7. anything else, each ``ask`` included: ``DMI-PROHIBITED-SEELINKEDRIGHTSEXPR``.
    """
    answers = terms.uses
    allowed = {use for use in USES if answers[use] == "yes"}
    denied = {use for use in USES if answers[use] == "no"}
    if len(denied) == len(USES):
        return "DMI-PROHIBITED"
    if len(allowed) + len(denied) < len(USES) or _conditional(terms):
        return "DMI-PROHIBITED-SEELINKEDRIGHTSEXPR"
    if not denied:
        return "DMI-ALLOWED"
    if allowed == {"search"}:
        return "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING"
    if denied == set(TRAINING_USES):
        return "DMI-PROHIBITED-AIMLTRAINING"
    if denied == {"train-generative"}:
        return "DMI-PROHIBITED-GENAIMLTRAINING"
    return "DMI-PROHIBITED-SEELINKEDRIGHTSEXPR"


def _conditional(terms: Terms) -> bool:
    """Whether a permission hangs on more than naming the creator, who stands beside it in the same packet."""
    return (
        terms.audience != "any"
        or terms.exclusive_months > 0
        or terms.term_months > 0
        or terms.territory != ("world",)
        or terms.trained_models != "keep"
        or _costs(terms.payment)
        or terms.audit_per_year > 0
        or bool(terms.require)
    )


def preset(name: str) -> Preset:
    """Returns a preset by name.

    Raises:
        MalformedError: there is none of that name; the message lists them.
    """
    if name not in PRESETS:
        raise MalformedError(f"expected one of {', '.join(PRESETS)}, found {shown(name)}", field="preset")
    return PRESETS[name]
