"""Merging an adapter into full weights, against PEFT: `python benchmarks/merge.py [--models starter 1B] [--repeats 3]`.

Both sides read the same base in bf16 and the same LoRA (rank 16 on every linear layer), and write a folder that
transformers loads: ft by `ft merge`'s exporter, PEFT by `merge_and_unload` and `save_pretrained`. Each has a process
of its own, in turns. Time is without the start of Python and the imports; memory is the largest resident set of the
whole process. `1B` has the shape of Llama 3.2 1B with random weights, and takes 8 GB of disk.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.models import starter
from engine.models.local import TOKENIZER_FILES, headers
from engine.models.saved_adapter import PREFIX
from engine.models.weight_headers import read_header
from engine.models.weights import PendingTensor, write_bfloat16

RANK = 16
SIDES = ("ft", "peft")


@dataclass(frozen=True)
class Shape:
    """A Llama with random weights whose embedding is its output."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocab: int

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Outputs and inputs of a layer's matrices, by name."""
        wide, narrow = self.hidden, self.hidden // self.heads * self.kv_heads
        return {
            "self_attn.q_proj": (wide, wide),
            "self_attn.k_proj": (narrow, wide),
            "self_attn.v_proj": (narrow, wide),
            "self_attn.o_proj": (wide, wide),
            "mlp.gate_proj": (self.intermediate, wide),
            "mlp.up_proj": (self.intermediate, wide),
            "mlp.down_proj": (wide, self.intermediate),
        }


SHAPES = {
    "1B": Shape(2048, 16, 8192, 32, 8, 128256),
    "tiny": Shape(64, 2, 128, 4, 2, 49152),
}


def main() -> None:
    """Run the sides in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", default=["starter", "1B"], choices=["starter", *SHAPES])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--scratch", type=Path, help="folder for models and results; a temporary one if left out"
    )
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        name, *folders = arguments.make
        base, adapter = map(Path, folders)
        make_adapter(base if name == "starter" else make_base(SHAPES[name], base), adapter)
        return
    if arguments.child:
        side, *folders = arguments.child
        print(json.dumps(merge(side, *map(Path, folders))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        print(
            "| model | side | seconds | peak memory | of PEFT's time | of its memory |\n|---|---|---|---|---|---|"
        )
        for name in arguments.models:
            report(name, Path(scratch), arguments.repeats)


def report(name: str, scratch: Path, repeats: int) -> None:
    """Measure both sides on one model, and print their lines."""
    base = starter.ensure() if name == "starter" else scratch / f"{name}-base"
    adapter = scratch / f"{name}-adapter"
    # In a process of its own: on Linux a child's largest resident set begins with its parent's.
    subprocess.run([sys.executable, "-P", __file__, "--make", name, str(base), str(adapter)], check=True)
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            out = scratch / side
            shutil.rmtree(out, ignore_errors=True)
            command = [sys.executable, "-P", __file__, "--child", side, str(base), str(adapter), str(out)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    seconds = {side: statistics.median(each["seconds"] for each in found[side]) for side in SIDES}
    peak = {side: statistics.median(each["peak"] for each in found[side]) for side in SIDES}
    for side in SIDES:
        shares = (
            f"{seconds['ft'] / seconds['peft']:.2f} | {peak['ft'] / peak['peft']:.2f}"
            if side == "ft"
            else "|"
        )
        print(
            f"| {name} | {side} | {seconds[side]:.2f} | {peak[side] / 1e6:,.0f} MB | {shares} |", flush=True
        )
    print(f"{name}: {agreement(scratch / 'ft', scratch / 'peft')}", file=sys.stderr)
    for folder in (scratch / "ft", scratch / "peft", scratch / f"{name}-base"):
        shutil.rmtree(folder, ignore_errors=True)


def merge(side: str, base: Path, adapter: Path, out: Path) -> dict[str, float]:
    """In the child: merge and save; seconds and bytes."""
    out.mkdir()
    if side == "ft":
        from engine.export.merged import write
        from engine.runs.directory.trained_model import TrainedModel

        start = time.perf_counter()
        write(TrainedModel(base, adapter), out, {}, lambda: None)
    else:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        start = time.perf_counter()
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
        AutoTokenizer.from_pretrained(base).save_pretrained(out)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def make_base(shape: Shape, folder: Path) -> Path:
    """Write a random model in bf16, tensor by tensor, with the starter's tokenizer."""
    folder.mkdir()
    source = starter.ensure()
    for file in (*TOKENIZER_FILES, "generation_config.json", "chat_template.jinja"):
        if (source / file).is_file():
            shutil.copyfile(source / file, folder / file)
    config = json.loads((source / "config.json").read_text()) | {
        "hidden_size": shape.hidden, "num_hidden_layers": shape.layers, "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "vocab_size": shape.vocab,
        "head_dim": shape.hidden // shape.heads, "tie_word_embeddings": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(0)

    def pending(name: str, *size: int) -> PendingTensor:
        if len(size) == 1:
            return PendingTensor(name, size, lambda: np.ones(size, np.float32))
        return PendingTensor(name, size, lambda: random.standard_normal(size, np.float32) * np.float32(0.02))

    def tensors() -> Iterator[PendingTensor]:
        yield pending("model.embed_tokens.weight", shape.vocab, shape.hidden)
        for layer in range(shape.layers):
            for name, size in shape.linear.items():
                yield pending(f"model.layers.{layer}.{name}.weight", *size)
            for name in ("input_layernorm", "post_attention_layernorm"):
                yield pending(f"model.layers.{layer}.{name}.weight", shape.hidden)
        yield pending("model.norm.weight", shape.hidden)

    for _ in write_bfloat16(folder / "model.safetensors", list(tensors())):
        pass
    return folder


def make_adapter(base: Path, folder: Path) -> Path:
    """Write a LoRA of random values on every linear layer of a base."""
    from safetensors.numpy import save_file

    folder.mkdir()
    random = np.random.default_rng(1)
    made, targets = {}, set()
    for info in (tensor for header in headers(base).values() for tensor in header):
        layer = info.name.removesuffix(".weight")
        if len(info.shape) == 2 and layer.endswith("_proj"):
            outputs, inputs = info.shape
            targets.add(layer.rpartition(".")[2])
            for part, size in (("lora_A", (RANK, inputs)), ("lora_B", (outputs, RANK))):
                values = random.standard_normal(size, np.float32) * np.float32(0.02)
                made[f"{PREFIX}{layer}.{part}.weight"] = values
    save_file(made, folder / "adapter_model.safetensors", {"format": "pt"})
    about = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": RANK, "bias": "none"}
    about |= {"target_modules": sorted(targets), "base_model_name_or_path": str(base)}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return folder


def agreement(ours: Path, theirs: Path) -> str:
    """Largest difference between the weights of two folders, in words."""
    infos = {info.name: info for file in theirs.glob("*.safetensors") for info in read_header(file)}
    from engine.models.tensors import FolderTensors

    left, right = FolderTensors(ours), FolderTensors(theirs)
    if left.infos.keys() != infos.keys():
        return "the folders have other tensors"
    worst = 0.0
    for name in infos:
        a, b = left.read(name), right.read(name)
        worst = max(worst, float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-12)))
    return f"largest difference of a weight: {worst:.2%} of the largest weight of its tensor"


if __name__ == "__main__":
    main()
