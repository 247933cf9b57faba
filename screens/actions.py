"""The table of screens, and of every action of the app: keys, footer, help, palette and key map all read it.

A screen is a package `screens.<scope>` with its class `<Scope>Screen` in `screen.py`, its styles in `screen.tcss` and
its `ACTIONS` in `actions.py`, and a row in `TITLES`.
"""

from importlib import import_module

from textual.binding import Binding, BindingType

from screens.action import Action

TITLES: tuple[tuple[str, str], ...] = (
    ("home", "Home"),
    ("models", "Models"),
    ("datasets", "Datasets"),
    ("recipe", "Recipe"),
    ("monitor", "Monitor"),
    ("runs", "Runs"),
    ("chat", "Chat"),
    ("settings", "Settings"),
)
"""Scope and title of each screen, in the order of the bar."""
DIGITS = "123456789"


def key_of(place: int) -> str:
    """The key of the screen at this place, from 0: a digit, then alt with one; empty from the 19th screen on.

    0 is left to the screens, where it shows all of a chart.
    """
    modifiers = ("", "alt+")
    turn, digit = divmod(place, len(DIGITS))
    return modifiers[turn] + DIGITS[digit] if turn < len(modifiers) else ""


SCREENS: tuple[tuple[str, str, str], ...] = tuple(
    (key_of(place), scope, title) for place, (scope, title) in enumerate(TITLES)
)
"""Key, scope and title of each screen."""

OF_APP: tuple[Action, ...] = (
    Action("app.help", "question_mark,f1", "help", "Show every key of this screen."),
    Action("app.palette", "colon,ctrl+p", "palette", "Find an action by its name.", footer=False),
    Action(
        "app.details",
        "f12,exclamation_mark",
        "details",
        "Show the last error in full, to read and copy.",
        footer=False,
    ),
    Action("app.leave", "q,ctrl+q", "quit", "Leave the app; a run that trains can continue without it."),
    *(
        Action(f"app.go_{scope}", key, title, f"Go to {title}.", footer=False)
        for key, scope, title in SCREENS
    ),
)


def _of_screen(scope: str) -> tuple[Action, ...]:
    actions: tuple[Action, ...] = import_module(f"screens.{scope}.actions").ACTIONS
    return actions


ACTIONS: tuple[Action, ...] = (*OF_APP, *(action for scope, _ in TITLES for action in _of_screen(scope)))


def actions_of(scope: str) -> list[Action]:
    """The actions of a screen, or of the app."""
    return [action for action in ACTIONS if action.scope == scope]


def action_of(action_id: str) -> Action:
    """The action of an id. Raises StopIteration where there is none."""
    return next(action for action in ACTIONS if action.id == action_id)


def bindings(scope: str) -> list[BindingType]:
    """Textual's bindings of a scope; their ids are what a key map names."""
    return [
        Binding(
            action.keys, action.method, action.label, show=action.footer, id=action.id, tooltip=action.help
        )
        for action in actions_of(scope)
        if action.keys
    ]
