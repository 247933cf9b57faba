"""A real LlamaForCausalLM of about 100k parameters, with a tokenizer of its own, made in a second."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT, START_OF_TURN, END_OF_TURN = 0, 1, 2
VOCAB = 384

CORPUS = [
    "The quick brown fox jumps over the lazy dog. A bird in the hand is worth two in the bush.",
    "user assistant system tool: What is the capital of France? The capital of France is Paris.",
    'Answer with JSON: {"customer": "Mara", "items": [{"name": "tea", "qty": 2}], "to_go": true}',
    "Write a short story about a robot that learns to paint. Once upon a time there was a robot.",
    "0 1 2 3 4 5 6 7 8 9 10 11 12 one two three four five six seven eight nine ten",
]


def make_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write config, fp32 weights drawn with `seed`, tokenizer and template; the same bytes each time."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=START_OF_TURN,
        eos_token_id=END_OF_TURN,
        pad_token_id=END_OF_TEXT,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = END_OF_TURN
    model.generation_config.pad_token_id = END_OF_TEXT
    model.save_pretrained(folder)
    return folder


def make_family(folder: Path, tokenizer: Path, family: str, settings: Mapping[str, Any]) -> Path:
    """Write a tiny model of a transformers family (`Llama`, `Gemma3Text` …), random everywhere, with this tokenizer."""
    import torch
    import transformers

    config = family_config(family, settings)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)  # norms and biases that are not 1 and 0
    model.save_pretrained(folder)
    return copy_tokenizer(tokenizer, folder)


def family_config(family: str, settings: Mapping[str, Any]) -> Any:
    """transformers' config of a tiny model of that family."""
    import transformers

    small = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "eos_token_id": 2,
    }  # fmt: skip
    return getattr(transformers, f"{family}Config")(**small | dict(settings))


def seeing_config() -> Any:
    """transformers' config of a tiny Gemma 3 with a vision tower, whose layers have names of the language model's."""
    import transformers

    text = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "query_pre_attn_scalar": 16,
        "max_position_embeddings": 128, "sliding_window": 64, "sliding_window_pattern": 2,
        "pad_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    return transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)


def make_seeing(folder: Path, tokenizer: Path) -> Path:
    """Write a tiny Gemma 3 with a vision tower, with this tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.Gemma3ForConditionalGeneration(seeing_config()).save_pretrained(folder)
    return copy_tokenizer(tokenizer, folder)


def copy_tokenizer(source: Path, folder: Path) -> Path:
    """Give a model's folder the tokenizer and chat template of another one."""
    for file in [*source.glob("token*"), *source.glob("*.jinja")]:
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def change_model(
    source: Path,
    folder: Path,
    weights: Callable[[dict[str, Any]], dict[str, Any]] = lambda tensors: tensors,
    **config: Any,
) -> Path:
    """Write a copy of a model's folder with other tensors (torch's, by name) and values in its config.json.

    A value of `...` takes the key out.
    """
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    tensors = weights(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    change_json(folder / "config.json", **config)
    return folder


def change_json(path: Path, **values: Any) -> None:
    """Give a file of one JSON object other values; `...` takes a key out."""
    body = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in body.items() if value is not ...}))


def make_tokenizer(folder: Path) -> None:
    """Write tokenizer.json (byte-level BPE: any text has tokens), its config and the chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
