"""Actions of the Models screen."""

from screens.action import Action

ACTIONS = (
    Action("models.pull", "p", "pull", "Download the selected model, or resume its download."),
    Action("models.add", "a", "add", "Download a model by its hub id, or check a folder."),
    Action("models.cancel", "c", "cancel", "Cancel the download; what is downloaded is kept."),
    Action("models.use", "u", "use", "Open a recipe that trains the selected model."),
    Action("models.delete", "d", "delete", "Delete the selected model from this disk.", destructive=True),
    Action("models.reload", "r", "reload", "Read models and memory again.", footer=False),
)
