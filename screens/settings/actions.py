"""Actions of the Settings screen."""

from screens.action import Action

ACTIONS = (
    Action("settings.previous", "left_square_bracket", "previous", "Go to the part before.", footer=False),
    Action("settings.next", "right_square_bracket", "next part", "Go to the next part."),
    Action("settings.set", "s", "set", "Set the chosen token; it goes into the system's keyring."),
    Action("settings.add", "a", "add", "Set a token under a name of your own."),
    Action("settings.test", "t", "test", "Ask the service whether it knows the chosen token."),
    Action("settings.forget", "f", "forget", "Take the token out of the keyring.", destructive=True),
    Action("settings.rebind", "e", "change key", "Give the chosen action another key."),
    Action("settings.original", "x", "original key", "Give the chosen action its original key again."),
    Action("settings.copy", "y", "copy", "Copy the chosen folder's path, or the versions."),
)
