"""Actions of the Datasets screen."""

from screens.action import Action

ACTIONS = (
    Action("datasets.add", "a", "add", "Add a file or folder of rows, or the starter."),
    Action("datasets.pane", "v", "view", "Switch to the next pane, where they do not all fit."),
    Action("datasets.next_row", "n,j", "next", "Go to the next row."),
    Action("datasets.previous_row", "p,k", "previous", "Go to the previous row."),
    Action("datasets.go_row", "g", "go to", "Go to a row by its number; -1 is the last."),
    Action("datasets.search", "slash", "search", "Go to the next row that contains a text."),
    Action("datasets.next_problem", "f", "problem", "Go to the next row with a problem."),
    Action("datasets.raw", "r", "raw", "Switch between the tokens of a row and its text in the file."),
    Action("datasets.bounds", "b", "bounds", "Mark token boundaries."),
    Action("datasets.use", "u", "use", "Open a recipe that trains on this file."),
    Action(
        "datasets.forget", "d", "drop", "Remove the file from this list; the file itself stays.", footer=False
    ),
    Action("datasets.close", "escape", "close", "Close the input line, or cancel a search.", footer=False),
)
