"""A recipe from another trainer's file: find the tool, carry out its table, check the result."""

import re
from pathlib import Path

from engine.config.load import load_text
from engine.config.migration.compose import MISSING, recipe_text
from engine.config.migration.draft import Draft
from engine.config.migration.found import Tool, tool_named, tool_of
from engine.config.migration.places import Places
from engine.config.migration.report import Migration
from engine.config.migration.rules import carry_out
from engine.config.migration.source_file import read_source
from engine.config.problems import Problem, RecipeError

TRIES = 100
"""Rounds in which keys that the schema refuses are taken out: each takes out one at least."""


def migrated(source: Path, target: Path, named: str | None = None) -> Migration:
    """The recipe that says what the file `source` says, for `target`, which is not written here.

    `named` is the file's format, where its keys should not tell. Raises ConfigError where the file cannot be read or
    is no known tool's, MachineError where it may not be read.
    """
    given = read_source(source)
    tool, signs = (tool_named(named), ()) if named else tool_of(given, str(source))
    draft = Draft(tool.prepared(given), Places(source.parent, target.parent))
    carry_out(tool.table, draft, tool.name)
    text = _accepted(draft, tool, source, target)
    return Migration(tool.name, signs, tuple(draft.entries), text)


def _accepted(draft: Draft, tool: Tool, source: Path, target: Path) -> str:
    """The recipe's text once the schema takes it: keys that it refuses are told as without equal."""
    for _ in range(TRIES):
        text = recipe_text(tool.name, source.name, draft.entries)
        try:
            load_text(text, target)
        except RecipeError as error:
            taken_out = [_taken_out(draft, problem) for problem in error.problems]
            if not any(taken_out):
                raise
        else:
            return _with_missing(draft, tool, source, text)
    raise AssertionError("every round takes a key out")  # pragma: no cover


def _with_missing(draft: Draft, tool: Tool, source: Path, text: str) -> str:
    """The text, where what a recipe must have and the file does not say is told."""
    for key, (stands_in, _) in MISSING.items():
        if key not in draft.values:
            draft.note(f"the file does not say {key}", f"{stands_in}, for you to change")
            text = recipe_text(tool.name, source.name, draft.entries)
    return text


def _taken_out(draft: Draft, problem: Problem) -> bool:
    """Take the key of a problem out of the draft; False if none of its keys is at fault."""
    key = re.split(r"\[", problem.key)[0]
    why = problem.message.removeprefix(f"{problem.key}: ")
    at_fault = [ours for ours in draft.values if key == ours or key.startswith(f"{ours}.")]
    return any(draft.drop(ours, why) for ours in at_fault)
