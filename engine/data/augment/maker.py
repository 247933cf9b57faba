"""Rows out of a model's answers, step by step, each answer checked."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.data.augment import checks, prompts
from engine.data.augment.checks import Reason
from engine.data.augment.jobs import Job, batches
from engine.data.augment.journal import Journal
from engine.data.augment.options import STEPS, Ask, Augmented, Options
from engine.data.augment.pool import Pool
from engine.data.augment.questions import answer_of, new_row, question_in, reworded
from engine.data.lint.texts import control_tokens
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Completion, Preference, Prompt, Row

SHOWN, SHOWN_CHARACTERS = 2, 160
"""Rejected answers of each reason that the report shows, and how much of each."""


class Maker:
    """Makes the rows of jobs, step by step, in batches."""

    def __init__(
        self,
        options: Options,
        tokenizer: Tokenizer,
        pool: Pool,
        ask: Ask,
        journal: Journal,
        progress: Callable[[int, int], None],
    ) -> None:
        self.made: dict[int, Row | Preference] = {}
        self.report = Augmented(options)
        self._options, self._tokenizer, self._pool = options, tokenizer, pool
        self._ask, self._journal, self._progress = ask, journal, progress
        self._controls = control_tokens(tokenizer.control_tokens)
        self._heads: dict[int, list[str]] = {}
        """The questions that were made of a line already."""
        self._total = 0

    def attempt(self, attempt: int, jobs: Sequence[Job]) -> None:
        """Try to make the rows of some jobs."""
        steps = STEPS[self._options.kind]
        self._total += len(jobs) * steps
        said: dict[int, list[str]] = {job.number: [] for job in jobs}
        for step in range(steps):
            found = self._answered(attempt, step, jobs, said)
            sound = []
            for job in jobs:
                answer = found.get(job.number)
                source = self._source(job, step)
                text = self._text(answer.text, step, source) if answer else ""
                reason: Reason | None = "no-room"
                if answer:
                    reason = self._wrong(job, step, text, answer.ended, source, said[job.number])
                said[job.number].append(text)
                if reason is None:
                    sound.append(job)
                else:
                    self._reject(reason, text)
                    self._total -= steps - step - 1
            jobs = sound
        self._take(jobs, said)

    def _answered(
        self, attempt: int, step: int, jobs: Sequence[Job], said: Mapping[int, Sequence[str]]
    ) -> dict[int, Completion]:
        """The answers of one step, those of an earlier run among them; none where the model has no room for it."""
        options = self._options
        asked = {job.number: prompts.prompt(options, step, job.rows, said[job.number]) for job in jobs}
        lengths = {
            number: len(self._tokenizer.prompt_ids(messages)) + options.max_tokens
            for number, messages in asked.items()
        }
        lengths = {n: length for n, length in lengths.items() if length <= (options.context or length)}
        for batch in batches(lengths):
            keys = [(attempt, step, number) for number in batch]
            if any(key not in self._journal.answers for key in keys):
                wanted = [
                    Prompt(asked[number], _seed(options, *key))
                    for number, key in zip(batch, keys, strict=True)
                ]
                self._journal.add(dict(zip(keys, self._ask(wanted), strict=True)))
            self.report.answers += len(batch)
            self._progress(self.report.answers, self._total)
        return {number: self._journal.answers[attempt, step, number] for number in lengths}

    def _source(self, job: Job, step: int) -> str:
        """The text that an answer should be like in kind: the question, or an answer for an answer."""
        if self._options.kind != "new-rows":
            return job.question.head
        texts = [answer_of(row) if step else question_in(row) for row in job.rows]
        return max(texts, key=len)

    def _text(self, text: str, step: int, source: str) -> str:
        """Text of the model's answer; nothing is removed from one that will be trained."""
        is_answer = self._options.kind == "new-rows" and step == 1
        return text.strip() if is_answer else checks.cleaned(text, source)

    def _wrong(
        self, job: Job, step: int, text: str, ended: bool, source: str, said: Sequence[str]
    ) -> Reason | None:
        """Reason against one answer, judged alone."""
        kind = self._options.kind
        if reason := checks.broken(text, ended, source, self._controls):
            return reason
        if kind == "back-translation" and step == 0:
            return "untranslated" if checks.is_untranslated(text, source) else None
        if kind == "new-rows" and step == 1:
            return "echo" if checks.is_alike(text, said[0]) else checks.unlike(text, source, True)
        if kind == "back-translation" and checks.is_untranslated(text, said[0]):
            return "untranslated"
        if reason := checks.unlike(text, source, kind == "new-rows"):
            return reason
        if checks.is_foreign(text, self._pool.vocabulary):
            return "language"
        sources = [question_in(row) for row in job.rows] if kind == "new-rows" else [source]
        if any(checks.is_alike(text, one) for one in sources):
            return "same"
        if checks.is_no_question(text, sources):
            return "form"
        if kind == "new-rows":
            return "same" if any(checks.holds(text, one) for one in sources) else None
        answer = answer_of(job.rows[0])
        if checks.loses(text, source, answer):
            return "lost"
        return "answered" if checks.tells(text, source, answer) else None

    def _take(self, jobs: Sequence[Job], said: Mapping[int, Sequence[str]]) -> None:
        """Make the rows whose answers are good by themselves, where nothing that is there already is like them."""
        is_new = self._options.kind == "new-rows"
        heads = [said[job.number][0 if is_new else -1] for job in jobs]
        whole = [head if is_new else head + job.question.rest for job, head in zip(jobs, heads, strict=True)]
        reasons = self._pool.judge([(job.lines, text) for job, text in zip(jobs, whole, strict=True)])
        for job, head, reason in zip(jobs, heads, reasons, strict=True):
            before = [] if is_new else self._heads.setdefault(job.lines[0], [])
            if any(checks.is_alike(head, other) for other in before):
                reason = "same"
            if reason is not None:
                self._reject(reason, head)
                continue
            before.append(head)
            self.made[job.number] = (
                new_row(job.rows[0], *said[job.number])
                if is_new
                else reworded(job.rows[0], job.question, head)
            )

    def _reject(self, reason: Reason, text: str) -> None:
        self.report.rejected[reason] = self.report.rejected.get(reason, 0) + 1
        examples = self.report.examples.setdefault(reason, [])
        if len(examples) < SHOWN:
            examples.append(text[:SHOWN_CHARACTERS])


def _seed(options: Options, attempt: int, step: int, number: int) -> int:
    drawn = np.random.SeedSequence([options.seed, attempt, step, number]).generate_state(1, np.uint32)
    return int(drawn[0])
