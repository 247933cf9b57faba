"""One thing that a person can do by a key. `screens.actions` has the table of all of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """An action. `id` is `scope.name`; the scope is a screen, a sheet over one, or `app` for everywhere."""

    id: str
    keys: str
    """Keys as Textual names them, separated by commas; a person's key map may change them."""
    label: str
    """A word or two, for the footer."""
    help: str
    """One sentence, for the help overlay and the palette."""
    destructive: bool = False
    """Asks first, with the focus on No."""
    footer: bool = True

    @property
    def scope(self) -> str:
        """The part of the id before the point."""
        return self.id.partition(".")[0]

    @property
    def method(self) -> str:
        """Name of the method that does it, without `action_`."""
        return self.id.partition(".")[2]
