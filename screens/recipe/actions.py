"""Actions of the Recipe screen."""

from screens.action import Action

ACTIONS = (
    Action("recipe.save", "f2,w", "save", "Write the text to its file; asks where it has none."),
    Action("recipe.next_pane", "f3,v", "text/form/plan", "Go on to the next pane: text, form, plan."),
    Action("recipe.start", "f5,t", "start", "Train this recipe as it stands here."),
    Action("recipe.edit", "e,enter", "edit", "Go into the text; escape leaves it."),
    Action("recipe.diff", "f4,d", "diff", "Show what differs from the saved file."),
    Action("recipe.next_problem", "f8,n", "problem", "Go to the next problem in the text."),
    Action("recipe.open", "f9,o", "open", "Open another recipe file."),
    Action(
        "recipe.outside", "f6,E", "editor", "Edit the text in the program that EDITOR names.", footer=False
    ),
    Action("recipe.profile", "p", "profiles", "Start from a profile, shipped or your own."),
    Action("recipe.undo", "u,ctrl+z", "undo", "Take back the last change, by text or form.", footer=False),
    Action("recipe.redo", "U,ctrl+y", "redo", "Do again what was taken back.", footer=False),
    Action("recipe.save_as", "W", "save as", "Write the text to another file.", footer=False),
    Action(
        "recipe.save_profile", "P", "save profile", "Keep the text as a profile of your own.", footer=False
    ),
)
