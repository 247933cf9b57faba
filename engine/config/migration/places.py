"""Files that another trainer's file names, as the new recipe has to name them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from engine.config.recipe_paths import ENDING, HUB_ID, STARTER, scheme


@dataclass(frozen=True)
class Places:
    """`source` is the folder of the file that is read, `target` the one where the recipe will be."""

    source: Path
    target: Path

    def found(self, name: str) -> Path | None:
        """The file or folder of this name: beside the file, or where the command runs, as those trainers read it."""
        if not name or scheme(name):
            return None
        for folder in (self.source, Path.cwd()):
            path = Path(os.path.normpath(folder.absolute() / _expanded(name)))
            if _exists(path):
                return path
        return None

    def model(self, name: str) -> str:
        """A model's folder as seen from the recipe, or a hub id as it is."""
        path = self.found(name)
        if path is not None and path.is_dir():
            return self.written(path, name)
        return self._moved(name) if name.startswith((".", "/", "~")) else _not_starter(name)

    def rows(self, name: str) -> str:
        """A file or folder of rows as seen from the recipe; an address or a hub id as it is."""
        path = self.found(name)
        if path is not None:
            return self.written(path, name)
        if scheme(name):
            return name
        hub = HUB_ID.fullmatch(name) and not ENDING.search(name)
        return name if hub else self._moved(name)

    def folder(self, name: str) -> str:
        """A folder to write to, which need not be there."""
        return self._moved(name)

    def written(self, path: Path, name: str) -> str:
        """The path as the recipe names it: relative where the file's own `name` is."""
        if name.startswith(("/", "~")):
            return name
        seen = os.path.relpath(path, self.target.absolute())
        return seen if seen.startswith(".") or re.search(r"\.\w+$", seen) else f"./{seen}"

    def _moved(self, name: str) -> str:
        if "\x00" in name or name.startswith(("/", "~")):
            return name
        return self.written(Path(os.path.normpath(self.source.absolute() / name)), name)


def _not_starter(name: str) -> str:
    return f"./{name}" if name == STARTER else name  # elsewhere it can only be a folder


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~someone who has no home here
        return Path(name)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or not to be entered
        return False
