"""What the Chat screen's workers tell it."""

from textual.message import Message

from engine.data.tokenization.message_style import Tools
from screens.chat.conversation import OVER, Answer, Side
from screens.chat.models import ChatModel


class Grown(Message):
    """An answer as it is now; a newer one replaces an older one in the queue. `talk` counts conversations."""

    def __init__(self, talk: int, number: int, side: Side, answer: Answer) -> None:
        super().__init__()
        self.talk, self.number, self.side, self.answer = talk, number, side, answer

    def can_replace(self, message: Message) -> bool:
        return (
            isinstance(message, Grown)
            and (message.talk, message.number, message.side) == (self.talk, self.number, self.side)
            and message.answer.state not in OVER
        )


class ToolsRead(Message):
    """The functions that the models may call from now on."""

    def __init__(self, tools: Tools) -> None:
        super().__init__()
        self.tools = tools


class Chosen(Message):
    """The model to talk to; None where none is trained. `first`: only where none is chosen yet."""

    def __init__(self, talker: ChatModel | None, first: bool = False) -> None:
        super().__init__()
        self.talker, self.first = talker, first


class Listed(Message):
    """All models that there are to talk to."""

    def __init__(self, talkers: list[ChatModel]) -> None:
        super().__init__()
        self.talkers = talkers
