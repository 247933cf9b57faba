"""Answers from a trained model, for people: a conversation in, text out as it comes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine.backend_spec import BackendSpec
from engine.backends.base import Model
from engine.backends.sampling import Sampler
from engine.data.token_spec import TokenSpec
from engine.data.tokenization.thought_blocks import block_at_end
from engine.data.tokenization.token_limits import answer_room
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Completion, Prompt, Sampling
from engine.errors import ModelError
from engine.inference.answer import Piece
from engine.inference.answer_parts import AnswerParts
from engine.inference.placement import answering
from engine.inference.stop_text import StopText, cut
from engine.models.shape import TokenRoom

UNFINISHED = "\ufffd"
"""Sign that decoding shows for a character whose last bytes are still to come."""


class Generator:
    """A model that answers conversations."""

    def __init__(self, model: Model, tokenizer: Tokenizer, room: TokenRoom) -> None:
        """`room` is what the model can take of a prompt and its answer."""
        self.model = model
        self.tokenizer = tokenizer
        self.room = room

    @classmethod
    def open(
        cls,
        base: Path,
        adapter: Path | None,
        spec: TokenSpec | None = None,
        trust_remote_code: bool = False,
        backend: BackendSpec | None = None,
    ) -> "Generator":
        """Load `base`, with the adapter of `adapter` (PEFT layout) where there is one; `spec` names the chat template,
        and the tokens that were added for the adapter.

        `backend` takes the place of the one that answers on this machine (`placement.answering`).
        Raises ModelError, and MachineError where torch multiplies wrongly here.
        """
        encoder = (spec or TokenSpec()).encoder(base)
        backend = backend or answering(base, adapter)
        assert backend.open is not None
        model: Model = backend.open(base, adapter, encoder.tokenizer.new, trust_remote_code)
        return cls(model, encoder.tokenizer, encoder.room)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Piece]:
        """The answer to a prompt, a piece for each token and one for the end, drawn with the prompt's own seed.

        Raises ConfigError where the model has no positions left for an answer, ModelError where it lacks a token.
        """
        template = self.tokenizer.template(prompt.tools)
        if prompt.tools and not template.shows_tools:
            raise ModelError(
                "The chat template of this model shows no tools, so it would not see them.",
                "Leave the tools out, or train with a template that has them: model.chat_template: chatml",
            )
        ids, most = self._fitting([prompt], sampling.max_tokens)[0]
        tokens: list[int] = []
        stop = StopText(sampling.stop)
        parts = AnswerParts(block_at_end(self.tokenizer.decode(ids, skip_special=False)), prompt.tools)
        for delta in self._deltas(ids, most, Sampler.seeded(sampling, [prompt.seed]), tokens):
            yield parts.take(stop.take(delta))
            if stop.stopped:
                break
        yield parts.end(stop.rest(), len(tokens) == most and not stop.stopped, len(ids), len(tokens))

    def _deltas(
        self, ids: Sequence[int], most: int, sampler: Sampler | None, tokens: list[int]
    ) -> Iterator[str]:
        """The text that each token of an answer adds, empty while a character is not finished; `tokens` grows with it.

        Whoever listens can stop it at each of them, also where a model never finishes a character.
        """
        shown = ""
        for token in self.model.stream(ids, most, self.tokenizer.stop_ids, sampler):
            tokens.append(token)
            text = self.tokenizer.written(tokens)
            if text.endswith(UNFINISHED):
                yield ""
            else:
                yield text[len(shown) :]
                shown = text
        if rest := self.tokenizer.written(tokens)[len(shown) :]:
            yield rest

    def answers(
        self, prompts: Sequence[Prompt], sampling: Sampling, poll: Callable[[], None]
    ) -> list[Completion]:
        """The answers to all prompts, made together, each drawn with its prompt's own seed.

        `poll` is called before every token and may raise `Interrupted`.
        """
        fitting = self._fitting(prompts, sampling.max_tokens)
        ids, max_tokens = [one for one, _ in fitting], min(most for _, most in fitting)
        sampler = Sampler.seeded(sampling, [prompt.seed for prompt in prompts])
        found = self.model.generate(ids, max_tokens, self.tokenizer.stop_ids, poll, sampler)
        completions = []
        for tokens in found:
            text, stopped = cut(self.tokenizer.decode(tokens), sampling.stop)
            completions.append(Completion(text, stopped or len(tokens) < max_tokens))
        return completions

    def _fitting(self, prompts: Sequence[Prompt], max_tokens: int) -> list[tuple[list[int], int]]:
        """The tokens of each prompt, and how many its answer may have."""
        found = []
        for prompt in prompts:
            ids = self.tokenizer.prompt_ids(prompt.messages, prompt.tools)
            most = answer_room(ids, self.tokenizer, self.room, "the conversation")
            found.append((ids, max_tokens if most is None else min(max_tokens, most)))
        return found
