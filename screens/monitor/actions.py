"""Actions of the Monitor screen."""

from screens.action import Action

ACTIONS = (
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
