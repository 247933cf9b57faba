"""Actions of the Home screen."""

from screens.action import Action

ACTIONS = (
    Action("home.next", "enter", "do it", "Do the one next thing that is proposed."),
    Action("home.train_starter", "t", "train starter", "Train the starter recipe at once."),
    Action("home.recipe", "e", "recipe", "Open this folder's train.yml, or else the starter's recipe."),
    Action("home.runs", "down,j", "recent runs", "Go into the list of recent runs; enter shows one."),
)
