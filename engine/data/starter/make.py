"""Write train.jsonl and validation.jsonl; the same bytes each time. Run: python -m engine.data.starter.make

A row asks for an order as JSON. The held-out rows have names that no training row has, at least one item
that no training row has, and no sentence of the training rows.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

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

TRAIN_ITEMS = {
    "latte": "lattes",
    "oat latte": "oat lattes",
    "espresso": "espressos",
    "double espresso": "double espressos",
    "cappuccino": "cappuccinos",
    "flat white": "flat whites",
    "black coffee": "black coffees",
    "iced coffee": "iced coffees",
    "green tea": "green teas",
    "mint tea": "mint teas",
    "hot chocolate": "hot chocolates",
    "orange juice": "orange juices",
    "apple juice": "apple juices",
    "lemonade": "lemonades",
    "mango smoothie": "mango smoothies",
    "croissant": "croissants",
    "almond croissant": "almond croissants",
    "blueberry muffin": "blueberry muffins",
    "cinnamon roll": "cinnamon rolls",
    "scone": "scones",
    "chocolate cookie": "chocolate cookies",
    "brownie": "brownies",
    "carrot cake": "carrot cakes",
    "cheese toastie": "cheese toasties",
    "ham sandwich": "ham sandwiches",
    "egg sandwich": "egg sandwiches",
    "tomato soup": "tomato soups",
    "chicken wrap": "chicken wraps",
    "veggie burger": "veggie burgers",
    "Caesar salad": "Caesar salads",
    "fruit salad": "fruit salads",
    "banana bread": "banana breads",
    "pretzel": "pretzels",
    "waffle": "waffles",
    "pancake": "pancakes",
    "omelette": "omelettes",
    "strawberry tart": "strawberry tarts",
    "cherry pie": "cherry pies",
    "peach": "peaches",
    "yoghurt": "yoghurts",
}
VALIDATION_ITEMS = {
    "bagel": "bagels",
    "sesame bagel": "sesame bagels",
    "soy latte": "soy lattes",
    "mocha": "mochas",
    "ginger tea": "ginger teas",
    "iced tea": "iced teas",
    "pear juice": "pear juices",
    "banana smoothie": "banana smoothies",
    "lemon muffin": "lemon muffins",
    "oat cookie": "oat cookies",
    "cheese sandwich": "cheese sandwiches",
    "tuna wrap": "tuna wraps",
    "lentil soup": "lentil soups",
    "apple pie": "apple pies",
    "Greek salad": "Greek salads",
    "plum cake": "plum cakes",
}
"""Each item, and its plural: the order says the one that fits, the JSON always the first."""

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


def order(
    rng: random.Random, names: Sequence[str], items: dict[str, str], fresh: Sequence[str]
) -> dict[str, object]:
    """One row. `fresh`, where there are any, are items of which the order must have one."""
    count = rng.choice((1, 2, 2, 2, 3))
    chosen = rng.sample([*items], count)
    if fresh and not set(chosen) & set(fresh):
        chosen[rng.randrange(count)] = rng.choice(fresh)
    wanted = {item: rng.choice((1, 1, 2, 2, 3, 4, 6)) for item in chosen}
    name = rng.choice(names) if rng.random() < 0.85 else None
    to_go = rng.random() < 0.5
    frame = rng.choice(WITH_NAME if name else WITHOUT_NAME)
    place = rng.choice(TO_GO if to_go else HERE)
    spoken = _listed([_spoken(rng, item, items[item], quantity) for item, quantity in wanted.items()])
    sentence = frame.format(items=spoken, name=name, place=place)
    answer = {"name": name, "items": wanted, "to_go": to_go}
    return {
        "messages": [
            {"role": "user", "content": PROMPT + sentence[0].upper() + sentence[1:]},
            {"role": "assistant", "content": json.dumps(answer, separators=(",", ":"))},
        ]
    }


def _spoken(rng: random.Random, item: str, plural: str, quantity: int) -> str:
    word = rng.choice(QUANTITIES[quantity])
    if word == "a" and item[0].lower() in "aeiou":
        word = "an"
    return f"{word} {item if quantity == 1 else plural}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def make() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Training rows and held-out rows, no row twice."""
    rng = random.Random(2026)
    every_item = TRAIN_ITEMS | VALIDATION_ITEMS
    train = _distinct(TRAIN_ROWS, lambda: order(rng, TRAIN_NAMES, TRAIN_ITEMS, ()))
    held_out = _distinct(
        VALIDATION_ROWS, lambda: order(rng, VALIDATION_NAMES, every_item, [*VALIDATION_ITEMS])
    )
    return train, held_out


def _distinct(count: int, draw: Callable[[], dict[str, object]]) -> list[dict[str, object]]:
    rows: dict[str, dict[str, object]] = {}
    while len(rows) < count:
        row = draw()
        rows.setdefault(json.dumps(row), row)
    return list(rows.values())


def as_jsonl(rows: Sequence[dict[str, object]]) -> str:
    """The rows as the file has them."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    for name, rows in zip(("train", "validation"), make(), strict=True):
        Path(__file__).with_name(f"{name}.jsonl").write_text(as_jsonl(rows), encoding="utf-8")
