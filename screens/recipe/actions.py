"""Actions of the Recipe screen."""

from screens.action import Action

ACTIONS = (
    Action("recipe.save", "f2,w", "save", "Save the recipe; asks for a path where it has none."),
    Action("recipe.next_pane", "f3,v", "text/form/plan", "Switch to the next pane: text, form, plan."),
    Action("recipe.start", "f5,t", "start", "Train this recipe as it is here, saved or not."),
    Action("recipe.edit", "e,enter", "edit", "Edit the text; escape leaves it."),
    Action("recipe.diff", "f4,d", "diff", "Show the changes since it was saved."),
    Action("recipe.next_problem", "f8,n", "problem", "Go to the next problem in the text."),
    Action("recipe.open", "f9,o", "open", "Open another recipe file."),
    Action(
        "recipe.outside", "f6,E", "editor", "Edit the text in the editor that EDITOR names.", footer=False
    ),
    Action("recipe.profile", "p", "profiles", "Start from a profile, built in or your own."),
    Action("recipe.undo", "u,ctrl+z", "undo", "Undo the last change, in text or form.", footer=False),
    Action("recipe.redo", "U,ctrl+y", "redo", "Redo what was undone.", footer=False),
    Action("recipe.save_as", "W", "save as", "Save the recipe to another file.", footer=False),
    Action(
        "recipe.save_profile", "P", "save profile", "Save the recipe as a profile of your own.", footer=False
    ),
)
