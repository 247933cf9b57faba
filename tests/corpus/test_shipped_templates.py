"""Every chat template that `trl` ships, with every kind of conversation: what is trained is what the model will
have to write, compared with transformers' own rendering."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.data.formats.base import RowError
from engine.data.formats.messages import messages_of, tools_of
from engine.data.tokenization.row_encoder import Encoded, Rendered, RowEncoder
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation
from tests.families import make_model, shipped

TEMPLATES = shipped()
FRUIT = {"type": "object", "properties": {"fruit": {"type": "string", "description": "Which."}}}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "stock", "description": "Stock of a fruit.", "parameters": FRUIT},
    }
]


def asks(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str, thoughts: str = "", *fruits: str) -> dict[str, Any]:
    """An assistant's turn, with thoughts and calls where there are any."""
    calls = [
        {
            "id": f"call0000{at}",
            "type": "function",
            "function": {"name": "stock", "arguments": {"fruit": fruit}},
        }
        for at, fruit in enumerate(fruits)
    ]
    more = {"reasoning_content": thoughts} if thoughts else {}
    return {"role": "assistant", "content": text, **more, **({"tool_calls": calls} if calls else {})}


def gives(text: str, call: int = 0) -> dict[str, Any]:
    return {"role": "tool", "name": "stock", "tool_call_id": f"call0000{call}", "content": text}


def thinks(thoughts: str, text: str) -> dict[str, Any]:
    return says(f"<think>\n{thoughts}\n</think>\n\n{text}")


CHATS = {
    "plain": [asks("Colour?"), says("Mostly green.")],
    "system": [{"role": "system", "content": "Be a gardener."}, asks("Colour?"), says("Mostly green.")],
    "many turns": [
        *(asks("Colour?"), says("Mostly green.")),
        *(asks("Size?"), says("Rather small.")),
        *(asks("Taste?"), says("A bit sour.")),
    ],
    "tools": [asks("Apples?"), says("", "", "apple"), gives("4"), says("Four left.")],
    "parallel calls": [
        *(asks("Apples and kakis?"), says("", "", "apple", "kaki")),
        *(gives("4"), gives("9", 1), says("Four and nine.")),
    ],
    "text beside a call": [
        asks("Apples?"),
        says("I count them.", "", "apple"),
        gives("4"),
        says("Four left."),
    ],
    "reasoning in a field": [
        *(asks("2+2?"), says("It is 4.", "Doubling 2.")),
        *(asks("And one?"), says("That is 5.", "4 plus one.")),
    ],
    "inline thoughts": [
        *(asks("2+2?"), thinks("Doubling 2.", "It is 4.")),
        *(asks("And one?"), thinks("4 plus one.", "That is 5.")),
    ],
    "thoughts without their opening tag": [asks("2+2?"), says("Doubling 2.\n</think>\n\nIt is 4.")],
    "an agent that thinks": [
        *(asks("Apples?"), says("", "Look it up.", "apple"), gives("4"), says("Four left.", "Tell it.")),
        *(asks("Kakis?"), says("", "Look again.", "kaki"), gives("9"), says("Nine left.", "Say it.")),
    ],
}
CALLS = ("tools", "parallel calls", "text beside a call", "an agent that thinks")

NO_CALLS = ("cohere", "cohere2", "gemma", "gemma3", "idefics3", "lfm2", "llama3", "llava_next", "phi3", "phi3_5",
            "qwen2_5_vl")  # fmt: skip
"""Templates that show no calls of tools."""
REFUSED = {
    **{(name, kind): "does not show calls" for name in NO_CALLS for kind in CALLS},
    ("gemma", "system"): "System role not supported",
    ("llama3_1", "parallel calls"): "only supports single tool-calls",
    ("llama3_2", "parallel calls"): "only supports single tool-calls",
    # It writes the text behind the result of the call.
    ("diffusion_gemma", "text beside a call"): "unlike its generation prompt",
}
"""All rows that are refused, and what is said of them; a template for training is like its original."""
NO_REASONING = ("cohere", "cohere2", "gemma", "gemma3", "gemma4", "idefics3", "lfm2", "llama3", "llama3_1", "llama3_2",
                "llava_next", "phi3", "phi3_5", "qwen2_5", "qwen2_5_vl", "qwen3_instruct_2507", "qwen3_vl")  # fmt: skip
"""Templates that show no thoughts; Gemma 4 shows those of calls."""
DEEPSEEK = ("deepseek_r1_distill", "deepseekv3")
UNSEEN = {
    **{(name, "reasoning in a field"): ("reasoning",) for name in NO_REASONING},
    **{(name, "an agent that thinks"): ("reasoning",) for name in NO_REASONING},
    # The prompt closes the block of thoughts, and only model.template_variables opens it.
    **{("qwen3_5_nothink", kind): ("reasoning",) for kind in (
        "reasoning in a field", "inline thoughts", "thoughts without their opening tag", "an agent that thinks")},
    **{(name, kind): ("tools",) for name in DEEPSEEK for kind in CALLS},
    **{(name, "an agent that thinks"): ("reasoning", "tools") for name in DEEPSEEK},
    ("deepseek_r1_distill", "text beside a call"): ("calls of tools", "tools"),
    ("gptoss", "parallel calls"): ("calls of tools",),
    **{(name, "text beside a call"): ("text of an answer",) for name in ("llama3_1", "llama3_2", "muse_glimmer")},
}  # fmt: skip
"""All that a template leaves out of a conversation, which a run says."""
AS_TEXT = ("deepseek_r1_distill", "deepseek_r1_distill_training", "deepseekv3")
"""Templates that put a call's arguments in as text."""
AS_PARTS = ("idefics3", "llava_next")
"""Templates that take lists of parts alone."""
ROLE_ENDS = ("<|user|>", "<|observation|>", "<｜tool▁outputs▁begin｜>")
"""The first token of the next turn ends what the template leaves open: all turns of GLM-4, one call of R1-Distill."""


def original(name: str) -> str:
    return name.removesuffix("_training")


def row_of(turns: list[dict[str, Any]], kind: str) -> Conversation:
    tools = tools_of({"tools": TOOLS if kind in CALLS else []})
    return Conversation(messages_of(turns, "messages"), f"{kind}:1", tools)


class Theirs:
    """transformers' rendering of the same turns, given as the family wants them."""

    def __init__(self, folder: Path, name: str) -> None:
        from transformers import PreTrainedTokenizerFast

        self._name = name
        self._tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    def render(self, turns: list[dict[str, Any]], kind: str, prompt: bool = False) -> str:
        given, tools = [self._given(turn) for turn in turns], TOOLS if kind in CALLS else None
        text: str = self._tokenizer.apply_chat_template(
            given, tools, tokenize=False, add_generation_prompt=prompt
        )
        return text

    def ids(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def _given(self, turn: dict[str, Any]) -> dict[str, Any]:
        turn = dict(turn)
        if "reasoning_content" in turn:
            turn["reasoning"] = turn["thinking"] = turn["reasoning_content"]
        if "tool_calls" in turn and self._name in AS_TEXT:
            calls = [call["function"] for call in turn["tool_calls"]]
            turn["tool_calls"] = [
                {"type": "function", "function": {**call, "arguments": json.dumps(call["arguments"])}}
                for call in calls
            ]
            turn["content"] = turn["content"] or None
        if original(self._name) == "qwen3_8" and "</think>" in turn["content"]:
            thoughts, _, text = turn["content"].partition("</think>")
            turn["reasoning_content"] = thoughts.removeprefix("<think>").strip()
            turn["content"] = text.strip()
        if original(self._name) in AS_PARTS:
            turn["content"] = [{"type": "text", "text": turn["content"]}]
        return turn


@dataclass(frozen=True)
class Family:
    name: str
    ours: Tokenizer
    theirs: Theirs


@pytest.fixture(scope="module", params=sorted(TEMPLATES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    name = request.param
    folder = make_model(tmp_path_factory.mktemp(name), name, TEMPLATES[name])
    return Family(name, Tokenizer.load(folder), Theirs(folder, name))


@dataclass(frozen=True)
class Answer:
    """An answer in a text: where its prompt ends, where it ends itself, and what is trained between the two."""

    text: str
    asked: int
    end: int
    said: str


def answers_of(found: list[Rendered], prompts: list[int]) -> list[Answer]:
    """The answers, whose prompts are so long, in the texts that are trained; an answer may have several spans."""
    spans = [(each.text, span) for each in found for span in each.spans]
    answers = []
    for asked, following in itertools.zip_longest(prompts, prompts[1:], fillvalue=10**9):
        text, own = spans[0][0], []
        while spans and spans[0][0] == text and (not own or spans[0][1][1] <= following):
            own.append(spans.pop(0)[1])
        answers.append(Answer(text, asked, own[-1][1], "".join(text[start:end] for start, end in own)))
        assert own[0][0] >= asked
    assert not spans
    return answers


def assert_shown(answer: Answer, prompt: str, through: str, alone: str) -> None:
    """Behind its prompt stands what the template shows of the turn, up to its end. `alone` is the same turn behind its
    question alone: DeepSeek's templates open the calls of the first turn only."""
    assert answer.text.startswith(prompt)
    written = answer.text[len(prompt) : answer.end]
    if through.startswith(prompt):
        ending = next((end for end in ROLE_ENDS if written.endswith(end) and not through.endswith(end)), "")
        assert through[len(prompt) :].startswith(written.removesuffix(ending))
        behind = through[len(prompt) + len(written) - len(ending) :]
        assert behind.strip() in ("", "<|endoftext|>")
        return
    own = written.rpartition("</think>")[2].strip().removesuffix(ROLE_ENDS[-1])
    assert written.startswith("\n</think>") or not (prompt[-1].isspace() and written[0].isspace())
    shown = (through.rstrip().endswith(own), alone.rstrip().endswith(own))
    assert any(shown), "the template's own text, but for thoughts, or a block that the prompt opens"


@pytest.mark.parametrize("kind", CHATS)
def test_shipped_templates_train_what_prompt_asks(family: Family, kind: str) -> None:
    turns, theirs = CHATS[kind], family.theirs
    encoder = RowEncoder(family.ours, "assistant")
    if why := REFUSED.get((original(family.name), kind)):
        with pytest.raises(RowError, match=why):
            encoder.render(row_of(turns, kind))
        return
    found = encoder.render(row_of(turns, kind))
    places = [index for index, turn in enumerate(turns) if turn["role"] == "assistant"]
    prompts = [theirs.render(turns[:index], kind, prompt=True) for index in places]
    answers = answers_of(found, list(map(len, prompts)))

    left_out = UNSEEN.get((original(family.name), kind), ())
    assert found[0].unseen == left_out
    for index, prompt, answer in zip(places, prompts, answers, strict=True):
        asked = max(at for at in range(index) if turns[at]["role"] == "user")
        through, alone = (theirs.render(turns[first : index + 1], kind) for first in (0, asked))
        assert_shown(answer, prompt, through, alone)
        for what, words in pieces(turns[index]):
            assert words in answer.said or what in left_out, "nothing is lost without being told"
    for before, prompt, answer in zip(answers, prompts[1:], answers[1:], strict=False):
        shares = prompt.startswith(before.text[: before.end])
        assert (answer.text == before.text) == shares, (
            "one example as long as the model has learned its history"
        )
    whole = theirs.render(turns, kind)
    if len(found) == 1 and family.name != "glm4moe" and whole.startswith(prompts[-1]):
        assert found[0].text == whole
    for text, encoded in zip(found, encoder.encode(found), strict=True):
        assert_tokens(text, encoded, family)


def assert_tokens(text: Rendered, encoded: Encoded, family: Family) -> None:
    """The ids before an answer are those of its prompt, and an answer ends with a token that stops the model."""
    for (begin, _), (start, end) in zip(text.spans, encoded.spans, strict=True):
        assert encoded.ids[:start] == family.theirs.ids(text.text[:begin])
        assert encoded.ids[end - 1] in family.ours.stop_ids


def pieces(turn: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Pieces of an answer, each with the name under which its loss is reported."""
    thoughts, closing, text = turn["content"].rpartition("</think>")
    yield "text of an answer", text.strip()
    if closing:
        yield "reasoning", thoughts.removeprefix("<think>").strip()
    yield "reasoning", turn.get("reasoning_content", "")
    for call in turn.get("tool_calls", ()):
        yield "calls of tools", call["function"]["name"]
        yield "calls of tools", call["function"]["arguments"]["fruit"]
