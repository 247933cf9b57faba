"""The values that pass through the data stage, from a row of a file to a batch of tokens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from engine.data.findings import Finding

UNTRAINED = -100
"""The label of a token that the loss leaves out (the field's convention, from PyTorch's `ignore_index`)."""

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Role = Literal["system", "user", "assistant", "tool"]
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Names of the reasoning before an answer, in files and in chat templates."""
MEDIA = frozenset(("images", "image", "videos", "video", "audios", "audio"))
"""Columns of a row, and keys of a turn, for media, which ft cannot train."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `trained` is False for an assistant's turn that is context only (a `weight` of 0). `more` is what a template
    gets besides role and content: `tool_calls`, `tool_call_id`, `name`, `reasoning_content`. `unused` lists what else
    the file's turn has and ft does not use.
    """

    role: Role
    content: str
    trained: bool = True
    more: Mapping[str, Any] | None = None
    unused: tuple[str, ...] = field(default=(), compare=False)

    @property
    def answers(self) -> bool:
        """True for an assistant's turn that has text or calls a tool, and is to be trained."""
        says = bool(self.content.strip()) or self.has("tool_calls")
        return self.role == "assistant" and self.trained and says

    def has(self, key: str) -> bool:
        """Return True if `more` has the key."""
        return self.more is not None and key in self.more


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns that the chat template will render, with the tools that may be called in them (as OpenAI writes them).

    `where` is the row's origin, as `file.jsonl:17`. `augmented` is the mark of one that a model made
    (`engine/data/augment`), None for all others. `unused` lists what else the file's row has and ft does not use,
    each to end "1 of 2 rows has …" with.
    """

    messages: tuple[Message, ...]
    where: str
    tools: tuple[Mapping[str, Any], ...] = ()
    augmented: Mapping[str, Any] | None = None
    unused: tuple[str, ...] = field(default=(), compare=False)

    def marked(self, mark: Mapping[str, Any]) -> Self:
        """Copy with the mark of a row that a model made."""
        return replace(self, augmented=mark)

    def with_unused(self, unused: tuple[str, ...]) -> Self:
        """Copy that lists more as unused."""
        return replace(self, unused=(*self.unused, *unused))


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text without a template: `prompt` is context, `completion` is what is trained."""

    prompt: str
    completion: str
    where: str
    augmented: Mapping[str, Any] | None = None
    unused: tuple[str, ...] = field(default=(), compare=False)

    def marked(self, mark: Mapping[str, Any]) -> Self:
        """Copy with the mark of a text that a model made."""
        return replace(self, augmented=mark)

    def with_unused(self, unused: tuple[str, ...]) -> Self:
        """Copy that lists more as unused."""
        return replace(self, unused=(*self.unused, *unused))


Row = Conversation | Text


@dataclass(frozen=True, slots=True)
class Prompt:
    """Prompt for a model, and the seed that its answer is drawn with."""

    messages: tuple[Message, ...]
    seed: int
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of generation: greedy at temperature 0, else sampled, the same with the same seed."""

    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    top_p: float = 1.0
    """Share of the probability that the likeliest tokens, drawn from, have together (arXiv:1904.09751); 1 is all."""
    top_k: int = 0
    """Number of likeliest tokens that are drawn from; 0 is all."""
    min_p: float = 0.05
    """Share of the likeliest token's probability below which a token is not drawn (arXiv:2407.01082); 0 is none."""
    repetition_penalty: float = 1.0
    """Divisor of the positive logits, and factor of the negative, of tokens seen before (arXiv:1909.05858)."""
    stop: tuple[str, ...] = ()
    """Texts at which an answer ends; they are left out of it."""


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer. `ended` is False where the limit of tokens cut it before the end token."""

    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt, the first of them preferred."""

    chosen: Row
    rejected: Row

    def marked(self, mark: Mapping[str, Any]) -> Self:
        """Copy with the mark of a row that a model made."""
        return replace(self, chosen=self.chosen.marked(mark), rejected=self.rejected.marked(mark))

    def with_unused(self, unused: tuple[str, ...]) -> Self:
        """Copy that lists more as unused, once for the row."""
        return replace(self, chosen=self.chosen.with_unused(unused))


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """Answer that is labelled as good or bad."""

    row: Row
    good: bool

    def marked(self, mark: Mapping[str, Any]) -> Self:
        """Copy with the mark of a row that a model made."""
        return replace(self, row=self.row.marked(mark))

    def with_unused(self, unused: tuple[str, ...]) -> Self:
        """Copy that lists more as unused."""
        return replace(self, row=self.row.with_unused(unused))


Sample = Row | Preference | LabelledAnswer
"""Content of a row of a file, whole: what a training method makes of it is in `engine/data/samples.py`."""


@dataclass(frozen=True, slots=True)
class Example:
    """Tokens of one row. `labels[i]` is `input_ids[i]` where it is trained, else `UNTRAINED`; both int32 `[n]`."""

    input_ids: Int32
    labels: Int32


@dataclass(frozen=True)
class Examples:
    """Many examples in flat arrays, so that a million rows cost no Python objects.

    `tokens` int32 `[total]`, `trained` bool `[total]`, `offsets` int64 `[count + 1]`. The first token of an example is
    never trained: nothing predicts it.

    Where answers are compared, `group` int32 `[count]` ascends from 0 and is the same for the two answers of a pair,
    which are neighbours, and `sign` int8 `[count]` is 1 for a chosen or good answer and -1 for a rejected or bad one.
    Both are None for plain examples: each is a group of its own, with the sign 0.
    """

    tokens: Int32
    trained: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    group: Int32 | None = None
    sign: Int8 | None = None
    reference: Float32 | None = None
    """Log-probability in nats that the reference gives each trained token, `[total]`, NaN elsewhere; None where the
    method compares with none."""
    mismatched: Float32 | None = None
    """Log-probability in nats that the reference gives, on each example's prompt, the next example's answer,
    `[count]`; None where the method needs no divergence."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Example:
        span = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        ids = self.tokens[span]
        return Example(ids, np.where(self.trained[span], ids, UNTRAINED).astype(np.int32))

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each example, int64 `[count]`."""
        return np.diff(self.offsets)

    @property
    def group_offsets(self) -> npt.NDArray[np.int64]:
        """First example of each group, and the number of examples, int64 `[groups + 1]`."""
        if self.group is None:
            return np.arange(len(self) + 1, dtype=np.int64)
        return np.append(np.flatnonzero(np.diff(self.group, prepend=-1)), len(self)).astype(np.int64)

    @property
    def trained_tokens(self) -> int:
        """Trained tokens in all."""
        return int(self.trained.sum())

    def good(self) -> "Examples":
        """The answers that are not marked as bad or rejected, each standing alone."""
        if self.sign is None:
            return self
        kept = self.sign >= 0
        places = np.repeat(kept, self.lengths)
        offsets = np.concatenate([[0], np.cumsum(self.lengths[kept])]).astype(np.int64)
        return Examples(self.tokens[places], self.trained[places], offsets)


@dataclass(frozen=True, slots=True)
class Question:
    """Prompt of a validation row and its answer in the file, for metrics that need a generated answer."""

    prompt_ids: tuple[int, ...]
    answer: str
    where: str
    calls: tuple[Mapping[str, Any], ...] = ()
    """Calls of tools that the answer makes, as OpenAI writes them."""
    asked: str = ""
    """Text of the last turn of the prompt, or the whole of a prompt without turns."""


@dataclass(frozen=True)
class Dataset:
    """Data that a run trains and validates on.

    `notes` are sentences for the person: what was detected, cut or left out. `findings` are the lint's, empty where
    it was not asked for.
    `fingerprint` identifies the tokens exactly (content, template, tokenizer, options). `folder` holds the tokens'
    files, and what is computed from them once.
    """

    train: Examples
    validation: Examples | None
    questions: tuple[Question, ...]
    fingerprint: str
    notes: tuple[str, ...] = field(default=())
    findings: "tuple[Finding, ...]" = ()
    folder: Path | None = None


@dataclass(frozen=True)
class ValidationRows:
    """Rows that a model is scored on: tokens, prompts for metrics of answers, and sentences for the person."""

    examples: Examples
    questions: tuple[Question, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """The sequences of one micro-batch, end to end. How they lie on the device is the backend's affair.

    `tokens` int32 `[total]`. `targets` int32 `[total]`: the token that follows in the same sequence; 0 where `weights`
    float32 `[total]` is 0, which leaves a position out of the loss. `offsets` int64 `[sequences + 1]`. `group` int32
    `[sequences]` numbers the sequences that belong together, as the two answers of a pair; `sign` int8 `[sequences]`
    is 1 for a chosen or good answer, -1 for a rejected or bad one, 0 for a plain sequence. `examples` int64
    `[sequences]` are their numbers in the `Examples` that the batch was cut from.
    """

    tokens: Int32
    targets: Int32
    weights: Float32
    offsets: npt.NDArray[np.int64]
    group: Int32
    sign: Int8
    examples: npt.NDArray[np.int64]
    reference: Float32 | None = None
    """Log-probabilities in nats that the reference gives the trained tokens, `[n]`; see `Examples.reference`."""
    divergence: float = 0.0
    """Divergence of the model from the reference over the step, in nats an answer, for methods that need it."""
    packed: bool = False
    """True if sequences may share a row, each attending to itself alone, instead of having a padded row each."""
    padding: int = 0
    """The token id that stands where rows are padded; nothing attends to it."""

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each sequence, int64 `[sequences]`."""
        return np.diff(self.offsets)

    @property
    def trained(self) -> npt.NDArray[np.int64]:
        """Places in `tokens` whose next token is trained, int64 `[n]`, in order."""
        return np.flatnonzero(self.weights)

    @property
    def trained_tokens(self) -> int:
        """Tokens that the loss counts. The first of a sequence is predicted by nothing, so it never counts."""
        return int(np.count_nonzero(self.weights))

    @property
    def trained_by_sequence(self) -> npt.NDArray[np.int64]:
        """Trained tokens of each sequence, int64 `[sequences]`."""
        return np.bincount(self.sequence_of, minlength=self.sequences)

    @property
    def sequence_of(self) -> npt.NDArray[np.int64]:
        """The sequence of each trained token, int64 `[n]`."""
        return np.searchsorted(self.offsets, self.trained, side="right") - 1
