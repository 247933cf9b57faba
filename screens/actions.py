"""Every action of the app in one table: keys, footer, help, palette, key map and tests all read it."""

from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Action:
    """One thing that a person can do. `id` is `scope.name`; the scope is a screen, or `app` for everywhere."""

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
        return self.id.partition(".")[0]

    @property
    def method(self) -> str:
        """The name behind `action_` of the method that does it."""
        return self.id.partition(".")[2]


SCREENS: tuple[tuple[str, str, str], ...] = (
    ("1", "home", "Home"),
    ("2", "models", "Models"),
    ("3", "datasets", "Datasets"),
    ("4", "recipe", "Recipe"),
    ("5", "monitor", "Monitor"),
    ("6", "runs", "Runs"),
    ("7", "chat", "Chat"),
    ("8", "settings", "Settings"),
)
"""Key, scope and title of each screen, in the order of the bar."""

ACTIONS: tuple[Action, ...] = (
    Action("app.help", "question_mark,f1", "help", "Show every key of this screen."),
    Action("app.palette", "colon,ctrl+p", "palette", "Find an action by its name.", footer=False),
    Action("app.details", "f12", "details", "Show the last error in full, to read and copy.", footer=False),
    Action("app.leave", "q,ctrl+q", "quit", "Leave the app; a run that trains can go on without it."),
    *(
        Action(f"app.go_{scope}", key, title, f"Go to {title}.", footer=False)
        for key, scope, title in SCREENS
    ),
    # Home
    Action("home.next", "enter", "do it", "Do the one next thing that is proposed."),
    Action("home.train_starter", "t", "train starter", "Train the starter recipe."),
    # Monitor
    Action("monitor.pause", "p", "pause/resume", "Let the training rest after this step, or go on."),
    Action("monitor.save", "s", "save now", "Save a checkpoint after this step."),
    Action("monitor.stop", "x", "stop", "Save a checkpoint and end the training.", destructive=True),
    Action(
        "monitor.resume", "r", "resume run", "Start a run that has ended again, from its last checkpoint."
    ),
    Action("monitor.chat", "c", "chat", "Talk to what this run has trained.", footer=False),
    Action("monitor.view", "v", "next chart", "Choose the next chart, for zoom and inspection."),
    Action("monitor.zoom_in", "z,plus,equals_sign", "zoom", "Look closer at the chosen chart."),
    Action("monitor.zoom_out", "Z,minus", "zoom out", "Show more of the chosen chart.", footer=False),
    Action(
        "monitor.pan_left", "left", "earlier", "Move the chart, or the cursor that inspects.", footer=False
    ),
    Action(
        "monitor.pan_right", "right", "later", "Move the chart, or the cursor that inspects.", footer=False
    ),
    Action("monitor.reset", "0", "all", "Show all of the chosen chart, and follow it.", footer=False),
    Action("monitor.inspect", "i", "inspect", "Read values off the chart with a cursor."),
    Action("monitor.log", "l", "log axis", "Draw losses on a logarithmic axis, or a linear one."),
    Action("monitor.axis", "t", "axis", "Draw over steps, time or tokens.", footer=False),
    Action("monitor.smoother", "a", "smoother", "Smooth the bright line more.", footer=False),
    Action("monitor.rougher", "A", "rougher", "Smooth the bright line less.", footer=False),
    Action("monitor.export", "e", "export", "Save the chosen chart as SVG and CSV."),
    Action("monitor.tab", "g", "next tab", "Turn to samples, events or the engine's log.", footer=False),
    Action(
        "monitor.older", "left_square_bracket", "older run", "Show the run before this one.", footer=False
    ),
    Action(
        "monitor.newer", "right_square_bracket", "newer run", "Show the run after this one.", footer=False
    ),
    Action("monitor.machine", "m", "machine", "Show the machine alone, or the run again."),
)


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
    ]
