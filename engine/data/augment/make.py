"""Training rows → more training rows, by a model's answers, each of them checked."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from engine.data.augment import prompts
from engine.data.augment.jobs import ROWS, TOKENS, jobs_of
from engine.data.augment.journal import Journal
from engine.data.augment.maker import Maker
from engine.data.augment.options import SEEDS, Ask, Augmented, Options
from engine.data.augment.pairs import PairMaker
from engine.data.augment.pool import Pool
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Preference, Row
from engine.errors import DataError


def augment(
    folder: Path,
    options: Options,
    tokenizer: Tokenizer,
    ask: Ask,
    journal: Journal,
    progress: Callable[[int, int], None],
    train: str = "train.jsonl",
    validation: str = "validation.jsonl",
) -> tuple[list[Row | Preference], Augmented]:
    """The rows that `ask` makes of those in `train`, in their order, each marked; and what has come of it.

    `ask` gets prompts in batches that are always the same, and what it answers is kept in `journal`: begun again, the
    same rows come out. `progress(done, total)` counts answers. Rows of `validation` are only compared with: none is
    shown to the model, and nothing like one is kept. Raises `DataError` where no row can be made of these.
    """
    pool = Pool(folder / train, folder / validation, options.kind, tokenizer, options.max_tokens)
    if len(pool.lines) < (SEEDS if options.kind == "new-rows" else 1):
        raise DataError(*_nothing(options, len(pool.lines)))
    journal.begin(_key(options, folder / train, folder / validation))
    kind = PairMaker if options.kind == "pairs" else Maker
    maker = kind(options, tokenizer, pool, ask, journal, progress)
    jobs = list(jobs_of(options, pool))
    for attempt in range(options.tries if options.temperature else 1):  # greedy, the answer would be the same
        maker.attempt(attempt, [job for job in jobs if job.number not in maker.made])
    rows = [
        maker.made[job.number].marked(options.mark(job.lines, train))
        for job in jobs
        if job.number in maker.made
    ]
    done = maker.report
    done.aside, done.asked, done.made = pool.aside, len(jobs), len(rows)
    return rows, done


def _key(options: Options, *files: Path) -> str:
    """All that the answers depend on: what is asked, of which rows, in which words."""
    given = {name: value for name, value in asdict(options).items() if value is not None}
    settings = json.dumps([given, prompts.ALL, [ROWS, TOKENS, SEEDS]])
    digest = hashlib.sha256(settings.encode())
    for file in files:
        if file.exists():
            with file.open("rb") as rows:
                digest.update(hashlib.file_digest(rows, "sha256").digest())
    return digest.hexdigest()


def _nothing(options: Options, found: int) -> tuple[str, str]:
    """Error for a source of which no row can be made."""
    if options.kind == "pairs":
        return (
            "No training row has a prompt with an answer of text.",
            "Pairs are made of questions and answers.",
        )
    hint = f"A question may have {options.max_tokens} tokens: --max-tokens allows more."
    if options.kind == "new-rows":
        said = f"New rows are made after {SEEDS} of one question and one answer each, and there are {found}."
        return said, f"{hint} So may an answer."
    return "No training row has a question that could be put in other words.", hint
