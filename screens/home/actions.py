"""Actions of the Home screen."""

from screens.action import Action

ACTIONS = (
    Action("home.next", "enter", "do it", "Do the suggested next step."),
    Action("home.train_starter", "t", "train starter", "Train the starter recipe now."),
    Action("home.recipe", "e", "recipe", "Open this folder's train.yml, or else the starter's recipe."),
    Action("home.runs", "down,j", "recent runs", "Go to the list of recent runs; enter opens one."),
)
