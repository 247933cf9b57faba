"""Calls of tools: taken out of what a model writes, whole and in a stream."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Server, serving
from tests.tiny import CHAT_TEMPLATE, copy_tokenizer

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look a word up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}
TEMPLATE = (
    "{% if tools %}Tools: {{ tools | map(attribute='function.name') | join(' ') }}\n{% endif %}"
    + CHAT_TEMPLATE
)
WRITTEN = 'Look.\n<tool_call>\n{"name": "look_up", "arguments": {"word": "fox"}}\n</tool_call>'


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model that has learnt one answer by heart, which calls a tool."""
    import torch
    from transformers import AutoModelForCausalLM

    from engine.data.tokenization.tokenizer import Tokenizer
    from engine.data.types import Message

    folder = tmp_path_factory.mktemp("calling")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    copy_tokenizer(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    model.save_pretrained(folder)
    tokenizer = Tokenizer.load(folder)
    prompt = tokenizer.prompt_ids([Message("user", "Find fox.")], (TOOL,))
    answer = tokenizer.encode([WRITTEN + "<|im_end|>"], special=False)[0]
    ids = torch.tensor([prompt + answer])
    labels = torch.tensor([[-100] * len(prompt) + answer])
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(200):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if float(loss.detach()) < 0.02:
            break
    model.save_pretrained(folder)
    with serving(folder) as running:
        yield running


def test_the_client_gets_calls_whole_and_streamed(server: Server) -> None:
    body: dict[str, Any] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Find fox."}],
        "tools": [TOOL],
        "temperature": 0,
    }
    choice = server.client.chat.completions.create(**body).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Look."
    assert choice.message.tool_calls
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("look_up", {"word": "fox"})
    with server.client.chat.completions.stream(**body) as events:
        streamed = events.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert (streamed.message.content or "").strip() == "Look."
    assert streamed.message.tool_calls
    assert streamed.message.tool_calls[0].function.arguments == call.function.arguments
    result = {"role": "tool", "tool_call_id": call.id, "content": "An animal."}
    later = [*body["messages"], choice.message.model_dump(exclude_none=True), result]
    assert server.client.chat.completions.create(**body | {"messages": later, "max_tokens": 4}).choices
    hidden = server.client.chat.completions.create(**body, tool_choice="none", max_tokens=4).choices[0]
    assert hidden.message.tool_calls is None
