"""A run's recipe as the start of another one."""

import re
from collections.abc import Collection
from pathlib import Path

from engine.config.adapters import KEYS, REUSABLE
from engine.config.patch import remove, set_value
from engine.config.yaml_reader import read_yaml
from engine.errors import ConfigError
from engine.runs.directory import registry
from engine.runs.directory.recipe import flattened, read_config
from engine.storage.disk_errors import unreadable
from engine.storage.regular_files import read_text

LONGEST_NAME = 64


def fork_text(folder: Path, taken: Collection[str]) -> str:
    """The text of a run's recipe under a name that is not in `taken`, with its comments where that can be.

    What the run used other than its text says (overrides, absolute paths) is written into it; `output.dir`
    goes, since the run lies there. Raises ConfigError where neither recipe of the run can be read.
    """
    resolved, problem = read_config(folder / registry.RECIPE)
    try:
        return _adapted(read_text(folder / "source.yml"), resolved, taken)
    except (OSError, UnicodeDecodeError, ConfigError):
        pass  # the resolved recipe says the same, without the comments
    if problem or not resolved:
        raise ConfigError(
            f"The recipe of {folder.name} cannot be read.",
            problem or f"Neither source.yml nor train.yml is in {folder}",
        )
    try:
        return _adapted(read_text(folder / registry.RECIPE), {}, taken)
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(f"The recipe of {folder.name}", error) from error


def continued_text(folder: Path, run_id: str, taken: Collection[str]) -> str:
    """The text of a recipe that starts from what a run has trained; a person gives it other rows.

    What the adapter fixes is taken out of its section `adapter`. Raises as `fork_text` does, ConfigError where no run
    can start from an adapter of that type.
    """
    resolved, _ = read_config(folder / registry.RECIPE)
    text, kind = fork_text(folder, taken), resolved.get("adapter.type", "lora")
    if kind == "none":
        return set_value(text, "model.base", str(folder / "model"))
    if kind not in REUSABLE:
        raise ConfigError(
            f"No run can start from an adapter of type {kind}.", "Fork the recipe alone, and train a new one."
        )
    for key in KEYS:
        if key != "dropout":
            text = remove(text, f"adapter.{key}")
    return set_value(remove(text, "adapter.type"), "adapter.from", run_id)


def free_name(name: str, taken: Collection[str]) -> str:
    """`sql-2` for `sql`, `sql-3` where that is taken, and so on."""
    stem, number = name, 2
    if found := re.fullmatch(r"(.+)-(\d{1,4})", name):
        stem, number = found[1], int(found[2]) + 1
    while (free := f"{stem[: LONGEST_NAME - len(str(number)) - 1]}-{number}") in taken:
        number += 1
    return free


def _adapted(text: str, resolved: dict[str, object], taken: Collection[str]) -> str:
    values = read_yaml(text, "the recipe", []).data()
    if not isinstance(values, dict):
        raise ConfigError("The recipe is not a mapping.")
    written = dict(flattened(values))
    said = (_defaults() if resolved else {}) | written
    for key, value in resolved.items():
        if key != "output.dir" and not (key in said and _same(said[key], value)):
            text = set_value(text, key, value)
    if written.get("output.dir") is not None:
        text = remove(text, "output.dir")
    name = resolved.get("name") or written.get("name")
    return set_value(text, "name", free_name(str(name or "run"), taken))


def _same(written: object, used: object) -> bool:
    """Return True if two values mean the same: `1` and `1.0` do, and so do `no` and false."""
    words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    texts = [str(value).lower() for value in (written, used)]
    return written == used or words.get(texts[0], texts[0]) == texts[1]


def _defaults() -> dict[str, object]:
    from engine.config.schema import TrainConfig

    shortest = TrainConfig.model_validate({"model": {"base": "starter"}, "data": {"train": "starter"}})
    return dict(flattened(shortest.model_dump(mode="json")))
