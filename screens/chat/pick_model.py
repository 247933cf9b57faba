"""Choose the trained model to talk to, by a few letters of its run."""

from collections.abc import Sequence

from rich.text import Text

from screens.chat.models import ChatModel
from screens.widgets.pick import Pick

MOST = 500
"""Models that are listed; typing finds the others."""


class PickModel(Pick[ChatModel]):
    """Runs and their checkpoints, newest first."""

    HEADING = "Talk to which model?"
    PLACEHOLDER = "a few letters of the run, the step or the base model"
    NOTHING = "No model has these words in its name."

    def __init__(self, talkers: Sequence[ChatModel], current: ChatModel | None) -> None:
        super().__init__()
        self._talkers = talkers
        self._current = current

    def fitting(self, query: str) -> Sequence[ChatModel]:
        words = query.lower().split()
        fit = [each for each in self._talkers if all(w in f"{each.title} {each.base}".lower() for w in words)]
        return fit[:MOST]

    def line(self, choice: ChatModel) -> Text:
        line = Text("▸ " if choice == self._current else "  ")
        line.append(choice.run_id, "bold" if choice.what == "final" else "")
        line.append(f"  {choice.what}")
        line.append(f"  on {choice.base}", "dim")
        return line
