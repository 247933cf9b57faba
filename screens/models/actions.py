"""Actions of the Models screen."""

from screens.action import Action

ACTIONS = (
    Action("models.pull", "p", "pull", "Fetch the chosen model, or go on with a download that was cut."),
    Action("models.add", "a", "add", "Fetch a model by its hub id, or check a folder."),
    Action("models.cancel", "c", "cancel", "Cancel the download; what has come is kept."),
    Action("models.use", "u", "use", "Open a recipe that trains the chosen model."),
    Action("models.delete", "d", "delete", "Delete the chosen model from this disk.", destructive=True),
    Action("models.reload", "r", "reload", "Look again at models and memory.", footer=False),
)
