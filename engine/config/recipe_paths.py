"""A recipe's paths are written as seen from its own folder; a run needs them absolute."""

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

from engine import addresses, plugins
from engine.config.schema import TrainConfig
from engine.config.sections import Source
from engine.errors import DataError, ModelError

STARTER = "starter"
TEMPLATE_ENDINGS = (".jinja", ".jinja2", ".j2")
"""Characters that distinguish the path of a chat template from the name of one."""
HUB = "hf://datasets/"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
ENDING = re.compile(r"\.[A-Za-z]\w*$")
SCHEME = re.compile(r"([a-z][a-z0-9+-]+):")


def absolute(config: TrainConfig, folder: Path) -> TrainConfig:
    """The same recipe with `~` expanded and every path absolute; `starter`, hub ids and URLs stay."""
    model, data, output, start = config.model, config.data, config.output, config.adapter.from_
    train = data.train
    base, template = model.base, model.chat_template
    model = model.model_copy(
        update={
            "base": _file(base, folder) if _is_folder(base, folder) else base,
            "chat_template": _file(template, folder) if _is_template_file(template) else template,
        }
    )
    data = data.model_copy(
        update={
            "train": [_source(s, folder) for s in train]
            if isinstance(train, list)
            else _source(train, folder),
            "validation": data.validation
            if isinstance(data.validation, float)
            else _source(data.validation, folder),
        }
    )
    output = output.model_copy(update={"dir": output.dir and _file(output.dir, folder)})
    adapter = config.adapter
    if start is not None and _is_folder(start, folder):
        adapter = adapter.model_copy(update={"from_": _file(start, folder)})
    return config.model_copy(update={"model": model, "data": data, "adapter": adapter, "output": output})


def check_files(config: TrainConfig) -> None:
    """Raise `DataError` or `ModelError` where a file or folder that the recipe names is not there."""
    missing = [f"{key}: {path} does not exist" for key, path in sources(config) if _is_missing(path)]
    for key, path in sources(config):
        try:
            addresses.split(path if "://" in path else "")
        except ValueError as error:
            raise DataError(f"{key}: {path} is not an address: {error}", "Check the address.") from error
    if missing:
        raise DataError("\n".join(missing), "Relative paths start at the recipe's own folder.")
    base = config.model.base
    if base.startswith("/") and not Path(base).is_dir():
        raise ModelError(
            f"model.base: {base} does not exist", "Relative paths start at the recipe's own folder."
        )
    start = config.adapter.from_
    ways = {start, re.sub(r"@\d+$", "", start)} if start is not None and start.startswith("/") else set()
    if ways and not any(Path(way).exists() for way in ways):
        raise ModelError(f"adapter.from: {start} does not exist", "Name a run, or the folder of an adapter.")
    template = config.model.chat_template
    if _is_template_file(template) and not Path(template).is_file():
        raise ModelError(
            f"model.chat_template: {template} does not exist",
            "Relative paths start at the recipe's own folder.",
        )


def _is_template_file(name: str) -> bool:
    return name.endswith(TEMPLATE_ENDINGS)


def _is_missing(path: str) -> bool:
    if path == STARTER or scheme(path):
        return False
    return not Path(path).exists() and not glob.glob(path, recursive=True)  # noqa: PTH207 - absolute


def scheme(source: str) -> str:
    """The scheme of a source that is not on this disk, as `https`; empty where it is a path."""
    found = SCHEME.match(source)
    named = found.group(1) if found else ""
    known = named and ("://" in source or named == "gdrive" or named in plugins.installed(plugins.SOURCES))
    return named if known else ""


def data_source(source: str, folder: Path) -> str:
    """A source of rows as seen from anywhere: paths absolute, a hub dataset by its whole address.

    OWNER/NAME is a dataset of the hub where no folder OWNER is here and NAME has no ending, as files have.
    """
    if source == STARTER or scheme(source):
        return source
    if HUB_ID.fullmatch(source) and not ENDING.search(source) and not (folder / source).parent.is_dir():
        return HUB + source
    return _file(source, folder)


def sources(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Key and path of every data file that the recipe names."""
    train, validation = config.data.train, config.data.validation
    many = isinstance(train, list)
    for index, source in enumerate(train if isinstance(train, list) else [train]):
        yield f"data.train[{index}]" if many else "data.train", _path(source)
    if not isinstance(validation, float):
        yield "data.validation", _path(validation)


def _path(source: str | Source) -> str:
    return source.path if isinstance(source, Source) else source


def _source(source: str | Source, folder: Path) -> str | Source:
    if isinstance(source, Source):
        return source.model_copy(update={"path": data_source(source.path, folder)})
    return data_source(source, folder)


def _file(path: str, folder: Path) -> str:
    if path == STARTER or "://" in path:
        return path
    return os.path.normpath(folder.absolute() / _expanded(path))


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~someone who has no home here: the file will be reported as missing
        return Path(path)


def _is_folder(base: str, folder: Path) -> bool:
    """True if `model.base` is a folder, not a hub id, or `adapter.from` one and not a run.

    An id has no dot, ~ or slash in front.
    """
    if base == STARTER:
        return False
    try:
        return base.startswith((".", "~", "/")) or (folder / base).is_dir()
    except (OSError, ValueError):
        return False
