"""Actions of the Monitor screen."""

from screens.action import Action

ACTIONS = (
    Action("monitor.pause", "p", "pause/resume", "Pause after this step, or resume."),
    Action("monitor.save", "s", "save now", "Save a checkpoint after this step."),
    Action("monitor.stop", "x", "stop", "Save a checkpoint and stop training.", destructive=True),
    Action("monitor.resume", "r", "resume run", "Resume a run that has ended, from its last checkpoint."),
    Action("monitor.chat", "c", "chat", "Chat with the model that this run trained.", footer=False),
    Action("monitor.copy", "y", "copy", "Copy what this job gives: its command, folder, address or page."),
    Action("monitor.view", "v", "next chart", "Select the next chart, to zoom and inspect."),
    Action("monitor.zoom_in", "z,plus,equals_sign", "zoom", "Zoom in on the selected chart."),
    Action("monitor.zoom_out", "Z,minus", "zoom out", "Zoom out of the selected chart.", footer=False),
    Action("monitor.pan_left", "left", "earlier", "Move the chart, or the inspection cursor.", footer=False),
    Action("monitor.pan_right", "right", "later", "Move the chart, or the inspection cursor.", footer=False),
    Action("monitor.reset", "0", "all", "Show all of the selected chart, and follow it.", footer=False),
    Action("monitor.inspect", "i", "inspect", "Read values off the chart with a cursor."),
    Action(
        "monitor.log", "l", "log axis", "Switch the loss axis between logarithmic and linear.", footer=False
    ),
    Action("monitor.axis", "t", "axis", "Switch the x axis: steps, time or tokens.", footer=False),
    Action("monitor.smoother", "a", "smoother", "Smooth the bright line more.", footer=False),
    Action("monitor.rougher", "A", "rougher", "Smooth the bright line less.", footer=False),
    Action("monitor.export", "e", "export", "Save the selected chart as SVG and CSV."),
    Action("monitor.older", "left_square_bracket", "older run", "Show the next older run.", footer=False),
    Action("monitor.newer", "right_square_bracket", "newer run", "Show the next newer run.", footer=False),
    Action("monitor.machine", "m", "machine", "Show the machine, or the run again."),
    Action("monitor.tab", "g", "next tab", "Switch between samples, events and the engine's log."),
)
