"""Settings: what ft doctor finds on this machine, and ft's claims proved on it."""

from typing import ClassVar, cast

from rich.console import Group
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.worker import get_current_worker

from engine.doctor.examine import Report, examine
from engine.doctor.finding import Finding, State
from engine.doctor.prove.claim import TEXTS, Claim
from engine.doctor.prove.prove import prove
from engine.errors import FtError
from screens.actions import bindings
from screens.host import Host
from screens.widgets.keys import Keys

MARKS: dict[State, tuple[str, str]] = {
    "ok": ("✓", "success"),
    "note": ("·", "text-muted"),
    "warning": ("!", "warning"),
    "fault": ("✗", "error"),
}
"""Sign of each state, and the colour of the theme for it."""
LOOKING = "Looking at machine, packages, folders and network …"
UNPROVED = (
    "p tries ft's own claims on this machine: it trains and exports small models for about three minutes."
)


class Looked(Message):
    """The findings are there."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


class Settled(Message):
    """A claim is settled; None where the proof has ended."""

    def __init__(self, claim: Claim | None, error: FtError | None = None) -> None:
        super().__init__()
        self.claim = claim
        self.error = error


class DoctorSheet(ModalScreen[None]):
    """Problems first, then everything else by area, then the proof."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("doctor")
    DEFAULT_CSS = """
    DoctorSheet { align: center middle; }
    DoctorSheet #doctor { width: 98%; max-width: 130; height: 94%; padding: 0 1; }
    DoctorSheet #doctor { background: $surface; border: round $primary; }
    DoctorSheet VerticalScroll { scrollbar-size-vertical: 1; }
    DoctorSheet Static { height: auto; width: 1fr; }
    DoctorSheet #claims { margin-top: 1; }
    DoctorSheet.-narrow #doctor { width: 100%; height: 1fr; }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium")]  # noqa: RUF012 - Textual's own

    def __init__(self) -> None:
        super().__init__()
        self.report: Report | None = None
        self.claims: list[Claim] = []
        self.proving = False

    @property
    def host(self) -> Host:
        return cast(Host, self.app)

    def compose(self) -> ComposeResult:
        with Vertical(id="doctor") as box:
            box.border_title = "doctor"
            with VerticalScroll():
                yield Static(LOOKING, id="findings", markup=False)
                yield Static(Text(UNPROVED, "dim"), id="claims", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._look()

    def action_again(self) -> None:
        self.query_one("#findings", Static).update(LOOKING)
        self._look()

    def action_prove(self) -> None:
        if self.proving:
            self.workers.cancel_group(self, "proof")
            return
        self.claims, self.proving = [], True
        self._show_claims()
        self._prove()

    def action_close(self) -> None:
        self.workers.cancel_group(self, "proof")
        self.dismiss()

    @work(thread=True, exclusive=True, group="findings")
    def _look(self) -> None:
        report = examine()
        if not get_current_worker().is_cancelled:
            self.post_message(Looked(report))

    @work(thread=True, exclusive=True, group="proof")
    def _prove(self) -> None:
        worker = get_current_worker()
        error = None
        try:
            for claim in prove(cancelled=lambda: worker.is_cancelled):
                self.post_message(Settled(claim))
        except FtError as raised:
            error = raised
        self.post_message(Settled(None, error))

    def on_looked(self, message: Looked) -> None:
        self.report = message.report
        self.query_one("#findings", Static).update(self._findings(message.report))

    def on_settled(self, message: Settled) -> None:
        if message.claim is not None:
            self.claims.append(message.claim)
        else:
            self.proving = False
        if message.error is not None:
            self.host.fail(message.error)
        self._show_claims()

    def _findings(self, report: Report) -> Group:
        problems = report.problems
        parts = [Text("problems", "bold"), *map(self._line, problems)] if problems else []
        if not problems:
            parts = [Text("Everything is in order.", self._colour("success"))]
        for area, found in report.areas.items():
            rest = [one for one in found if one not in problems]
            parts += [Text(f"\n{area}", "bold"), *map(self._line, rest)] if rest else []
        return Group(*parts)

    def _line(self, one: Finding) -> Text:
        mark, colour = MARKS[one.state]
        text = Text.assemble((mark, self._colour(colour)), " ", one.text)
        if one.fix and one.state != "ok":
            text.append(f"\n    {one.fix}", "dim" if one.state == "note" else "italic")
        return text

    def _show_claims(self) -> None:
        parts = [Text("ft's claims on this machine", "bold")]
        for claim in self.claims:
            mark, colour = MARKS[claim.state]
            parts.append(Text.assemble((mark, self._colour(colour)), f" {claim.text}: {claim.verdict}"))
            parts.append(Text(f"    {claim.figure}", "dim"))
        waiting = [text for name, text in TEXTS.items() if name not in {claim.name for claim in self.claims}]
        if self.proving and waiting:
            parts.append(Text(f"… {waiting[0]}"))
        elif not self.claims:
            parts = [Text(UNPROVED, "dim")]
        self.query_one("#claims", Static).update(Group(*parts))

    def _colour(self, name: str) -> str:
        """A colour of the theme, as Rich takes it."""
        value = self.app.theme_variables.get(name, "")
        return value if value.startswith("#") else ""
