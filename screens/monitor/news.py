"""Panes of text about a run: the model's samples, and its events."""

from rich.console import RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.runs.directory.events import Sample
from screens import format as show
from screens.monitor.run_view import News, RunView

SIGNS = {
    "warning": ("!", "bold"),
    "failed": ("✗", "bold"),
    "finished": ("✓", "bold"),
    "eval": ("◆", ""),
    "saved": ("▲", ""),
    "proved": ("=", ""),
    "acknowledged": ("‖", ""),
}
NO_SAMPLES = (
    "No samples yet. The prompts under evaluation.samples in train.yml are answered at each evaluation."
)
NO_NEWS = "Nothing has happened yet."


class TextPane(VerticalScroll):
    """A text to scroll, replaced only when it has changed."""

    DEFAULT_CSS = """
    TextPane { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    TextPane Static { width: 1fr; height: auto; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._shown: object = None

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def put(self, key: object, text: RenderableType) -> None:
        """Show a text or a table, unless what it was made of is the same as before."""
        if key != self._shown:
            self._shown = key
            self.query_one(Static).update(text)
            self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """Measure the text again where Textual (8.2) has not: it does not if it was arranging it already."""
        text = self.query_one(Static)
        if text.size.width and text.size.height != text.get_content_height(
            self.size, self.app.size, text.size.width
        ):
            text.refresh(layout=True)

    def is_new(self, key: object) -> bool:
        return key != self._shown


class SamplesPane(TextPane):
    """Prompts and answers, those of the last step first."""

    def show(self, view: RunView | None) -> None:
        samples = tuple(view.samples) if view else ()
        key = (view.run_id if view else "", len(samples), samples[-1] if samples else None)
        if self.is_new(key):
            self.put(key, in_words(samples) if samples else Text(NO_SAMPLES, "dim"))


class NewsPane(TextPane):
    """Events as text, the newest first, with the time since the run began."""

    def show(self, view: RunView | None) -> None:
        news = tuple(view.news) if view else ()
        key = (view.run_id if view else "", len(news), news[-1] if news else None)
        if self.is_new(key):
            start = news[0].t if news else 0.0
            started = view.state.started if view and view.state.started is not None else start
            lines = [_line(item, started) for item in reversed(news)]
            self.put(key, Text("\n").join(lines) if lines else Text(NO_NEWS, "dim"))


def in_words(samples: tuple[Sample, ...]) -> Text:
    """The samples under a heading for each step, the last step first."""
    text = Text()
    for step in sorted({sample.step for sample in samples}, reverse=True):
        text.append(f"step {show.count(step)}\n", "bold")
        for sample in samples:
            if sample.step == step:
                text.append(f"> {_printable(sample.prompt)}\n", "dim")
                text.append(f"{_printable(sample.text)}\n")
    text.rstrip()
    return text


def _line(item: News, started: float) -> Text:
    sign, style = SIGNS.get(item.kind, (" ", ""))
    line = Text(f"{show.clock(item.t - started):>7} ", "dim")
    return line.append(f"{sign} {_printable(item.text)}", f"not dim {style}".strip())


def _printable(text: str) -> str:
    """Text of a model or a file, with line breaks and without control characters, which terminals obey."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()
