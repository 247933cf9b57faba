"""Operations on the rows of a data source, which is a text as `engine.data.sources.resolve.as_text` writes it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from engine.data.preview.values import Lengths, Opened, RowView, View
from engine.service.operation import Context, operation

if TYPE_CHECKING:
    from engine.data.preview.previews import Previews

Detail = Literal["tokens", "brief", "raw"]
"""Show a row token by token, only its counts and first words, or as it stands in the file."""


@dataclass(frozen=True)
class SourceRequest:
    """A source, and the recipe's keys that its rows' tokens depend on."""

    source: str
    view: View


@dataclass(frozen=True)
class PreviewRequest:
    """Rows of a source by number, from 0."""

    source: str
    view: View
    rows: tuple[int, ...]
    detail: Detail


@dataclass(frozen=True)
class FindRequest:
    """Words to look for, from the row `start` on."""

    source: str
    view: View
    words: str
    start: int


@operation("rows", lane="rows")
def rows(context: Context, request: SourceRequest) -> Opened:
    """Open a source; asked again, it says how far counting the rows is."""
    return context.shared.of(_previews).open(request.source, request.view)


@operation("preview", lane="rows")
def preview(context: Context, request: PreviewRequest) -> tuple[RowView, ...]:
    """Rows as the model will see them; numbers that are not there (yet) are left out."""
    previews = context.shared.of(_previews)
    return tuple(previews.show(request.source, list(request.rows), request.view, request.detail))


@operation("lengths", lane="lengths")
def lengths(context: Context, request: SourceRequest) -> Lengths:
    """Lengths, trained tokens and problems of rows drawn from all that are known."""
    return context.shared.of(_previews).lengths(request.source, request.view, context.stopped)


@operation("find", lane="find")
def find(context: Context, request: FindRequest) -> int | None:
    """The next row that holds the words, searching on from the first row; None where none does."""
    previews = context.shared.of(_previews)
    return previews.find(request.source, request.words, request.start, request.view, context.stopped)


def _previews() -> "Previews":
    from engine.data.preview.previews import Previews

    return Previews()
