"""Advice to set something, `--set KEY=VALUE` where rows are read, as it is followed where there is no `--set`."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import DataError

OPTION = re.compile(r"--set ('[^']*'|\S+?(?=[.,;)]*(?:\s|$)))")
"""The option with its value, without punctuation behind it."""


def in_recipe(text: str) -> str:
    """The text with each option as the recipe has it, `KEY: VALUE`."""
    return OPTION.sub(lambda found: found[1].strip("'").replace("=", ": ", 1), text)


def by_prepare(text: str, source: str | None) -> str:
    """The text with each option given to `ft data prepare`, which writes rows that need no settings.

    `source` is what `--data` names, as `recipe_paths.data_source` gives it, or None where it is left out.
    """
    if not OPTION.search(text):
        return text
    prepare = f"ft data prepare {shlex.quote(_named(source))} --validation 0 -o FOLDER"
    return OPTION.sub(lambda found: f"`{prepare} --set {found[1]}`", text)


@contextmanager
def without_settings(source: str | None) -> Iterator[None]:
    """Give a DataError of the block advice for a command that has `--data`, which is `source`, and no recipe."""
    try:
        yield
    except DataError as error:
        if (hint := by_prepare(error.hint, source)) == error.hint:
            raise
        raise DataError(error.message, f"{hint.rstrip('.')}. Then: --data FOLDER/train.jsonl") from error


def _named(source: str | None) -> str:
    if source is None:
        return "FILE"
    from engine.config.sections import Source  # pydantic, which who only watches a run does without
    from engine.data.sources.resolve import shown

    return shown(Source(path=source))
