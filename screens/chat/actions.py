"""Actions of the Chat screen."""

from screens.action import Action

ACTIONS = (
    Action("chat.stop", "escape", "stop", "Stop the answer; without one, leave the prompt."),
    Action("chat.pick", "f2,m", "model", "Choose the run or checkpoint to chat with."),
    Action("chat.new", "f3,n", "new", "Start a new conversation."),
    Action("chat.view", "f4,v", "view", "Show the trained and the base model side by side, or one of them."),
    Action("chat.temperature", "f5,t", "temperature", "Set the sampling temperature; 0 decodes greedily."),
    Action("chat.use", "f10,x", "use", "Evaluate, export, merge, serve or push this model."),
    Action("chat.copy", "f6,c", "copy", "Copy the last answer."),
    Action("chat.good", "f7,g", "good", "Save the last answer of the side in focus as a training row."),
    Action(
        "chat.bad",
        "f8,b",
        "bad",
        "Mark it as bad: with a good answer to the same question it is a preference.",
    ),
    Action(
        "chat.edit",
        "e",
        "edit",
        "Write a better answer in its place, and save both as a preference.",
        footer=False,
    ),
    Action(
        "chat.regenerate", "f9,r", "again", "Answer the last question again, with another seed.", footer=False
    ),
    Action("chat.undo", "u", "undo", "Take back the last question and its answers.", footer=False),
    Action("chat.write", "i", "write", "Go to the prompt.", footer=False),
)
