"""Actions of the Models screen."""

from screens.action import Action

ACTIONS = (
    Action(
        "models.search",
        "slash",
        "search",
        "Search the hub; the list shows what each model fits on this machine.",
    ),
    Action(
        "models.pull",
        "p",
        "pull",
        "Download the selected model, or resume its download; in a search enter does it too.",
    ),
    Action("models.add", "a", "add", "Download a model by its hub id, or check a folder."),
    Action("models.cancel", "c", "cancel", "Cancel the download; what is downloaded is kept."),
    Action("models.use", "u", "use", "Open a recipe that trains the selected model."),
    Action("models.delete", "d", "delete", "Delete the selected model from this disk.", destructive=True),
    Action(
        "models.fits", "f", "fits", "Of the models found, show all, or those that fit LoRA, QLoRA or full."
    ),
    Action("models.order", "o", "order", "Search by downloads, likes, newest or size."),
    Action("models.close", "escape", "close", "Close the search, or the line for a hub id."),
    Action("models.reload", "r", "reload", "Read models and memory again, or search again.", footer=False),
)
