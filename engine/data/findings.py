"""Findings of the lint: the problem, the number of rows that have it, and advice."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
Kind = Literal[
    "unreadable", "unusable", "untrained", "no-end", "truncated", "duplicate", "near-duplicate", "overlap",
    "near-overlap", "augmented", "not-shown", "roles", "encoding", "script", "language", "special-tokens", "rendered",
    "placeholder", "length", "one-sided", "swapped", "prompts-differ", "length-bias", "one-label", "few-labels",
]  # fmt: skip
SHOWN = 10
"""Most rows that a finding names."""


@dataclass(frozen=True)
class Finding:
    """A problem of `count` rows out of `of`; `rows` are the first of them, by number from 0.

    `places` says where those stand, as `file.jsonl:17`; empty where that was not looked up.
    """

    kind: Kind
    severity: Severity
    message: str
    fix: str
    count: int
    of: int
    rows: tuple[int, ...] = ()
    places: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the rows, 0 to 1."""
        return self.count / self.of if self.of else 0.0

    @staticmethod
    def from_json(body: dict[str, Any]) -> "Finding":
        """The finding whose fields were written as JSON."""
        return Finding(**{**body, "rows": tuple(body["rows"]), "places": tuple(body["places"])})


@dataclass(frozen=True)
class SoFar:
    """Findings when `rows` out of `of` have been checked; `of` is None as long as they are not counted.

    `findings` works the findings out when it is called, which takes a moment. `problems` are rows that cannot be used.
    """

    rows: int
    of: int | None
    findings: Callable[[], tuple[Finding, ...]]
    problems: tuple[str, ...] = ()


Watch = Callable[[SoFar], None]
"""Receives partial findings from time to time."""


FEWEST = 10
"""Fewest rows whose share can be an error: one of five validation rows is no reason to stop a run."""


@dataclass(frozen=True)
class Rule:
    """Shares of the rows from which a finding is an error, or a warning; below them it is a note."""

    fix: str
    warning: float = 0.0
    error: float | None = None

    def severity(self, count: int, of: int) -> Severity:
        share = count / max(of, 1)
        if self.error is not None and share >= self.error and of >= FEWEST:
            return "error"
        return "warning" if share >= self.warning else "note"


RULES: Mapping[Kind, Rule] = {
    "unreadable": Rule("Fix these rows, or remove them.", warning=0.1, error=0.5),
    "unusable": Rule(
        "Fix these rows, or check that data.format and data.columns describe them.",
        warning=0.1,
        error=0.5,
    ),
    "untrained": Rule("Give these rows an answer, or remove them.", error=0.01),
    "no-end": Rule(
        "Use a chat template that ends an answer with the model's end token: without it the model is never taught "
        "to stop.",
        error=0.5,
    ),
    "not-shown": Rule(
        "The model will not learn it. ft's own template may show it (model.chat_template: chatml), or the model's "
        "with other settings (model.template_variables)."
    ),
    "truncated": Rule("Raise model.max_seq_length, or shorten the rows.", warning=0.01, error=0.5),
    "duplicate": Rule("Remove the copies: `ft data prepare` does that.", warning=0.01),
    "near-duplicate": Rule("Check whether these rows add anything new.", warning=0.05),
    "overlap": Rule(
        "Remove these rows from the validation set: their loss measures what was memorised.", error=0.2
    ),
    "augmented": Rule(
        "Split off validation rows before augmenting, and name them: data.validation: FOLDER/validation.jsonl.",
        error=0.2,
    ),
    "near-overlap": Rule("Validate on rows that differ from the training rows.", warning=0.05),
    "roles": Rule("Fix the order of these turns: a question, then its answer.", error=0.5),
    "encoding": Rule(
        "Convert the original from its real encoding to UTF-8 (`iconv -f … -t utf-8`).", error=0.2
    ),
    "script": Rule("Check whether these rows belong here.", warning=2.0),
    "language": Rule("Check whether these rows belong here.", warning=2.0),
    "special-tokens": Rule(
        "Remove the control tokens from the text: the chat template adds them where they belong.", error=0.1
    ),
    "placeholder": Rule(
        "Remove the placeholder, or leave these rows out: ft trains text only, and what it stands for is missing.",
        warning=0.01,
    ),
    "rendered": Rule(
        "No chat template is put around text. Where these are conversations, give their turns as `messages`, so that "
        "only the answers are trained; else leave them as they are."
    ),
    "length": Rule(
        "Check these rows: those much longer than all others are often several documents in one.", 2.0
    ),
    "one-sided": Rule(
        "Balance the answers: otherwise the model learns to give the most frequent one whatever the question."
    ),
    "swapped": Rule(
        "Check that `chosen` is the better answer. Where the columns are the other way round: "
        "--set 'data.columns={chosen: rejected, rejected: chosen}'",
        warning=0.01,
    ),
    "prompts-differ": Rule(
        "Give both answers the same turns before them: else the model learns to tell the prompts apart.",
        warning=0.05,
    ),
    "length-bias": Rule(
        "The model may learn the length alone. Balance the pairs, or compare by length: training.method: simpo, or "
        "dpo.length_normalised: true"
    ),
    "one-label": Rule(
        "Learning from labels takes answers of both kinds. With good answers alone, use training.method: sft."
    ),
    "few-labels": Rule(
        "Raise the weight of these answers, so that weight x rows is about the same on both sides: "
        "kto.desirable_weight (good), kto.undesirable_weight (bad)."
    ),
}
"""Advice for each kind of finding, and its severity by share."""
WORST: tuple[Severity, ...] = ("error", "warning", "note")


def sorted_by_weight(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, and those of more rows before others."""
    return tuple(sorted(findings, key=lambda one: (WORST.index(one.severity), -one.share)))
