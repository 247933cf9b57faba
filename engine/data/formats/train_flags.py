"""Flags on a turn that say whether it is trained, under the names of several tools."""

import re
from collections.abc import Mapping
from typing import Any

from engine.data.formats.base import RowError, is_null, kind

FLAGS = frozenset(("weight", "train", "training", "loss", "loss_mask", "loss_weight", "loss_scale"))
"""OpenAI's, axolotl's, ms-swift's and LLaMA-Factory's names. 0 or false: the turn is context and not trained."""
PARTS_OF_A_TURN = "train_detail"
"""axolotl's list of characters of a turn that are trained, or not."""
_LIKE_A_FLAG = re.compile(r"train|loss|mask|weight|supervis|ignore|skip|exclude")


def is_trained(turn: Mapping[str, Any], place: str) -> bool:
    """Return True if an assistant's turn is trained: unless one of `FLAGS` says no.

    Raises `RowError` for a flag that is neither yes nor no, and for one that speaks of parts of the turn.
    """
    trained = True
    for name in () if FLAGS.isdisjoint(turn) else sorted(FLAGS & turn.keys()):
        value = turn[name]
        if is_null(value):
            continue
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            why = "; ft cannot train a turn by a fraction" if isinstance(value, int | float) else ""
            raise RowError(f"`{place}.{name}` is {kind(value)}; it is 0 (not trained) or 1{why}")
        trained = trained and bool(value)
    if turn.get(PARTS_OF_A_TURN):
        raise RowError(
            f"`{place}.{PARTS_OF_A_TURN}` chooses characters of the answer; ft trains a turn whole or not at all",
            fix="Split the answer into turns with `train` true or false, or leave `train_detail` out.",
        )
    return trained


def asks_for_training(turn: Mapping[str, Any]) -> bool:
    """Return True if all flags of a turn, not the assistant's, ask for training."""
    values = [turn[name] for name in FLAGS & turn.keys() if turn[name] is not None]
    return bool(values) and all(value in (1, True) for value in values)


def looks_like_a_flag(key: str, value: Any) -> bool:
    """Return True for an unknown key that may say if a turn is trained."""
    return isinstance(value, bool | int | float) and _LIKE_A_FLAG.search(key.lower()) is not None
