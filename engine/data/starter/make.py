"""Write train.jsonl and validation.jsonl; the same bytes each time. Run: python -m engine.data.starter.make

A row asks for a café order as JSON. The validation rows share no names and no items with the training rows.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

Row = dict[str, list[dict[str, str]]]

TRAIN_ROWS, VALIDATION_ROWS = 280, 64
PROMPT = "Order as JSON: "

TRAIN_NAMES = [
    "Ada", "Ben", "Clara", "Dario", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Liam",
    "Mila", "Noor", "Oskar", "Paula", "Quinn", "Rosa", "Samir", "Tara", "Uma", "Viktor", "Wanda", "Yusuf",
    "Zoe", "Amir", "Bella", "Chen", "Diego", "Emma", "Felix", "Gloria", "Hana", "Ivan", "Julia", "Karim",
    "Lena", "Marco", "Nina", "Omar",
]  # fmt: skip
VALIDATION_NAMES = [
    "Mara", "Theo", "Sofia", "Ravi", "Ingrid", "Pablo", "Leila", "Anton", "Freya", "Kofi", "Mei", "Jasper",
    "Olga", "Priya", "Sven", "Tomas",
]  # fmt: skip

MENU = [
    (
        "almond apple banana berry cherry chocolate cinnamon coconut ginger hazelnut honey lemon mango maple",
        "bagel brownie cake cookie croissant latte milkshake muffin pancake pie roll scone smoothie tart tea waffle",
    ),
    (
        "avocado bacon bean cheese chicken egg ham lentil mushroom olive pepper potato salmon tofu tomato tuna",
        "burger omelette pizza quiche salad sandwich soup toastie wrap",
    ),
]
"""Flavours and what they go with. An item is a flavour and a thing, so that names must be copied, not known."""
PLURALS = {"sandwich": "sandwiches"}
HELD_OUT_SHARE = 5
"""One combination in so many is kept out of the training rows."""

QUANTITIES = {
    1: ("a", "one"),
    2: ("two", "2", "a couple of"),
    3: ("three", "3"),
    4: ("four", "4"),
    6: ("six", "6"),
}
TO_GO = ("to go", "to take away", "as takeaway")
HERE = ("for here", "to eat in", "to have here")

WITH_NAME = (
    "{items} for {name}, {place} please.",
    "Hi, {name} here. Could I get {items} {place}?",
    "{name} would like {items}, {place}.",
    "This is for {name}: {items}, {place}.",
    "I'll have {items} {place}. The name is {name}.",
    "Can I get {items} {place}? It's for {name}.",
    "Please make {items} {place} for {name}.",
)
WITHOUT_NAME = (
    "{items}, {place} please.",
    "Could we have {items} {place}?",
    "Just {items} {place}, thanks.",
)


def menu() -> tuple[list[str], list[str]]:
    """Items of the training rows, and items that only the validation rows have."""
    known: list[str] = []
    fresh: list[str] = []
    for flavours, things in MENU:
        for row, flavour in enumerate(flavours.split()):
            for column, thing in enumerate(things.split()):
                (fresh if (row + 2 * column) % HELD_OUT_SHARE == 0 else known).append(f"{flavour} {thing}")
    return known, fresh


def order(rng: random.Random, names: Sequence[str], items: Sequence[str]) -> Row:
    """One row: a sentence, and the order in it as compact JSON with its keys always in the same places."""
    chosen = rng.sample(items, rng.choice((1, 2, 2, 2, 3)))
    wanted = {item: rng.choice((1, 1, 2, 2, 3, 4, 6)) for item in chosen}
    name = rng.choice(names) if rng.random() < 0.85 else None
    to_go = rng.random() < 0.5
    frame = rng.choice(WITH_NAME if name else WITHOUT_NAME)
    place = rng.choice(TO_GO if to_go else HERE)
    spoken = _listed([_spoken(rng, item, quantity) for item, quantity in wanted.items()])
    sentence = frame.format(items=spoken, name=name, place=place)
    answer = {"name": name, "items": wanted, "to_go": to_go}
    return {
        "messages": [
            {"role": "user", "content": PROMPT + sentence[0].upper() + sentence[1:]},
            {"role": "assistant", "content": json.dumps(answer, separators=(",", ":"))},
        ]
    }


def _spoken(rng: random.Random, item: str, quantity: int) -> str:
    word = rng.choice(QUANTITIES[quantity])
    if word == "a" and item[0] in "aeiou":
        word = "an"
    flavour, thing = item.split()
    return f"{word} {flavour} {thing if quantity == 1 else PLURALS.get(thing, thing + 's')}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def make() -> tuple[list[Row], list[Row]]:
    """Training rows and validation rows, no row twice."""
    rng = random.Random(2026)
    known, fresh = menu()
    train = _distinct(TRAIN_ROWS, lambda: order(rng, TRAIN_NAMES, known))
    return train, _distinct(VALIDATION_ROWS, lambda: order(rng, VALIDATION_NAMES, fresh))


def _distinct(count: int, draw: Callable[[], Row]) -> list[Row]:
    rows: dict[str, Row] = {}
    while len(rows) < count:
        row = draw()
        rows.setdefault(json.dumps(row), row)
    return list(rows.values())


def as_jsonl(rows: Sequence[Row]) -> str:
    """The rows as the file has them."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    for name, rows in zip(("train", "validation"), make(), strict=True):
        Path(__file__).with_name(f"{name}.jsonl").write_text(as_jsonl(rows), encoding="utf-8")
