"""Cost of one LoRA step on other machines, by arithmetic: `python benchmarks/step_cost.py`.

Nothing is trained or measured. Operations and memory are the plan's own formulas (`engine.planning`), peaks are the
published ones below, and the share of the peak that training reaches is worked out from tokens/s that others
published. docs/step-cost.md tells the sources and what the tables leave out.
"""

from dataclasses import dataclass
from typing import Literal

from engine.backend_spec import Load
from engine.backends.torch.memory_model import predict, saved_per_token, weight_bytes
from engine.models.formulas import plain_decoder
from engine.models.shape import ModelShape
from engine.planning.feasibility import TYPICAL_SHARE, TYPICAL_TOKENS
from engine.planning.speed import flops

ROWS, RANK = 4, 16
TOKENS = ROWS * TYPICAL_TOKENS
TRAINED_TOKENS = TOKENS * TYPICAL_SHARE
Quantization = Literal["none", "4bit"]
FORMATS: dict[str, Quantization] = {"bf16": "none", "4-bit": "4bit"}


@dataclass(frozen=True)
class Chip:
    """Published peaks: half-precision FLOP/s with fp32 sums, and bytes/s. `share` of the first is what is expected."""

    name: str
    flops: float
    bandwidth: float
    share: float


@dataclass(frozen=True)
class Published:
    """Tokens/s that others published for training, and what a token takes there."""

    name: str
    flops_per_token: float
    tokens_per_s: float
    peak: float


@dataclass(frozen=True)
class Cost:
    """FLOPs of one step, and the bytes that it moves at least, by what they are of."""

    flops: float
    weights: float
    activations: float
    logits: float
    adapter: float

    @property
    def moved(self) -> float:
        return self.weights + self.activations + self.logits + self.adapter


MODELS = {
    "starter 135M": plain_decoder("llama", 30, 576, 1536, 9, 3, 49152, tied=True),
    "Qwen2.5-7B": plain_decoder("qwen2", 28, 3584, 18944, 28, 4, 152064, tied=False),
}
MAC, GEFORCE = 0.35, 0.5
"""Shares of the peak that are taken for realistic; see the last table."""
CHIPS = (
    Chip("M3 Pro, 18 cores", 7.4e12, 150e9, MAC),
    Chip("M1 Max, 32 cores", 10.4e12, 400e9, MAC),
    Chip("M4 Max, 40 cores", 18.4e12, 546e9, MAC),
    Chip("RTX 4090", 165.2e12, 1008e9, GEFORCE),
)


def load_of(shape: ModelShape, quantization: Quantization) -> Load:
    """LoRA of every linear layer, nothing computed again, all rows of a step in one micro-batch."""
    return Load(
        device="cuda",
        weights="bf16",
        compute="bf16",
        quantization=quantization,
        double_quant=False,  # MLX has no such thing; both then take 4.5 bits a weight
        trained=sum(RANK * (layer.inputs + layer.outputs) * layer.count for layer in shape.linears),
        rank=RANK,
        adapter="lora",
        dropout=False,
        tokens=TOKENS,
        longest=TYPICAL_TOKENS,
        trained_share=TYPICAL_SHARE,
        checkpointing=False,
    )


def cost(shape: ModelShape, load: Load) -> Cost:
    """Lower bound of the cost of one step.

    Weights are read forward and again backward (of an untied input embedding only a few rows); what the forward pass
    keeps is written and read; fp32 logits are written and read, and so is their gradient. An adapter's weight, 4
    bytes, moves ten times: read forward, backward and by AdamW, written by it; its gradient and both moments likewise
    written and read.
    """
    embedding = 0 if shape.tied else 2 * shape.vocab * shape.hidden
    return Cost(
        flops=flops(shape, load, TOKENS, TRAINED_TOKENS, TYPICAL_TOKENS),
        weights=2 * (weight_bytes(shape, load) - embedding),
        activations=2 * load.tokens * shape.layers * saved_per_token(shape, load),
        logits=4 * 4 * TRAINED_TOKENS * shape.vocab,
        adapter=10 * 4 * load.trained,
    )


def flops_per_token(shape: ModelShape, adapted: int) -> float:
    """For a small adapter on the last `adapted` layers and every token trained: below, no gradient is made."""
    load = load_of(shape, "none")
    below = 2 * shape.linear_parameters * (1 - adapted / shape.layers)
    return flops(shape, load, 1, 1, 0) - 6 * load.trained - below


def published() -> list[Published]:
    """Measurements that docs/step-cost.md cites. All weights trained, a token takes 6 operations a parameter."""
    mistral = plain_decoder("llama", 32, 4096, 14336, 32, 8, 32000, tied=False)
    llama_7b = plain_decoder("llama", 32, 4096, 11008, 32, 32, 32000, tied=False)
    full = 6 * 112_678_656
    return [
        Published("M1 Max, Mistral 7B, LoRA on 4 layers", flops_per_token(mistral, 4), 250, 10.4e12),
        Published("M2 Ultra, Llama 7B, LoRA on 16 layers", flops_per_token(llama_7b, 16), 475, 27.2e12),
        Published("RTX 4090, 113M, all weights", full, 84_554, 165.2e12),
        Published("RTX 4090, 113M, all weights, compiled", full, 126_078, 165.2e12),
    ]


def print_steps() -> None:
    """Operations and bytes of each model's step, in bf16 and in 4 bits."""
    print(
        "| a step of | TFLOP | weights | activations | logits | adapter | GB moved | FLOP a byte | GB held |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, shape in MODELS.items():
        for label, quantization in FORMATS.items():
            load = load_of(shape, quantization)
            step = cost(shape, load)
            parts = [step.weights, step.activations, step.logits, step.adapter, step.moved]
            gigabytes = " | ".join(f"{part / 1e9:.2f}" for part in parts)
            held = f"{step.flops / step.moved:.0f} | {predict(shape, load).peak_bytes / 1e9:.1f}"
            print(f"| {name}, {label} | {step.flops / 1e12:.2f} | {gigabytes} | {held} |")


def print_times() -> None:
    """Time of each model's step on each chip. Speeds are those of bf16, which moves more."""
    print(
        "| chip | a step of | arithmetic | memory, bf16 | 4-bit | bound by memory below | at best | at the share |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for chip in CHIPS:
        for name, shape in MODELS.items():
            wide, narrow = (cost(shape, load_of(shape, quantization)) for quantization in FORMATS.values())
            compute, memory = wide.flops / chip.flops, wide.moved / chip.bandwidth
            growing = compute - (wide.activations + wide.logits) / chip.bandwidth
            even = TOKENS * (wide.weights + wide.adapter) / chip.bandwidth / growing
            best, expected = max(compute, memory), max(compute / chip.share, memory)
            print(
                f"| {chip.name} | {name} | {1e3 * compute:,.0f} ms | {1e3 * memory:.0f} ms "
                f"| {1e3 * narrow.moved / chip.bandwidth:.0f} ms | {even:.0f} tokens "
                f"| {TOKENS / best:,.0f} tokens/s | {1e3 * expected:,.0f} ms, {TOKENS / expected:,.0f} tokens/s |"
            )


def print_shares() -> None:
    """The share of its peak that each published run reached."""
    print("| published | tokens/s | GFLOP a token | share of the peak |")
    print("|---|---|---|---|")
    for run in published():
        share = run.flops_per_token * run.tokens_per_s / run.peak
        print(f"| {run.name} | {run.tokens_per_s:,.0f} | {run.flops_per_token / 1e9:.1f} | {share:.2f} |")


def main() -> None:
    """Print three Markdown tables."""
    print_steps()
    print()
    print_times()
    print()
    print_shares()


if __name__ == "__main__":
    main()
