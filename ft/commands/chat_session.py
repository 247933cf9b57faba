"""State of `ft chat`: what was said, and what the lines that begin with a slash do."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.data.conversation_file import ConversationFile
from engine.data.feedback import Exchange, Feedback
from engine.data.sampling_input import setting
from engine.data.tokenization.message_style import Tools
from engine.data.types import Message, Sampling
from engine.errors import ConfigError
from engine.inference.answer import Answer
from ft.commands.answer_output import show
from ft.commands.answering import Answers
from ft.console import say

HELP = "/help lists commands, /exit or ctrl-d leaves."
COMMANDS = {
    "/new": "start over",
    "/undo": "take back the last question and its answer",
    "/regenerate": "answer the last question again, with another seed",
    "/system TEXT": "set the system message, and start over",
    "/set NAME VALUE": "change a setting: temperature, top_p, top_k, min_p, repetition_penalty, seed, max_tokens",
    "/tool TEXT": "give the result of a function that the model called",
    "/save FILE": "add the conversation to a file of training rows",
    "/open FILE": "continue the last conversation of such a file",
    "/good": "save the last answer as a training row",
    "/bad": "mark the last answer as bad; with a good one to the same question it is saved as a preference",
    "/edit TEXT": "put a better answer in its place, and save both as a preference",
    "/exit": "leave",
}


class ChatSession:
    """A conversation, with one model or with two that are compared; the first of them writes its history."""

    def __init__(
        self,
        sides: Sequence[Answers],
        sampling: Sampling,
        tools: Tools,
        opening: tuple[Message, ...],
        feedback: Path,
    ) -> None:
        self.sides, self.sampling, self.tools, self.opening = sides, sampling, tools, opening
        self.said: list[list[Message]] = [[*opening] for _ in sides]
        """The messages of each side: the same questions, each side's own answers."""
        self._feedback = Feedback(feedback)
        self._file: ConversationFile | None = None
        self._attempt = 0

    def take(self, text: str) -> None:
        """Ask, or do what the line says. Raises FtError."""
        if not text.startswith("/"):
            self._ask(Message("user", text))
            return
        name, _, rest = text.partition(" ")
        does = getattr(self, f"_do_{name[1:]}", None) if name[1:].isalpha() else None
        if does is None:
            raise ConfigError(f"There is no command {name}.", HELP)
        does(rest.strip())

    def save_to(self, path: Path) -> None:
        """Write the conversation into a file from now on, after every answer. Raises ConfigError."""
        if self._file is None or self._file.path != path.expanduser().absolute():
            self._file = ConversationFile(path)
        self._save()

    def open(self, name: str) -> None:
        """Continue the last conversation of a file. Raises ConfigError."""
        file = ConversationFile(Path(name))
        messages, tools = file.open()
        self._file, self.tools = file, tools or self.tools
        self.said = [[*messages] for _ in self.sides]
        turns = sum(message.role == "user" for message in messages)
        say(f"{file.path}: {turns} question{'s' * (turns != 1)}; the next answers are written there too.")

    # Asking

    def _ask(self, question: Message) -> None:
        for said in self.said:
            said.append(question)
        self._attempt = 0
        self._answer()

    def _answer(self) -> None:
        """Ask every side for its answer. A question that fails is taken back."""
        answers: list[Answer] = []
        sampling = replace(self.sampling, seed=self.sampling.seed + self._attempt)
        try:
            for side, said in zip(self.sides, self.said, strict=True):
                if len(self.sides) > 1:
                    print(f"── {'base' if getattr(side, 'base', False) else 'trained'}", flush=True)
                answers.append(show(side.pieces(said, sampling, self.tools)))
        except BaseException:
            for said in self.said:
                said.pop()
            raise
        for said, answer in zip(self.said, answers, strict=True):
            said.append(answer.message)
        if any(answer.end and answer.end.finish == "length" for answer in answers):
            say(f"(cut after {sampling.max_tokens} tokens; /set max_tokens N allows more)")
        self._save()

    def _save(self) -> None:
        if self._file is not None and any(message.role == "assistant" for message in self.said[0]):
            self._file.save(self.said[0], self.tools)

    def _last(self) -> int:
        """Place of the last question in what the first side has heard. Raises ConfigError where there is none."""
        said = self.said[0]
        if not said or said[-1].role != "assistant":
            raise ConfigError("There is no answer yet.", "Ask something first.")
        return next(at for at in range(len(said) - 1, -1, -1) if said[at].role in ("user", "tool"))

    def _exchange(self) -> Exchange:
        self._last()
        *prompt, answer = self.said[0]
        return Exchange(tuple(prompt), answer, self.tools)

    # What the lines do

    def _do_help(self, rest: str) -> None:
        width = max(map(len, COMMANDS))
        say("\n".join(f"{name:<{width}}  {line}" for name, line in COMMANDS.items()))

    def _do_new(self, rest: str) -> None:
        self.said = [[*self.opening] for _ in self.sides]
        if self._file is not None:
            self._file.line = None

    def _do_system(self, rest: str) -> None:
        self.opening = (Message("system", rest),) if rest else ()
        self._do_new("")

    def _do_undo(self, rest: str) -> None:
        at = self._last()
        say(f"Took back: {self.said[0][at].content}")
        for said in self.said:
            del said[at:]
        self._save()

    def _do_regenerate(self, rest: str) -> None:
        self._last()
        if self.sampling.temperature == 0:
            raise ConfigError("Greedy decoding gives the same answer again.", "First: /set temperature 0.7")
        taken = [said.pop() for said in self.said]
        questions = [said[-1] for said in self.said]
        self._attempt += 1
        try:
            self._answer()
        except BaseException:
            for said, question, answer in zip(self.said, questions, taken, strict=True):
                said += [question, answer]
            raise

    def _do_set(self, rest: str) -> None:
        name, value = setting(rest)
        self.sampling = replace(self.sampling, **{name: value})  # type: ignore[arg-type]
        say(f"{name} is {value:g}.")

    def _do_tool(self, rest: str) -> None:
        self._ask(Message("tool", rest))

    def _do_save(self, rest: str) -> None:
        self._last()
        if not rest and self._file is None:
            raise ConfigError("/save needs a file.", "As in: /save chats.jsonl")
        self.save_to(Path(rest) if rest or self._file is None else self._file.path)
        assert self._file is not None
        say(f"Saved to {self._file.path}")

    def _do_open(self, rest: str) -> None:
        self.open(rest)

    def _do_good(self, rest: str) -> None:
        say("\n".join(self._feedback.rate(self._exchange(), "good")))

    def _do_bad(self, rest: str) -> None:
        say("\n".join(self._feedback.rate(self._exchange(), "bad")))

    def _do_edit(self, rest: str) -> None:
        exchange = self._exchange()
        if not rest:
            raise ConfigError(
                "/edit needs the better answer.", 'As in: /edit Four., or /edit """ for many lines'
            )
        better, lines = self._feedback.edit(exchange, rest)
        self.said[0][-1] = better
        self._save()
        say("\n".join(lines))
