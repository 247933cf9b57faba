"""Files that are pushed to the hub: those of a list, and nothing else that lies in a folder."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from engine.errors import ConfigError, FtError
from engine.models import adapter_files
from engine.models.local import MORE_TEMPLATES, TEMPLATE, TOKENIZER_FILES, read_object
from engine.publishing import loss_picture, training_arguments
from engine.runs.directory.card_mark import CARD
from engine.storage.disk_errors import explaining

WEIGHTS = ("*.safetensors", "*.gguf")
ALLOWED = (
    *WEIGHTS,
    "*.safetensors.index.json",
    *TOKENIZER_FILES,
    "config.json",
    "generation_config.json",
    adapter_files.CONFIG,
    "chat_template.json",
    TEMPLATE,
    f"{MORE_TEMPLATES}/*.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "Modelfile",
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
    CARD,
    loss_picture.NAME,
    training_arguments.NAME,
)
"""Patterns of paths within the folder."""
CODE = ("configuration_*.py", "modeling_*.py", "tokenization_*.py", "processing_*.py")
"""Code of a model that brings its own, as its config.json then says by `auto_map`."""


@dataclass(frozen=True)
class PushedFiles:
    """Files of a folder by their paths in the repository, with their sizes in bytes, and the paths that stay here."""

    folder: Path
    sizes: dict[str, int]
    left_out: tuple[str, ...]

    @property
    def total(self) -> int:
        return sum(self.sizes.values())


def pushed_files(folder: Path) -> PushedFiles:
    """The files of a folder that may be pushed: regular ones of `ALLOWED`; no link is followed, nothing hidden taken.

    Raises ConfigError where there are no weights among them, MachineError where the folder cannot be read.
    """
    allowed = (*ALLOWED, *(CODE if _brings_code(folder) else ()))
    sizes, left_out = {}, []
    with explaining(folder):
        for name, path in sorted(_entries(folder)):
            status = path.lstat()
            wanted = any(
                fnmatchcase(name, pattern) and pattern.count("/") == name.count("/") for pattern in allowed
            )
            if wanted and stat.S_ISREG(status.st_mode) and not path.name.startswith("."):
                sizes[name] = status.st_size
            else:
                left_out.append(name)
    if not any(fnmatchcase(name, pattern) for name in sizes for pattern in WEIGHTS):
        raise ConfigError(
            f"{folder} has no weights to push ({', '.join(WEIGHTS)}).",
            "Name a run, or a folder that `ft export` wrote.",
        )
    return PushedFiles(folder, sizes, tuple(left_out))


def _entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """What lies in a folder, and in the folder of its templates, by path; other folders are one entry."""
    for path in folder.iterdir():
        if path.name == MORE_TEMPLATES and path.is_dir() and not path.is_symlink():
            yield from ((f"{path.name}/{inner.name}", inner) for inner in path.iterdir())
        else:
            yield path.name, path


def _brings_code(folder: Path) -> bool:
    try:
        return "auto_map" in read_object(folder / "config.json")
    except FtError:
        return False
