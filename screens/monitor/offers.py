"""Actions that can be done with the run that Monitor shows. Needs no terminal."""

from screens.monitor.job_page import copyable
from screens.monitor.run_view import RunView

OF_ENGINE = frozenset({"pause", "save", "stop"})
OF_TRAINING = frozenset({"save", "chat", "log", "axis", "smoother", "rougher"})
OF_CHARTS = frozenset({"view", "zoom_in", "zoom_out", "pan_left", "pan_right", "reset", "inspect", "export"})
"""For a run only where it is a training; the machine has charts too."""
OF_RUN = OF_ENGINE | OF_TRAINING | OF_CHARTS | {"resume", "copy", "tab"}


def offered(action: str, view: RunView | None) -> bool:
    """True if an action of `OF_RUN` can be done with a run now; None is the machine."""
    if view is None:
        return action in OF_CHARTS
    kind = view.job.kind if view.job is not None else "train"
    if kind != "train" and action in OF_TRAINING | OF_CHARTS:
        return False
    if action in OF_ENGINE:
        return bool(view.alive) and (action, kind) != ("pause", "serve")
    if action == "resume":
        ended = view.alive is False and not view.gone
        return ended and (kind == "train" or view.state.status != "completed")
    return action != "copy" or copyable(view) is not None
