"""Actions of the Chat screen."""

from screens.action import Action

ACTIONS = (
    Action("chat.stop", "escape", "stop", "Stop the answer; without one, leave the prompt."),
    Action("chat.pick", "f2,m", "model", "Choose the run or checkpoint to chat with."),
    Action("chat.new", "f3,n", "new", "Start a new conversation."),
    Action("chat.view", "f4,v", "view", "Show the trained and the base model side by side, or one of them."),
    Action("chat.temperature", "f5,t", "temperature", "Set the sampling temperature; 0 decodes greedily."),
    Action("chat.copy", "f6,c", "copy", "Copy the last answer."),
    Action("chat.write", "i", "write", "Go to the prompt.", footer=False),
)
