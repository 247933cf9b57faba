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
    Action(
        "app.details",
        "f12,exclamation_mark",
        "details",
        "Show the last error in full, to read and copy.",
        footer=False,
    ),
    Action("app.leave", "q,ctrl+q", "quit", "Leave the app; a run that trains can go on without it."),
    *(
        Action(f"app.go_{scope}", key, title, f"Go to {title}.", footer=False)
        for key, scope, title in SCREENS
    ),
    # Home
    Action("home.next", "enter", "do it", "Do the one next thing that is proposed."),
    Action("home.train_starter", "t", "train starter", "Train the starter recipe at once."),
    Action("home.recipe", "e", "recipe", "Open this folder's train.yml, or else the starter's recipe."),
    Action("home.runs", "down,j", "recent runs", "Go into the list of recent runs; enter shows one."),
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
    # Recipe
    Action("recipe.save", "f2,w", "save", "Write the text to its file; asks where it has none."),
    Action("recipe.next_pane", "f3,v", "text/form/plan", "Go on to the next pane: text, form, plan."),
    Action("recipe.start", "f5,t", "start", "Train this recipe as it stands here."),
    Action("recipe.edit", "e,enter", "edit", "Go into the text; escape leaves it."),
    Action("recipe.diff", "f4,d", "diff", "Show what differs from the saved file."),
    Action("recipe.next_problem", "f8,n", "problem", "Go to the next problem in the text."),
    Action("recipe.open", "f9,o", "open", "Open another recipe file."),
    Action(
        "recipe.outside", "f6,E", "editor", "Edit the text in the program that EDITOR names.", footer=False
    ),
    Action("recipe.profile", "p", "profiles", "Start from a profile, shipped or your own."),
    Action("recipe.undo", "u,ctrl+z", "undo", "Take back the last change, by text or form.", footer=False),
    Action("recipe.redo", "U,ctrl+y", "redo", "Do again what was taken back.", footer=False),
    Action("recipe.save_as", "W", "save as", "Write the text to another file.", footer=False),
    Action(
        "recipe.save_profile", "P", "save profile", "Keep the text as a profile of your own.", footer=False
    ),
    # Models
    Action("models.pull", "p", "pull", "Fetch the chosen model, or go on with a download that was cut."),
    Action("models.add", "a", "add", "Fetch a model by its hub id, or check a folder."),
    Action("models.cancel", "c", "cancel", "Cancel the download; what has come is kept."),
    Action("models.use", "u", "use", "Open a recipe that trains the chosen model."),
    Action("models.delete", "d", "delete", "Delete the chosen model from this disk.", destructive=True),
    Action("models.reload", "r", "reload", "Look again at models and memory.", footer=False),
    # Settings
    Action("settings.previous", "left_square_bracket", "previous", "Go to the part before.", footer=False),
    Action("settings.next", "right_square_bracket", "next part", "Go to the next part."),
    Action("settings.set", "s", "set", "Set the chosen token; it goes into the system's keyring."),
    Action("settings.add", "a", "add", "Set a token under a name of your own."),
    Action("settings.test", "t", "test", "Ask the service whether it knows the chosen token."),
    Action("settings.forget", "f", "forget", "Take the token out of the keyring.", destructive=True),
    Action("settings.rebind", "e", "change key", "Give the chosen action another key."),
    Action("settings.original", "x", "original key", "Give the chosen action its original key again."),
    Action("settings.copy", "y", "copy", "Copy the chosen folder's path, or the versions."),
    # Datasets
    Action("datasets.add", "a", "add", "Add a file or folder of rows, or the starter."),
    Action("datasets.pane", "v", "view", "Show the next pane, where there is not room for all."),
    Action("datasets.next_row", "n,j", "next", "Go to the next row."),
    Action("datasets.previous_row", "p,k", "previous", "Go to the row before."),
    Action("datasets.go_row", "g", "go to", "Go to a row by its number; -1 is the last."),
    Action("datasets.search", "slash", "search", "Go to the next row that holds some words."),
    Action("datasets.next_problem", "f", "problem", "Go to the next row with a problem."),
    Action(
        "datasets.raw", "r", "raw", "Switch between the tokens of a row and the row as it stands in the file."
    ),
    Action("datasets.bounds", "b", "bounds", "Show where one token ends and the next begins."),
    Action("datasets.use", "u", "use", "Open a recipe that trains on this file."),
    Action(
        "datasets.forget", "d", "drop", "Take the file from this list; the file itself stays.", footer=False
    ),
    Action(
        "datasets.close", "escape", "close", "Close the line that asks, or give up a search.", footer=False
    ),
    # Chat
    Action("chat.stop", "escape", "stop", "Stop the answer; without one, leave the line that is written in."),
    Action("chat.pick", "f2,m", "model", "Choose the run or checkpoint to talk to."),
    Action("chat.new", "f3,n", "new", "Start a new conversation."),
    Action("chat.view", "f4,v", "view", "Show trained and untrained side by side, or one of them."),
    Action(
        "chat.temperature", "f5,t", "temperature", "Set how freely answers are drawn; 0 takes the likeliest."
    ),
    Action("chat.copy", "f6,c", "copy", "Copy the last answer."),
    Action("chat.write", "i", "write", "Go to the line to write in.", footer=False),
    # Runs
    Action("runs.open", "enter,m", "open", "Show this run in Monitor."),
    Action(
        "runs.filter", "slash", "filter", "Find runs: loss<1 lr>1e-4 status:completed name:sql, or any word."
    ),
    Action(
        "runs.select", "space", "select", "Overlay this run's curve; select several to compare or delete."
    ),
    Action("runs.compare", "c", "compare", "Set two selected runs side by side."),
    Action("runs.resume", "r", "resume", "Go on with this run from its last checkpoint."),
    Action("runs.fork", "f", "fork", "Start a new recipe from this run's."),
    Action(
        "runs.continue", "F", "train on", "Start a new recipe from what this run has trained.", footer=False
    ),
    Action("runs.chat", "t", "chat", "Talk to what this run has trained."),
    Action("runs.delete", "d", "delete", "Delete the selected runs, or this one.", destructive=True),
    Action("runs.export", "e", "export", "Save the curves shown as SVG and CSV."),
    Action("runs.clear", "escape", "clear", "Clear the filter, and then the selection.", footer=False),
    Action("runs.sort", "o", "order", "Order by newest, best held-out loss, loss or name.", footer=False),
    Action("runs.pane", "v", "list/chart", "Turn between list and chart, where there is room for one."),
    Action("runs.axis", "x", "axis", "Draw over steps, time or tokens.", footer=False),
    Action("runs.log", "l", "log axis", "Draw losses on a logarithmic axis, or a linear one.", footer=False),
    Action("runs.smoother", "a", "smoother", "Smooth the curves more.", footer=False),
    Action("runs.rougher", "A", "rougher", "Smooth the curves less.", footer=False),
    Action("runs.zoom_in", "z,plus,equals_sign", "zoom", "Look closer at the curves.", footer=False),
    Action("runs.zoom_out", "Z,minus", "zoom out", "Show more of the curves.", footer=False),
    Action("runs.inspect", "i", "inspect", "Read values off the curves with a cursor.", footer=False),
    Action("runs.pan_left", "left", "earlier", "Move the curves, or the cursor that inspects.", footer=False),
    Action("runs.pan_right", "right", "later", "Move the curves, or the cursor that inspects.", footer=False),
    Action("runs.reset", "0", "all", "Show all of the curves.", footer=False),
    # Two runs side by side
    Action("compare.all", "a", "all/different", "Show every row, or only those that differ."),
    Action("compare.swap", "s", "swap", "Change the sides."),
    Action("compare.close", "escape,c", "close", "Go back to the list."),
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
