"""Answers from a trained model, for people: a conversation in, text out as it comes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.data.token_spec import TokenSpec
from engine.data.tokenization.token_limits import answer_room
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Completion, Prompt
from engine.errors import ModelError
from engine.models.sizing import TokenRoom

UNFINISHED = "\ufffd"
"""What decoding shows for a character whose last bytes are still to come."""


class Generator:
    """A model that answers, its adapter folded into the weights, or its virtual tokens in front."""

    def __init__(self, model: Any, tokenizer: Tokenizer, room: TokenRoom) -> None:
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
    ) -> "Generator":
        """Load `base`, with the adapter of `adapter` (PEFT layout) where there is one; `spec` names the chat template,
        and the tokens that were added for the adapter.

        Raises ModelError, and MachineError where torch multiplies wrongly here.
        """
        import torch

        from engine.backends.torch.loading import load_adapter, load_causal, trying_out
        from engine.backends.torch.products import refuse_wrong_products
        from engine.backends.torch.vocabulary import grow

        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
        # One token at a time, a CPU is fastest in fp32: nothing is cast on the way.
        dtype = torch.float32 if device == "cpu" else "auto"
        model = load_causal(base, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        refuse_wrong_products(model.device, model.dtype)
        encoder = (spec or TokenSpec()).encoder(base)
        grow(model, encoder.tokenizer.new)
        if adapter is not None:
            model = load_adapter(model, adapter)
            if not model.active_peft_config.is_prompt_learning:  # virtual tokens are in no weight
                model = model.merge_and_unload()
        with trying_out(base), torch.no_grad():
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
        return cls(model.eval(), encoder.tokenizer, encoder.room)

    def stream(self, prompt: Prompt, max_tokens: int, temperature: float = 0.0) -> Iterator[str]:
        """The answer to a prompt, a piece for each token; greedy at temperature 0, else drawn with the prompt's seed.

        A piece is empty while a character is not finished. Raises ConfigError where the model has no positions left
        for an answer, ModelError where it lacks a token.
        """
        from engine.backends.torch.generate import Draw, stream

        if prompt.tools and not self.tokenizer.template(prompt.tools).shows_tools:
            raise ModelError(
                "The chat template of this model shows no tools, so it would not see them.",
                "Leave the tools out, or train with a template that has them: model.chat_template: chatml",
            )
        ids, max_tokens = self._fitting([prompt], max_tokens)[0]
        draw = Draw(temperature, [prompt.seed]) if temperature else None
        tokens: list[int] = []
        shown = ""
        for token in stream(self.model, ids, max_tokens, self.tokenizer.stop_ids, draw):
            tokens.append(token)
            text = self.tokenizer.decode(tokens)
            if text.endswith(UNFINISHED):
                yield ""  # whoever listens can stop it here, also where a model never finishes a character
            else:
                yield text[len(shown) :]
                shown = text
        rest = self.tokenizer.decode(tokens)[len(shown) :]
        if rest:
            yield rest

    def answers(
        self, prompts: Sequence[Prompt], max_tokens: int, temperature: float, poll: Callable[[], None]
    ) -> list[Completion]:
        """The answers to all prompts, made at once; greedy at temperature 0, else drawn with each prompt's own seed.

        `poll` is called before every token and may raise `Interrupted`.
        """
        from engine.backends.torch.generate import Draw, generate

        fitting = self._fitting(prompts, max_tokens)
        ids, max_tokens = [one for one, _ in fitting], min(most for _, most in fitting)
        draw = Draw(temperature, [prompt.seed for prompt in prompts]) if temperature else None
        found = generate(self.model, ids, max_tokens, self.tokenizer.stop_ids, poll, draw)
        return [Completion(self.tokenizer.decode(tokens), len(tokens) < max_tokens) for tokens in found]

    def _fitting(self, prompts: Sequence[Prompt], max_tokens: int) -> list[tuple[list[int], int]]:
        """The tokens of each prompt, and how many its answer may have."""
        found = []
        for prompt in prompts:
            ids = self.tokenizer.prompt_ids(prompt.messages, prompt.tools)
            most = answer_room(ids, self.tokenizer, self.room, "the conversation")
            found.append((ids, max_tokens if most is None else min(max_tokens, most)))
        return found
