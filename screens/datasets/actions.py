"""Actions of the Datasets screen."""

from screens.action import Action

ACTIONS = (
    Action("datasets.add", "a", "add", "Add a file or folder of rows, or the starter."),
    Action("datasets.pane", "v", "view", "Show the next pane, where there is not room for all."),
    Action("datasets.next_row", "n,j", "next", "Go to the next row."),
    Action("datasets.previous_row", "p,k", "previous", "Go to the row before."),
    Action("datasets.go_row", "g", "go to", "Go to a row by its number; -1 is the last."),
    Action("datasets.search", "slash", "search", "Go to the next row that holds some words."),
    Action("datasets.next_problem", "f", "problem", "Go to the next row with a problem."),
    Action(
        "datasets.raw", "r", "raw", "Switch between the tokens of a row and the row as it stands in the file."
    ),
    Action("datasets.bounds", "b", "bounds", "Show where one token ends and the next begins."),
    Action("datasets.use", "u", "use", "Open a recipe that trains on this file."),
    Action(
        "datasets.forget", "d", "drop", "Take the file from this list; the file itself stays.", footer=False
    ),
    Action(
        "datasets.close", "escape", "close", "Close the line that asks, or give up a search.", footer=False
    ),
)
