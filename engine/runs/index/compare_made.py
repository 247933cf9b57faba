"""Two runs by what was made of them: scores of `ft evaluate`, answers to the same prompts, exports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.metrics.registry import EVAL_LOSS, describe
from engine.runs.directory.events import Memory, Sample, Step
from engine.runs.directory.run import Run
from engine.runs.directory.state import RunState
from engine.runs.index.compare_row import Row, better_of, overlapping
from engine.runs.index.made_of import Answer, Evaluated, Exported, evaluations_of, exports_of
from engine.units import one_line

OWN_ROWS = "own validation rows"
OF_TOKENS = (EVAL_LOSS, "perplexity")
"""Metrics per token, which say nothing of models that cut tokens otherwise."""
TAIL = 4 << 20
"""Bytes at the end of a run's events in which its last samples are looked for."""
MOST_ANSWERS = 8
"""Prompts that are shown."""


@dataclass(frozen=True)
class Made:
    """What was made of one run."""

    scores: tuple[Evaluated, ...]
    answers: Mapping[str, Answer]
    """By prompt: the last samples of its training, then those of its last evaluation."""
    exports: tuple[Exported, ...]

    @staticmethod
    def of(run: Run, state: RunState) -> "Made":
        """Read what is there; what is missing or damaged is absent."""
        scores = tuple(evaluations_of(run))
        answers = _samples(run, state)
        for evaluation in scores[-1:]:
            answers = answers | evaluation.answers()
        return Made(scores, answers, tuple(exports_of(run)))


def score_rows(left: Made, right: Made, same_tokens: bool, same_rows: bool) -> tuple[Row, ...]:
    """Scores by metric and rows, the latest of each.

    The better is named where both were computed on the same rows: `same_rows` says that of the runs' own validation
    rows; scores a token are compared only with `same_tokens`. Where their intervals overlap, neither is.
    """
    ours, theirs = _latest(left.scores), _latest(right.scores)
    found = []
    for metric, rows in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get((metric, rows)), theirs.get((metric, rows))
        prints = {made.fingerprint for made in (one, other) if made and made.fingerprint}
        fair = (same_tokens or metric not in OF_TOKENS) and (rows is not None or same_rows)
        fair &= len(prints) < 2 or not same_tokens  # the same texts are other tokens for another tokenizer
        a, b = (made.scores[metric] if made else None for made in (one, other))
        left_interval, right_interval = (
            made.intervals.get(metric) if made else None for made in (one, other)
        )
        better = better_of(a, b, describe(metric).better) if fair else ""
        overlap = bool(better) and overlapping(left_interval, right_interval)
        title = f"{describe(metric).title} on {_named(rows)}"
        named = "" if overlap else better
        found.append(Row(title, a, b, named, metric, left_interval, right_interval, overlap))
    return tuple(found)


def answer_rows(left: Made, right: Made) -> tuple[Row, ...]:
    """Answers to prompts that both have answered, those that differ first."""
    rows = [
        Row(one_line(answer.asked, 60), answer.text, right.answers[prompt].text)
        for prompt, answer in left.answers.items()
        if prompt in right.answers
    ]
    return tuple(sorted(rows, key=lambda row: row.same)[:MOST_ANSWERS])


def export_rows(left: Made, right: Made) -> tuple[Row, ...]:
    """Exports by format and quantisation, the latest of each: the folder, and what was proved."""
    one, other = ({_format(export): _outcome(export) for export in made.exports} for made in (left, right))
    return tuple(Row(key, one.get(key), other.get(key)) for key in dict.fromkeys([*one, *other]))


def _latest(scores: Sequence[Evaluated]) -> dict[tuple[str, str | None], Evaluated]:
    return {(metric, made.rows): made for made in scores for metric in made.scores}


def _named(rows: str | None) -> str:
    return OWN_ROWS if rows is None else Path(rows).name if rows.startswith("/") else rows


def _format(export: Exported) -> str:
    quantization = export.options.get("quantization")
    return f"{export.exporter} {quantization}" if quantization else export.exporter


def _outcome(export: Exported) -> str:
    return f"{_verdict(export.proof)}: {export.out}"


def _verdict(proof: Mapping[str, Any] | None) -> str:
    if proof is None:
        return "not proved"
    top1, divergence = proof.get("top1"), proof.get("kl_mean")
    told = "proved" if proof.get("passed") else "over its limits"
    if isinstance(top1, int | float) and isinstance(divergence, int | float):
        return f"{told}, top-1 {top1:.1%}, KL {divergence:.2g}"
    return told


def _samples(run: Run, state: RunState) -> dict[str, Answer]:
    """The last answer to each sample prompt, as far as the end of the events has it."""
    since = max(0, run.position() - TAIL)
    try:
        events = list(run.events(since=since, without=(Step, Memory)))
    except OSError:
        return {}
    found = [event for event in events if isinstance(event, Sample) and event.step <= state.step]
    return {event.prompt: Answer(event.prompt, event.text) for event in found}
