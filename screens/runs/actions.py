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
    Action("runs.compare", "c", "compare", "Compare two selected runs side by side."),
    Action("runs.use", "u", "use", "Evaluate, export, merge, serve or push what this run trained."),
    Action("runs.evaluations", "E", "evaluations", "Page through the evaluations of this run, row by row."),
    Action("runs.resume", "r", "resume", "Resume this run from its last checkpoint."),
    Action("runs.fork", "f", "fork", "Open a new recipe copied from this run's."),
    Action(
        "runs.continue",
        "F",
        "train on",
        "Open a new recipe that starts from this run's adapter.",
        footer=False,
    ),
    Action("runs.chat", "t", "chat", "Chat with the model that this run trained."),
    Action("runs.delete", "d", "delete", "Delete the selected runs, or this one.", destructive=True),
    Action("runs.export", "e", "export", "Save the curves shown as SVG and CSV."),
    Action("runs.clear", "escape", "clear", "Clear the filter, and then the selection.", footer=False),
    Action("runs.sort", "o", "order", "Order by newest, best evaluation, loss or name.", footer=False),
    Action("runs.pane", "v", "list/chart", "Switch between list and chart, where only one fits."),
    Action("runs.axis", "x", "axis", "Switch the x axis: steps, time or tokens.", footer=False),
    Action("runs.log", "l", "log axis", "Switch the loss axis between logarithmic and linear.", footer=False),
    Action("runs.smoother", "a", "smoother", "Smooth the curves more.", footer=False),
    Action("runs.rougher", "A", "rougher", "Smooth the curves less.", footer=False),
    Action("runs.zoom_in", "z,plus,equals_sign", "zoom", "Zoom in on the curves.", footer=False),
    Action("runs.zoom_out", "Z,minus", "zoom out", "Zoom out of the curves.", footer=False),
    Action("runs.inspect", "i", "inspect", "Read values off the curves with a cursor.", footer=False),
    Action("runs.pan_left", "left", "earlier", "Move the curves, or the inspection cursor.", footer=False),
    Action("runs.pan_right", "right", "later", "Move the curves, or the inspection cursor.", footer=False),
    Action("runs.reset", "0", "all", "Show all of the curves.", footer=False),
    # The sheet with a run's evaluations
    Action("evaluations.older", "left_square_bracket", "older", "Show the evaluation before this one."),
    Action("evaluations.newer", "right_square_bracket", "newer", "Show the evaluation after this one."),
    Action("evaluations.order", "o", "order", "Show the rows first in which the two models differ most."),
    Action("evaluations.report", "p", "page", "Show where this evaluation lies as an HTML page."),
    Action("evaluations.close", "escape,E", "close", "Go back to the list."),
    # The sheet that compares two runs
    Action("compare.all", "a", "all/different", "Show every row, or only those that differ."),
    Action("compare.swap", "s", "swap", "Swap the sides."),
    Action("compare.close", "escape,c", "close", "Go back to the list."),
)
