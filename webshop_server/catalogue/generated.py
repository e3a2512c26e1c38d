"""A catalogue of invented products, in the records of the original WebShop: the shop's default, which needs no file.

Products come in families of competitors: one kind, one theme, some attributes in common, but other makers, other
options and other prices. The best match of a search is therefore often the wrong purchase, and what tells competitors
apart stands partly on their pages alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from string import capwords
from typing import Any

from turngym.webshop_server.catalogue.catalogue import Catalogue
from turngym.webshop_server.catalogue.records import ProductRecords, Record
from turngym.webshop_server.catalogue.vocabulary import ROLES, Kind, Role, kinds, wording

MIN_PRODUCTS = 10
MAX_PRODUCTS = 1_180_000
"""As many as the original's whole catalogue has."""
FAMILY_SIZE = 5
"""How many competitors follow each other."""
MAX_COMBINATIONS = 60
"""The most ways to choose the options of a product."""
MAX_VALUES = 20
"""The most values of an option."""

_NUM_ATTRIBUTES = (2, 3, 3, 4, 4, 5, 5, 6)
_NUM_COMMON_ATTRIBUTES = 5
_SHARE_IN_COMMON = 0.6
_SHARE_WITH_OPTIONS = 0.6
_SHARE_WITH_PRICE = 0.91
_SHARE_WITH_PRICE_RANGE = 0.15
_SHARE_WITH_INSTRUCTION = 0.4
_SHARE_WITH_WISH = 0.3
_CENTS = (0.99, 0.99, 0.95, 0.49, 0.0)
_LINKS: tuple[tuple[Role, str], ...] = (("has", "with"), ("suits", "for"))

# A number becomes an identifier by a multiplication modulo the number of identifiers, which takes no two to the same.
_ASIN_START = "G"
_ASIN_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZ"
_ASIN_LENGTH = 9
_NUM_ASINS = len(_ASIN_DIGITS) ** _ASIN_LENGTH
_ASIN_STEP = 10_007_000_000_081


@dataclass(frozen=True, slots=True)
class _Family:
    """What competitors have in common."""

    kind: Kind
    theme: str
    price: float
    """The price around which theirs are drawn, in dollars."""
    attributes: tuple[str, ...]
    """Attributes that several of them share."""


@dataclass(frozen=True, slots=True)
class _Design:
    """The properties of a product, from which its records are worded."""

    kind: Kind
    theme: str
    brand: str
    attributes: Mapping[str, Role]
    options: Mapping[str, tuple[str, ...]]
    fixed: tuple[str, ...]
    """Values that are not left to choose."""
    pricing: str


def generate_catalogue(num_products: int = 1000, seed: int = 0) -> Catalogue:
    """Return a catalogue of invented products; `generate_records` says what the arguments mean.

    Raises:
        ValueError: The number of products is out of range.
    """
    return Catalogue(records.build() for records in generate_records(num_products, seed))


def generate_records(num_products: int = 1000, seed: int = 0) -> Iterator[ProductRecords]:
    """Give the records of invented products, one after another.

    Args:
        num_products: How many, from `MIN_PRODUCTS` to `MAX_PRODUCTS`. A larger catalogue begins with the smaller one.
        seed: Any integer. Everything depends on it and the number of the product alone.

    Raises:
        ValueError: The number of products is out of range.
    """
    if not MIN_PRODUCTS <= num_products <= MAX_PRODUCTS:
        raise ValueError(f"num_products must be {MIN_PRODUCTS} to {MAX_PRODUCTS:,}, got {num_products:,}")
    return (records_of(index, seed) for index in range(num_products))


def records_of(index: int, seed: int = 0) -> ProductRecords:
    """Return the records of one invented product.

    Args:
        index: Which, from 0.
        seed: Any integer.
    """
    rng = _rng(seed, "product", index)
    design = _design(rng, _family(seed, index // FAMILY_SIZE))
    asin = _asin(index, seed)
    return ProductRecords(_item(rng, asin, design), _annotation(rng, design), tuple(_wishes(rng, asin, design)))


def _asin(index: int, seed: int) -> str:
    number = (_first_asin(seed) + index * _ASIN_STEP) % _NUM_ASINS
    digits = []
    for _ in range(_ASIN_LENGTH):
        number, digit = divmod(number, len(_ASIN_DIGITS))
        digits.append(_ASIN_DIGITS[digit])
    return _ASIN_START + "".join(digits)


@lru_cache(maxsize=16)
def _first_asin(seed: int) -> int:
    return _rng(seed, "asins", 0).randrange(_NUM_ASINS)


@lru_cache(maxsize=16)
def _family(seed: int, number: int) -> _Family:
    rng = _rng(seed, "family", number)
    kind = rng.choice(kinds())
    low, high = kind.price
    attributes = [attribute for role in ROLES for attribute in kind.attributes[role]]
    return _Family(
        kind=kind,
        theme=rng.choice(kind.themes),
        price=math.exp(rng.uniform(math.log(low), math.log(high))),
        attributes=tuple(rng.sample(attributes, _NUM_COMMON_ATTRIBUTES)),
    )


def _design(rng: Random, family: _Family) -> _Design:
    options = _options(rng, family.kind) if rng.random() < _SHARE_WITH_OPTIONS else {}
    fixed = (values for name, values in family.kind.options.items() if name not in options)
    return _Design(
        kind=family.kind,
        theme=family.theme,
        brand=rng.choice(wording().brand_beginnings) + rng.choice(wording().brand_endings),
        attributes=_attributes(rng, family),
        options=options,
        fixed=tuple(rng.choice(values) for values in fixed if rng.random() < 0.5),
        pricing=_pricing(rng, family, varied=bool(options)),
    )


def _attributes(rng: Random, family: _Family) -> dict[str, Role]:
    """Choose attributes, most of them from those of the family, and return them with their roles."""
    roles: dict[str, Role] = {own: role for role in ROLES for own in family.kind.attributes[role]}
    number = rng.choice(_NUM_ATTRIBUTES)
    chosen = set(rng.sample(family.attributes, round(number * _SHARE_IN_COMMON)))
    others = [attribute for attribute in roles if attribute not in family.attributes]
    chosen.update(rng.sample(others, number - len(chosen)))
    return {attribute: role for attribute, role in roles.items() if attribute in chosen}


def _options(rng: Random, kind: Kind) -> dict[str, tuple[str, ...]]:
    """Choose options and their values, with no more than `MAX_COMBINATIONS` choices."""
    names = rng.sample(list(kind.options), 1 if rng.random() < 0.3 else len(kind.options))
    options = {}
    combinations = 1
    for name in names:
        pool = kind.options[name]
        most = min(len(pool), MAX_VALUES, MAX_COMBINATIONS // combinations)
        if most < 2:
            break
        chosen = sorted(rng.sample(range(len(pool)), rng.randint(2, most)))
        options[name] = tuple(pool[place] for place in chosen)
        combinations *= len(chosen)
    return options


def _pricing(rng: Random, family: _Family, *, varied: bool) -> str:
    """Return the price in the original's form: one, the ends of a range, or none."""
    low, high = family.kind.price
    price = _rounded(rng, min(max(family.price * rng.uniform(0.7, 1.5), low), high))
    if rng.random() >= _SHARE_WITH_PRICE:
        return ""
    if varied and rng.random() < _SHARE_WITH_PRICE_RANGE:
        return f"${price:.2f} - ${_rounded(rng, price * rng.uniform(1.2, 1.8)) + 1:.2f}"
    return f"${price:.2f}"


def _rounded(rng: Random, price: float) -> float:
    return max(math.floor(price), 1) + rng.choice(_CENTS)


def _item(rng: Random, asin: str, design: _Design) -> Record:
    in_title = [attribute for attribute in design.attributes if rng.random() < 0.35][:2]
    on_pages = [one for one in design.attributes if one not in in_title or rng.random() < 0.5]
    split = rng.randint(0, len(on_pages))
    rng.shuffle(on_pages)
    say = _speaker(rng, design)
    told = {attribute: say(design.attributes[attribute], attribute) for attribute in on_pages}
    plain = [*design.kind.notes, *(say("plain") for _ in range(2))]
    bullets = [told[attribute] for attribute in on_pages[:split]] + plain[1:3]
    rng.shuffle(bullets)
    return {
        "asin": asin,
        "name": _title(rng, design, in_title),
        "brand": design.brand,
        "category": design.kind.department,
        "query": design.kind.query,
        "product_category": design.kind.path,
        "full_description": " ".join(
            [say("first"), *(told[attribute] for attribute in on_pages[split:]), plain[0], plain[3]]
        ),
        "small_description": bullets,
        "pricing": design.pricing,
        "images": [],
        "customization_options": {
            capwords(name): [{"value": value, "image": None} for value in values]
            for name, values in design.options.items()
        } or "",
    }  # fmt: skip


def _title(rng: Random, design: _Design, attributes: Sequence[str]) -> str:
    line = rng.choice(wording().lines) if rng.random() < 0.4 else ""
    said = {role: [capwords(one) for one in attributes if design.attributes[one] == role] for role in ROLES}
    words = [design.brand, line, *said["is"], design.theme, rng.choice(design.kind.names)]
    if said["has"]:
        words.append(f"with {' and '.join(said['has'])}")
    if said["suits"]:
        words.append(f"for {' and '.join(said['suits'])}")
    return ", ".join([" ".join(filter(None, words)), *(capwords(value) for value in design.fixed)])


def _speaker(rng: Random, design: _Design) -> Callable[..., str]:
    """Return a function that makes a sentence of a sort, perhaps about an attribute, in varied wording."""
    sentences = {sort: rng.sample(wordings, len(wordings)) for sort, wordings in wording().sentences.items()}

    def say(sort: str, attribute: str = "") -> str:
        sentence = sentences[sort].pop()
        sentences[sort].insert(0, sentence)
        return sentence.format(a=attribute, A=attribute.capitalize(), noun=design.kind.noun, brand=design.brand)

    return say


def _annotation(rng: Random, design: _Design) -> Record:
    attributes = list(design.attributes)
    annotation: dict[str, Any] = {"attributes": attributes}
    if rng.random() < _SHARE_WITH_INSTRUCTION:
        wanted = _some(rng, attributes, most=4)
        said = {role: ", ".join(one for one in wanted if design.attributes[one] == role) for role in ROLES}
        words = [rng.choice(wording().instructions["openings"]), said["is"], design.kind.query]
        words += [f"{word} {said[role]}" for role, word in _LINKS if said[role]]
        annotation |= {"instruction": " ".join(filter(None, words)), "instruction_attributes": wanted}
    return annotation


def _wishes(rng: Random, asin: str, design: _Design) -> Iterator[Record]:
    """Give the wishes that people might have for a product, most often none."""
    while rng.random() < _SHARE_WITH_WISH:
        wanted = _some(rng, list(design.attributes), most=3)
        chosen = {name: rng.choice(values) for name, values in design.options.items() if rng.random() < 0.7}
        mentions = wording().mentions
        request = rng.choice(wording().instructions["requests"])
        yield {
            "asin": asin,
            "instruction": request.format(
                wish=_wish(rng, design, wanted),
                options="".join(rng.choice(mentions.get(name, mentions["other"])).format(value)
                                for name, value in chosen.items()),
            ),
            "attributes": list(design.attributes),
            "options": [f"{name}: {value}" for name, value in chosen.items()],
            "instruction_attributes": wanted,
            "instruction_options": list(chosen.values()),
        }  # fmt: skip


def _wish(rng: Random, design: _Design, wanted: Sequence[str]) -> str:
    """Return the product with what is wanted of it, such as `a slim fit men's shirt with long sleeves`."""
    said = {role: [one for one in wanted if design.attributes[one] == role] for role in ROLES}
    words = " ".join([", ".join(said["is"]), design.kind.noun]).strip()
    article = design.kind.article
    if article in {"a", "an"}:
        article = "an" if words[0] in "aeiou" else "a"
    ends = [
        rng.choice(wording().instructions[role]).format(" and ".join(said[role])) for role, _ in _LINKS if said[role]
    ]
    return f"{article} {words}{''.join(ends)}"


def _some(rng: Random, attributes: Sequence[str], *, most: int) -> list[str]:
    """Return at least one attribute and at most so many, in their order."""
    chosen = set(rng.sample(attributes, rng.randint(1, min(most, len(attributes)))))
    return [attribute for attribute in attributes if attribute in chosen]


def _rng(seed: int, purpose: str, number: int) -> Random:
    return Random(f"turngym shop {seed} {purpose} {number}")
