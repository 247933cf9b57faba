"""A recipe in the making, out of another trainer's keys."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from engine.config.migration.convert import Refused, words
from engine.config.migration.places import Places
from engine.config.migration.report import Changed, Entry, Implied, Taken, Unmatched
from engine.config.schema import TrainConfig
from engine.methods import method_named

Value = TypeVar("Value")


class Draft:
    """What has been found so far: every key of the file is told of exactly once.

    `given` are the file's keys that say something: those without a value have the tool's default.
    """

    def __init__(self, given: Mapping[str, Any], places: Places) -> None:
        self.given = {key: value for key, value in given.items() if value is not None and value != ""}
        self.places = places
        self.entries: list[Entry] = []
        self.told: set[str] = set()

    @property
    def values(self) -> dict[str, Any]:
        """The recipe's keys so far, dotted."""
        return {one.key: one.value for one in self.entries if not isinstance(one, Unmatched)}

    def has(self, *keys: str) -> bool:
        """True if the file says something of one of these keys."""
        return any(key in self.given for key in keys)

    def first(self, *keys: str) -> str:
        """The first of these names that the file uses, or the first of all: for keys that have been renamed."""
        return next((key for key in keys if key in self.given), keys[0])

    def read(self, key: str, convert: Callable[[Any], Value], default: Value) -> Value:
        """The key's value, or `default` where it is left out; one that cannot be used is told as without equal."""
        if key not in self.given:
            return default
        try:
            return convert(self.given[key])
        except Refused as error:
            self.leave([key], str(error), f"as if it were left out: {default}" if default is not None else "")
            return default

    def expand(self, key: str) -> None:
        """Lay the keys of a mapping beside it, as `key.inner`; a value that is no mapping is told as without equal."""
        given = self.given.get(key)
        if isinstance(given, dict):
            inside = {f"{key}.{name}": value for name, value in given.items() if value is not None}
            self.given.update({name: value for name, value in inside.items() if name not in self.given})
            self.told.add(key)
        elif given is not None:
            self.leave([key], "it is no mapping", "as if it were left out")

    def words(self, key: str) -> list[str]:
        """The key's words; none where it is left out or is no list of words."""
        none: list[str] = []
        return self.read(key, words, none)

    def take(self, key: str, value: Any, *sources: str, why: str = "") -> None:
        """Set our `key` from the file's `sources`, those of them that it has and that are not told yet."""
        source = self._source(sources)
        if not source:
            self.imply(key, value, why)
            return
        self._forget(key)
        self.entries.append(Changed(source, key, value, why) if why else Taken(source, key, value))

    def imply(self, key: str, value: Any, why: str = "") -> None:
        """Set our `key` to the tool's default, where it is not ours and nothing else has set it."""
        if key not in self.values and value != default_of(key):
            self.entries.append(Implied(key, value, why))

    def leave(self, sources: list[str], why: str, instead: str = "") -> None:
        """Tell that the file's keys have no equal; nothing if all are told or absent."""
        source = self._source(tuple(sources))
        if source:
            self.entries.append(Unmatched(source, why, instead))

    def note(self, why: str, instead: str) -> None:
        """Tell what that tool does unasked and ft does not."""
        self.entries.append(Unmatched({}, why, instead))

    def drop(self, key: str, why: str) -> bool:
        """Take a key that the schema refuses back out; False if it is not set."""
        for place, one in enumerate(self.entries):
            if not isinstance(one, Unmatched) and one.key == key:
                source = one.source if isinstance(one, Taken) else {}
                self.entries[place] = Unmatched(source, why, f"ft's default of {key}")
                return True
        return False

    def start_from_saved(self) -> None:
        """With `adapter.from`, all else of the adapter is the saved one's own."""
        for one in [*self.entries]:
            if isinstance(one, Unmatched) or not one.key.startswith("adapter.") or one.key == "adapter.from":
                continue
            self._forget(one.key)
            if isinstance(one, Taken):
                self.entries.append(
                    Unmatched(one.source, "a saved adapter has its own", "what the saved adapter has")
                )

    def _source(self, keys: tuple[str, ...]) -> dict[str, Any]:
        found = {key: self.given[key] for key in keys if key in self.given and key not in self.told}
        self.told.update(found)
        return found

    def _forget(self, key: str) -> None:
        self.entries = [one for one in self.entries if isinstance(one, Unmatched) or one.key != key]


def default_of(key: str) -> Any:
    """Our default of a dotted key; None for one that has none."""
    *sections, last = key.split(".")
    model: Any = TrainConfig
    for name in sections:
        field = model.model_fields.get(name)
        model = field.annotation if field else method_named(name).config
    field = model.model_fields.get("from_" if last == "from" else last)
    return None if field is None or field.is_required() else field.default
