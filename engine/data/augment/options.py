"""Options of augmentation, and counts of its results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from engine.data.types import Completion, Prompt

Kind = Literal["paraphrase", "back-translation", "new-rows", "pairs"]
STEPS: dict[Kind, int] = {"paraphrase": 1, "back-translation": 2, "new-rows": 2, "pairs": 1}
"""Answers of the model that make one row: a translation and its way back, a question and its answer."""
SEEDS = 3
"""Training rows that a new row is made after."""
Ask = Callable[[Sequence[Prompt]], Sequence[Completion]]
"""Lets the model answer a batch of prompts. The same batch gets the same answers."""


@dataclass(frozen=True)
class Options:
    """Settings by which rows are made.

    `amount` is how many are asked for, as a share of the training rows that they can be made from; a row that is
    rejected is asked for again, up to `tries` times in all. `model` is the name that is written down, `fingerprint`
    that of its weights. `language` is the rows', `through` the one that a translation comes back from; the model is
    told both as they are written. `context` is how many tokens the model can take in, 0 where that is not known.
    """

    kind: Kind
    model: str
    fingerprint: str
    chat_template: str = "auto"
    template_variables: Mapping[str, Any] | None = None
    context: int = 0
    amount: float = 1.0
    language: str = "English"
    through: str = "German"
    temperature: float = 0.8
    max_tokens: int = 256
    tries: int = 2
    seed: int = 42

    def mark(self, lines: Sequence[int], file: str) -> dict[str, Any]:
        """Mark of a row made from some lines of a file, numbered from 1."""
        return {
            "kind": self.kind,
            "from": [f"{file}:{line}" for line in lines],
            "model": self.model,
            "seed": self.seed,
        }


@dataclass
class Augmented:
    """Results: `answers` were judged; one that became a row is in `made`, another in `rejected`, by reason."""

    options: Options
    aside: int = 0
    """Training rows that nothing can be made from: without a question, too long, made by a model themselves."""
    asked: int = 0
    made: int = 0
    answers: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """By the reasons of `checks`."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """The first words of some rejected answers, by reason."""

    def to_json(self) -> dict[str, Any]:
        """For the report: the options beside the counts."""
        body = asdict(self)
        return {**body.pop("options"), **body}
