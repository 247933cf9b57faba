"""Output folder of an export: there whole or not at all, and marked as one, so that a later export may replace it."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, MachineError
from engine.storage.regular_files import read_text
from engine.units import size

MARK = "export.json"
"""File in every export: format, facts, model, run, fingerprint of the weights, and the proof of parity."""


@dataclass(frozen=True)
class Output:
    """The folder `out`, filled under another name beside it. `token` tells the exports that may go on there apart."""

    out: Path
    token: str

    @property
    def making(self) -> Path:
        """Folder that is filled, and becomes `out` at the end."""
        return self.out.with_name(f".{self.out.name}.making-{self.token}")

    @property
    def replaced(self) -> Path:
        """Earlier export, out of the way for the moment in which the new one gets its name."""
        return self.out.with_name(f".{self.out.name}.replaced-{self.token}")

    def check(self, force: bool) -> None:
        """Raise ConfigError where something is there already; with `force`, unless it is an export or is empty."""
        if not os.path.lexists(self.out):
            return
        if not force:
            raise ConfigError(
                f"{self.out} exists already.",
                "Give --out a new name, or replace an earlier export with --force.",
            )
        if self.out.is_symlink() or not self.out.is_dir():
            raise ConfigError(
                f"{self.out} is not a folder; --force replaces earlier exports alone.",
                "Give --out a new name.",
            )
        if any(self.out.iterdir()) and read_mark(self.out) is None:
            raise ConfigError(
                f"{self.out} was not made by an export (it has no {MARK}); --force replaces earlier exports alone.",
                "Give --out a new name, or remove the folder yourself.",
            )

    def need_space(self, bytes_needed: int) -> None:
        """Raise MachineError where the disk has less room."""
        there = next(parent for parent in self.out.parents if parent.is_dir())
        free = shutil.disk_usage(there).free
        if free < bytes_needed:
            raise MachineError(
                f"The disk of {there} has {size(free)} free; the export needs about {size(bytes_needed)}.",
                "Free some space, or choose a folder on another disk with --out.",
            )

    def place(self, mark: Mapping[str, Any], force: bool) -> None:
        """Mark the filled folder and give it its name. Raises ConfigError as `check` does, OSError."""
        text = json.dumps(mark, indent=2, ensure_ascii=False, default=str)
        (self.making / MARK).write_text(text + "\n", encoding="utf-8")
        self.check(force)
        if self.out.is_dir():
            self.out.rename(self.replaced)
        self.making.rename(self.out)
        shutil.rmtree(self.replaced, ignore_errors=True)

    def clean_up(self) -> None:
        """Remove what was not finished; bring an earlier export back where the new one did not get its name."""
        shutil.rmtree(self.making, ignore_errors=True)
        if self.replaced.is_dir() and not os.path.lexists(self.out):
            with suppress(OSError):
                self.replaced.rename(self.out)
        shutil.rmtree(self.replaced, ignore_errors=True)


def read_mark(folder: Path) -> Mapping[str, Any] | None:
    """Content of the mark in an export's folder; None where it is not an export."""
    try:
        body = json.loads(read_text(folder / MARK))
    except (OSError, ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and "format" in body else None
