"""Actions of the Chat screen."""

from screens.action import Action

ACTIONS = (
    Action("chat.stop", "escape", "stop", "Stop the answer; without one, leave the line that is written in."),
    Action("chat.pick", "f2,m", "model", "Choose the run or checkpoint to talk to."),
    Action("chat.new", "f3,n", "new", "Start a new conversation."),
    Action("chat.view", "f4,v", "view", "Show trained and untrained side by side, or one of them."),
    Action(
        "chat.temperature", "f5,t", "temperature", "Set how freely answers are drawn; 0 takes the likeliest."
    ),
    Action("chat.copy", "f6,c", "copy", "Copy the last answer."),
    Action("chat.write", "i", "write", "Go to the line to write in.", footer=False),
)
