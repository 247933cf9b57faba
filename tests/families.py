"""Model folders of the families whose chat templates the installed `trl` ships: a tokenizer with the tokens that the
template writes, and what the family's own settings say of where an answer ends."""

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from tests.tiny import VOCAB, make_tokenizer

SPECIAL = re.compile(
    r"<\|[^|<>\s{}']+\|?>|<[^|<>\s{}']+\|>|<｜[^｜<>]+｜>|<\|\"\|>|</?s>|<(?:bos|eos|sop|start_of_turn|end_of_turn|"
    r"end_of_utterance)>|\[/?INST\]|\[gMASK\]"
)
"""Spellings of the tokens that the families' tokenizers call special."""
WORDS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
"""Added tokens that are not special: the model writes them as it writes words."""
EOS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "diffusion_gemma": "<eos>",
    "gemma": "<eos>",
    "glm4moe": "<|endoftext|>",
    "gptoss": "<|return|>",
    "idefics3": "<|end_of_text|>",
    "llama3": "<|eot_id|>",
    "llava_next": "</s>",
    "muse_glimmer": "<|eot|>",
    "phi3": "<|endoftext|>",
}
"""A family's `eos_token`, by how its templates' names begin; `<|im_end|>` for all others."""
STOPS: Mapping[str, Sequence[str]] = {
    "diffusion_gemma": ("<eos>", "<turn|>", "<|tool_response>"),
    "gemma4": ("<eos>", "<turn|>", "<|tool_response>"),
    "glm4moe": ("<|endoftext|>", "<|user|>", "<|observation|>"),
    "gptoss": ("<|return|>", "<|endoftext|>", "<|call|>"),
}
"""The `eos_token_id` of a family's generation_config.json, where it is more than the `eos_token`."""
BOS = {
    "cohere": "<BOS_TOKEN>",
    "deepseek": "<｜begin▁of▁sentence｜>",
    "diffusion_gemma": "<bos>",
    "gemma": "<bos>",
    "lfm2": "<|startoftext|>",
    "llama3": "<|begin_of_text|>",
    "muse_glimmer": "<|begin_of_text|>",
}


def shipped() -> dict[str, str]:
    """The chat templates of the installed `trl` by name, read without importing it."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.jinja"))}


def make_weights(folder: Path) -> Path:
    """Weights and settings of a tiny model with room for the tokens of any family."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB + 64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_model(folder: Path, name: str, template: str, lead: str = "", swallows: str = "") -> Path:
    """The tokenizer of a family that knows the template's tokens, and the template.

    `lead` is the token that it puts in front of a text, `swallows` one that takes the white space behind it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(folder)
    about = json.loads((folder / "tokenizer_config.json").read_text())
    about["eos_token"] = _of(EOS, name) or "<|im_end|>"
    about.pop("bos_token")
    if bos := _of(BOS, name):
        about["bos_token"] = bos
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    stops = _of(STOPS, name) or (about["eos_token"],)
    written = {token for token in SPECIAL.findall(template) if token not in WORDS}
    special = sorted({*written, *stops, about["eos_token"], *filter(None, [bos, lead])})
    backend.add_special_tokens([AddedToken(text, rstrip=text == swallows, special=True) for text in special])
    if lead:
        backend.post_processor = TemplateProcessing(f"{lead} $A", None, [(lead, backend.token_to_id(lead))])
    backend.add_tokens([word for word in WORDS if word in template])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    ids = [backend.token_to_id(token) for token in stops]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def _of(table: Mapping[str, Any], name: str) -> Any:
    return next((value for start, value in table.items() if name.startswith(start)), None)
