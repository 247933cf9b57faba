"""Commands and code that use what a folder holds, one for each program that can load it."""

from collections.abc import Iterator
from typing import NamedTuple

from engine.publishing.model_card import ADAPTER, MODEL, ModelCard

HERE = "path/to/this/folder"
"""Place of the files where no repository is known."""
BASE = "path/to/the/base"
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for --max-lora-rank."""
WHOLE = (MODEL, "merged")
CHAT = """\
messages = [{"role": "user", "content": "Hello!"}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
"""
PLAIN = 'inputs = tokenizer("Once upon a time", return_tensors="pt")\n'
ANSWER = """\
answer = model.generate(**inputs, max_new_tokens=200)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""


class Usage(NamedTuple):
    """Code for one program. `language` is that of its fence in Markdown."""

    program: str
    language: str
    code: str


def usages(card: ModelCard) -> Iterator[Usage]:
    """Every program that loads the card's files as they are, those that most people have first."""
    place = card.location or HERE
    match card.format:
        case "adapter":
            yield Usage("transformers and PEFT", "python", _peft(card, place))
            yield Usage("ft", "sh", f"ft chat {HERE}")
            if rank := _vllm_rank(card):
                lora = f"--enable-lora --max-lora-rank {rank} --lora-modules {card.title}={place}"
                revision = f" --revision {card.base.revision}" if card.base.revision else ""
                yield Usage("vLLM", "sh", f"vllm serve {card.base.name}{revision} {lora}")
        case "model" | "merged":
            yield Usage("transformers", "python", _transformers(card, place))
            yield Usage("ft", "sh", f"ft chat {HERE}")
            yield Usage("vLLM", "sh", f"vllm serve {place}")
            yield Usage("mlx-lm", "sh", f'mlx_lm.generate --model {place} --prompt "Hello!"')
        case "gguf" | "ollama":
            yield from _gguf(card)
        case "gguf-adapter":
            for file in _ggufs(card):
                yield Usage("llama.cpp", "sh", f"llama-cli -m path/to/base.gguf --lora {file}")
        case "mlx":
            yield Usage("mlx-lm", "sh", f'mlx_lm.generate --model {place} --prompt "Hello!"')
        case "mlx-adapter":
            base = card.base.name if card.base.on_hub else BASE
            command = f'mlx_lm.generate --model {base} --adapter-path {HERE} --prompt "Hello!"'
            yield Usage("mlx-lm", "sh", command)


def elsewhere(card: ModelCard) -> str:
    """Sentence on the programs that need other files, and the commands that make them; empty where there are none."""
    made = {ADAPTER: ("gguf", "mlx-adapter", "ollama", "merged"), MODEL: ("gguf", "mlx", "ollama")}
    made["merged"] = made[MODEL]
    if card.format not in made:
        return ""
    commands = "\n".join(f"ft export {HERE} --format {name}" for name in made[card.format])
    what = "load no adapter in PEFT's layout" if card.format == ADAPTER else "need files of their own"
    return f"llama.cpp, Ollama and other programs {what}; `ft` writes them:\n\n```sh\n{commands}\n```"


def _peft(card: ModelCard, place: str) -> str:
    head = "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer\n\n"
    load = f'model = AutoPeftModelForCausalLM.from_pretrained("{place}")\n'
    if not card.base.on_hub:
        head = "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        load = f'base = AutoModelForCausalLM.from_pretrained("{BASE}")\n'
        load += f'model = PeftModel.from_pretrained(base, "{place}")\n'
    return head + load + _answering(card, place)


def _transformers(card: ModelCard, place: str) -> str:
    head = "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
    return f'{head}model = AutoModelForCausalLM.from_pretrained("{place}")\n' + _answering(card, place)


def _answering(card: ModelCard, place: str) -> str:
    tokenizer = f'tokenizer = AutoTokenizer.from_pretrained("{place}")\n'
    return (tokenizer + (CHAT if card.has_template else PLAIN) + ANSWER).rstrip()


def _vllm_rank(card: ModelCard) -> int | None:
    """Value of --max-lora-rank; None where vLLM cannot serve the adapter, or not on a base that others can find."""
    adapter = card.adapter
    if adapter is None or adapter.kind != "lora" or adapter.rank is None or not card.base.on_hub:
        return None
    if adapter.whole_modules or adapter.added_tokens:
        return None
    return next((rank for rank in VLLM_RANKS if rank >= adapter.rank), None)


def _gguf(card: ModelCard) -> Iterator[Usage]:
    for file in _ggufs(card):
        yield Usage("llama.cpp", "sh", f"llama-cli -m {file}")
    if card.location:
        yield Usage("llama.cpp, from the hub", "sh", f"llama-server -hf {card.location}")
    if "Modelfile" in card.files:
        name = card.title.lower()
        yield Usage("Ollama", "sh", f"ollama create {name} -f Modelfile\nollama run {name}")


def _ggufs(card: ModelCard) -> tuple[str, ...]:
    """The GGUF files beside the card."""
    return tuple(name for name in card.files if name.endswith(".gguf"))
