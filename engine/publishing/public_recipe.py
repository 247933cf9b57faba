"""A run's recipe as others may read it: without secrets, and without the folders of this machine."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.load import HEADER, Recipe
from engine.config.recipe_paths import HUB, STARTER, scheme
from engine.redaction import HIDDEN, public_url, redacted

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.config.sections import Source

_SECRET = re.compile(r"\$\{URL_[0-9A-F]{8}\}@?")
"""Place of an address's secret: see `engine.addresses`."""


def public_recipe(config: "TrainConfig", base: str) -> str:
    """The recipe as YAML; `base` is the published name of its model.

    Files go by their names alone. `output` and `tags` are left out: they say where and as what a run is kept here.
    """
    adapter, template = config.adapter, config.model.chat_template
    model = {"base": base, "chat_template": Path(template).name if "/" in template else template}
    data: dict[str, Any] = {"train": _sources(config.data.train)}
    if not isinstance(config.data.validation, float):
        data["validation"] = _source(config.data.validation)
    if adapter.from_ is not None:
        adapter = adapter.model_copy(update={"from_": Path(adapter.from_).name})
    public = config.model_copy(
        update={
            "model": config.model.model_copy(update=model),
            "data": config.data.model_copy(update=data),
            "adapter": adapter,
        }
    )
    text = Recipe(public, Path(), "").resolved().removeprefix(HEADER)
    return redacted(_without(text, "output", "tags"))


def source_names(config: "TrainConfig") -> tuple[str, ...]:
    """Names of the training rows' sources, as others may read them."""
    named = config.data.train
    return tuple(
        public_source(one if isinstance(one, str) else one.path)
        for one in (named if isinstance(named, list) else [named])
    )


def hub_datasets(config: "TrainConfig") -> tuple[str, ...]:
    """Ids of the hub's datasets among the training rows' sources."""
    return tuple(dict.fromkeys(name for name in source_names(config) if _is_dataset(config, name)))


def public_source(path: str) -> str:
    """A source of rows by a name that others may read: a file's name, a dataset's id, an address without secrets."""
    if path == STARTER:
        return path
    if path.startswith(HUB):
        return path.removeprefix(HUB)
    kind = scheme(path)
    if kind == "gdrive":
        return f"gdrive:{HIDDEN}"  # who has the id may have the file
    return redacted(_SECRET.sub("", public_url(path))) if kind else Path(path).name


def _is_dataset(config: "TrainConfig", name: str) -> bool:
    named = config.data.train
    paths = [
        one if isinstance(one, str) else one.path for one in (named if isinstance(named, list) else [named])
    ]
    return f"{HUB}{name}" in paths


def _sources(named: "str | Source | list[str | Source]") -> Any:
    return [_source(one) for one in named] if isinstance(named, list) else _source(named)


def _source(one: "str | Source") -> "str | Source":
    if isinstance(one, str):
        return public_source(one)
    return one.model_copy(update={"path": public_source(one.path)})


def _without(text: str, *sections: str) -> str:
    """YAML without some of its outermost keys."""
    kept, dropped = [], False
    for line in text.splitlines(keepends=True):
        if not line.startswith((" ", "-")):
            dropped = line.split(":")[0] in sections
        if not dropped:
            kept.append(line)
    return "".join(kept)
