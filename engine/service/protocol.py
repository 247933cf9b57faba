"""Messages between the service and those who ask it: JSON objects with an id, whatever carries them.

Asked    {"v": 1, "id": 1, "op": "generate", "request": {…}}
         {"v": 1, "id": 2, "cancel": 1}
Answered {"id": 1, "value": …} … {"id": 1, "done": true, "cancelled": false}
         {"id": 1, "error": {"kind": …, "message": …, "hint": …, "problems": […]}}

A `request` and a `value` are what `engine.codec` makes of the operation's types (`engine/service/operations`). An
operation has one value, a stream any number. `cancel` has no answer of its own: the request that it names ends early.
"""

from dataclasses import dataclass
from typing import Any

from engine.codec import decode, encode
from engine.config.problems import Problem, RecipeError
from engine.data.setting_advice import in_recipe
from engine.errors import KINDS, FtError

Message = dict[str, Any]
VERSION = 1
"""Version of the protocol; the service answers no other."""


@dataclass(frozen=True)
class Failure:
    """An error as it is sent; only a recipe's error has problems."""

    kind: str
    message: str
    hint: str = ""
    problems: tuple[Problem, ...] = ()

    @staticmethod
    def of(error: FtError) -> "Failure":
        """The description of an error."""
        problems = error.problems if isinstance(error, RecipeError) else ()
        return Failure(error.kind, error.message, in_recipe(error.hint), problems)

    def error(self) -> FtError:
        """The error that was described."""
        if self.problems:
            return RecipeError(list(self.problems), self.hint)
        return KINDS.get(self.kind, FtError)(self.message, self.hint)


def asked(number: int, operation: str, request: Any) -> Message:
    """The message that asks."""
    return {"v": VERSION, "id": number, "op": operation, "request": encode(request)}


def cancelled(number: int, target: int) -> Message:
    """The message that cancels another."""
    return {"v": VERSION, "id": number, "cancel": target}


def failed(number: Any, error: FtError) -> Message:
    """The last message of an answer that failed; without an id where the request could not be read."""
    return {"id": number, "error": encode(Failure.of(error))}


def error_of(message: Message) -> FtError | None:
    """The error that an answer ends with; None in all other messages."""
    return decode(Failure, message["error"]).error() if "error" in message else None
