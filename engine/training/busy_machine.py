"""Tell that other programs keep the machine busy, and what that means for the run."""

from engine.hardware.sharing import Sharing
from engine.runs.directory.events import Warned


class NeighbourWatch:
    """Looks whether the engine's process shares the CPU with others."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing

    def look(self) -> Warned | None:
        """A warning, once, where others have been busy for some seconds. Cheap."""
        share = self._sharing.news()
        if share is None:
            return None
        cores = "a core" if share.others < 1.5 else f"{share.others:.0f} cores"
        return Warned(
            message=f"Other programs keep about {cores} busy: training shares the CPU with them and is "
            f"{share.slower} times slower or more until they are done.",
            hint="The result does not depend on it. Close what else computes to have the full speed back.",
        )
