"""Actions of the Settings screen."""

from screens.action import Action

ACTIONS = (
    Action(
        "settings.previous", "left_square_bracket", "previous", "Go to the previous section.", footer=False
    ),
    Action("settings.next", "right_square_bracket", "next section", "Go to the next section."),
    Action("settings.set", "s", "set", "Set the selected token; it is stored in the system's keyring."),
    Action("settings.add", "a", "add", "Set a token under another name."),
    Action("settings.test", "t", "test", "Check the selected token with its service."),
    Action("settings.forget", "f", "forget", "Remove the selected token.", destructive=True),
    Action("settings.rebind", "e", "change key", "Change the key of the selected action."),
    Action("settings.original", "x", "default key", "Restore the default key of the selected action."),
    Action(
        "settings.doctor",
        "d",
        "doctor",
        "Look for what is wrong on this machine, and prove ft's claims on it.",
    ),
    Action("settings.copy", "y", "copy", "Copy the selected folder's path, or the versions."),
    # The sheet with what ft doctor finds
    Action("doctor.again", "r", "look again", "Look at machine, packages, folders and network again."),
    Action("doctor.prove", "p", "prove", "Try ft's own claims on this machine; again, to give it up."),
    Action("doctor.close", "escape,d", "close", "Go back to Settings; a proof ends with it."),
)
