"""Values of previews, without heavy imports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.data.findings import Finding
from engine.data.formats.choice import FormatChoice
from engine.data.token_spec import TokenSpec

SHOWN = 20_000
"""Most tokens of a row, and characters of a raw one, that are shown."""


@dataclass(frozen=True)
class View(TokenSpec):
    """Everything that the tokens of a source's rows depend on besides the rows: a token spec and format settings."""

    format: str = "auto"
    columns: Mapping[str, str] | None = None
    template: str | Mapping[str, str] | None = None
    roles: Mapping[str, str] | None = None

    def of_format(self, choice: FormatChoice) -> "View":
        """The same for a source whose format the recipe chooses so."""
        return replace(self, **vars(choice))


@dataclass(frozen=True)
class Opened:
    """A source that is open. `counting` is the share of the file counted so far, None once it is all."""

    name: str
    path: str
    kind: str
    size: int
    """Bytes."""
    format: str
    """Name of the rows' format; empty if it is unknown."""
    evidence: str
    """Evidence for that format, or why none fits."""
    hint: str
    known: int
    """Rows that can be shown: all, once `counting` is None."""
    counting: float | None
    broken: str
    """Error that ended the counting before the file's end."""


@dataclass(frozen=True)
class TokenText:
    """One token, or the few that together make a character. `cut`: beyond `max_seq_length`.

    One of no tokens is a line between two examples.
    """

    text: str
    trained: bool
    special: bool
    cut: bool
    tokens: int


@dataclass(frozen=True)
class RowView:
    """One row. Counts are of the whole row; `trained` is what is left after the cut at `limit`.

    `pieces` are of all its examples, one after the other, each but the first behind a piece of no tokens that says so.
    """

    row: int
    """From 0."""
    where: str
    pieces: tuple[TokenText, ...] = ()
    tokens: int = 0
    trained: int = 0
    limit: int = 0
    lost: int = 0
    """Trained tokens beyond the limit."""
    hidden: int = 0
    """Tokens beyond the most that are shown."""
    problem: str = ""
    raw: str = ""
    examples: int = 1
    sides: tuple[str, ...] = ()
    """What each example is where answers are compared: chosen and rejected, or good, or bad."""
    unseen: str = ""
    """Names of what the row has and the template does not show, as `tools`."""
    unused: str = ""
    """Fields of the row that are not used, to end "The row has …" with."""
    unread: int = 0
    """Characters at the end of a long plain text that were not tokenised for this, and are in no count."""


def compared(pieces: Sequence[TokenText]) -> tuple[list[TokenText], list[TokenText], list[TokenText]]:
    """The pieces of a pair: what both answers begin with, and how the chosen and the rejected one go on."""
    middle = next(place for place, piece in enumerate(pieces) if not piece.tokens)
    one, other = pieces[:middle], pieces[middle + 1 :]
    # A special token that both begin their answer with is of the prompt; what is trained is of the answer.
    shared = 0
    for first, second in zip(one, other, strict=False):
        if first != second or first.trained:
            break
        shared += 1
    return list(one[:shared]), list(one[shared:]), list(other[shared:])


@dataclass(frozen=True)
class Lengths:
    """Tokens of sampled rows, before any cut, and what is wrong with those that have none."""

    sampled: int
    of: int
    counted: bool
    """True if `of` is all rows, False if it is those that were known then."""
    lengths: tuple[int, ...]
    tokens: int
    """Within the limit."""
    trained: int
    cut: int
    """Rows beyond the limit."""
    lost: int
    """Trained tokens beyond it."""
    problems: tuple[tuple[int, str], ...]
    """Row number from 0, and what is wrong."""
    findings: tuple[Finding, ...] = ()
    """Findings of the lint about the sample."""
