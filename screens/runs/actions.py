"""Actions of the Runs screen."""

from screens.action import Action

ACTIONS = (
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
    # The sheet that compares two runs
    Action("compare.all", "a", "all/different", "Show every row, or only those that differ."),
    Action("compare.swap", "s", "swap", "Change the sides."),
    Action("compare.close", "escape,c", "close", "Go back to the list."),
)
