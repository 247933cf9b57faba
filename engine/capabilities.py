"""What each backend makes of a recipe: light tables, so that nobody has to load a backend to ask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine import plugins
from engine.errors import MachineError

BackendName = str
"""mlx, unsloth, peft, or the name of another package's backend."""
Device = Literal["cpu", "cuda", "mps"]
Dtype = Literal["bf16", "fp16", "fp32"]
Quantization = Literal["none", "8bit", "4bit"]
Support = Literal["direct", "emulated", "refused"]


@dataclass(frozen=True)
class Capability:
    """What one backend can do on one device, as values of the recipe; all else there is refused."""

    precisions: tuple[Dtype, ...]
    quantizations: tuple[Quantization, ...]
    adapters: tuple[str, ...]
    inits: tuple[str, ...] = ("default",)
    exact_resume: bool = False
    """Whether a resumed run gives the same bytes as one that was never stopped."""
    optimizers: tuple[str, ...] = ("adamw",)
    vocabulary: bool = False
    """Whether embedding and output layer can be trained beside an adapter, and rows for new tokens added."""
    offloads: bool = False
    """Whether checkpointing can keep what it needs in memory of the host's, beside the device's own."""


OF_PEFT = (
    *("lora", "dora", "adalora", "ia3", "loha", "lokr", "oft", "boft", "vera"),
    *("prefix", "prompt", "ptuning", "none"),
)
OF_MLX = ("lora", "dora", "none")
OF_UNSLOTH = ("lora",)
ON_CPU = ("adamw", "adamw_8bit")
ON_CUDA = (*ON_CPU, "paged_adamw_8bit")
STARTS = ("default", "gaussian", "orthogonal", "olora", "pissa")

CAPABILITIES: Mapping[tuple[BackendName, Device], Capability] = {
    ("mlx", "mps"): Capability(
        ("bf16", "fp16", "fp32"), ("none", "8bit", "4bit"), OF_MLX, STARTS, vocabulary=True
    ),
    ("mlx", "cpu"): Capability(
        ("bf16", "fp16", "fp32"), ("none", "8bit", "4bit"), OF_MLX, STARTS, exact_resume=True, vocabulary=True
    ),
    ("unsloth", "cuda"): Capability(
        ("bf16", "fp16", "fp32"), ("none", "4bit"), OF_UNSLOTH, optimizers=ON_CUDA, offloads=True
    ),
    ("unsloth", "cpu"): Capability(
        ("bf16", "fp32"), ("none", "4bit"), OF_UNSLOTH, exact_resume=True, optimizers=ON_CPU
    ),
    ("peft", "cpu"): Capability(
        ("bf16", "fp32"),
        ("none", "8bit", "4bit"),
        OF_PEFT,
        STARTS,
        exact_resume=True,
        optimizers=ON_CPU,
        vocabulary=True,
    ),
    ("peft", "cuda"): Capability(
        ("bf16", "fp16", "fp32"),
        ("none", "8bit", "4bit"),
        OF_PEFT,
        (*STARTS, "loftq"),
        optimizers=ON_CUDA,
        vocabulary=True,
        offloads=True,
    ),
    ("peft", "mps"): Capability(("bf16", "fp16", "fp32"), ("none",), OF_PEFT, STARTS, vocabulary=True),
}
"""bitsandbytes holds 8-bit and 4-bit weights on CUDA and the CPU; torch computes fp16 on a CPU but slowly."""


@dataclass(frozen=True)
class Plugin:
    """A backend of another package: the object that its entry point in the group `ft.backends` names.

    The module that holds it is imported by whoever plans a run, so it must bring in nothing heavy.
    """

    load: Callable[..., Any]
    """`load(plan, config, folder, objective, *, adapter)` makes an `engine.backends.base.Trainer`, as
    `engine.backends.load_trainer` says; called in the engine's process alone, and may import what it likes."""
    capability: Capability
    note: str
    """What it computes on, in a few words."""
    device: Device = "cpu"
    """Whose memory a plan counts."""
    problem: Callable[[], str] = str
    """Why it cannot train on this machine; empty where it can."""


def plugin(name: BackendName) -> Plugin:
    """The backend of another package. Raises MachineError where it does not load, or is no backend."""
    found = plugins.load(plugins.BACKENDS, name)
    if not isinstance(found, Plugin):
        raise MachineError(
            f"backend: {name} names {type(found).__name__}, which is no engine.capabilities.Plugin",
            "Its package is for another version of ft; use backend: auto.",
        )
    return found


def capability(backend: BackendName, device: Device) -> Capability:
    """What a backend can do on a device; nothing, where it is another package's and does not load."""
    own = CAPABILITIES.get((backend, device))
    if own is not None:
        return own
    try:
        return plugin(backend).capability
    except MachineError:  # whoever chooses a backend tells it
        return Capability((), (), ())


@dataclass(frozen=True)
class KeySupport:
    """What a backend makes of one value: the same, the same end by other means, or an error."""

    support: Support
    note: str = ""
    """How; where it is refused, why, with the value left out in front."""
    hint: str = ""
    """What to do instead, where it is refused."""


ANY = "*"
SAME_TOKENS = KeySupport("direct", "ft's own: every backend gets the same tokens")
NO_BITSANDBYTES = KeySupport(
    "refused",
    "needs bitsandbytes, which does not run on Apple's GPU",
    "Use backend: mlx, which quantises there, or quantization: none.",
)
NO_FP16 = KeySupport(
    "refused",
    "is not for the CPU, which has no fast arithmetic in it",
    "Use precision: auto, which chooses what this CPU is fast at.",
)
LOFTQ_ON_CUDA = KeySupport(
    "refused", "needs a CUDA GPU: PEFT computes it on no other device", "Use init: default here."
)
NO_8BIT_STATE = KeySupport(
    "refused", "needs bitsandbytes, which has no optimizer for Apple's GPU", "Use optimizer: adamw."
)
NO_PAGES = KeySupport(
    "refused",
    "needs a CUDA GPU: its pages move between that and the host",
    "Use optimizer: adamw_8bit here.",
)
ONE_MEMORY = KeySupport(
    "refused",
    "needs a CUDA GPU, which has memory of its own: here it would move nothing",
    "Use gradient_checkpointing: true here.",
)
IN_8BIT = KeySupport("direct", "bitsandbytes' AdamW, its moments in 8 bits")
PAGED = KeySupport("direct", "bitsandbytes' AdamW, its moments in 8 bits and paged to the host")
ADAMW_OF_TORCH = {
    "adamw": KeySupport("direct", "torch's AdamW"),
    "adamw_8bit": IN_8BIT,
    "paged_adamw_8bit": PAGED,
}
NOT_MLX = KeySupport("refused", "is not for MLX, whose AdamW has its state in fp32", "Use optimizer: adamw.")
NOT_UNSLOTH = KeySupport(
    "refused",
    "is not for Unsloth: ft trains layers through it, not the vocabulary",
    "Use backend: auto or peft.",
)
MASKED = KeySupport("emulated", "a mask keeps packed examples apart")

TRANSLATIONS: Mapping[tuple[BackendName, str], Mapping[str, KeySupport]] = {
    ("mlx", "model.quantization"): {
        "8bit": KeySupport("direct", "MLX's 8-bit weights, quantised while loading"),
        "4bit": KeySupport("direct", "MLX's 4-bit weights, quantised while loading"),
    },
    ("mlx", "model.quant_type"): {
        ANY: KeySupport(
            "emulated", "16 even steps between the ends of each 64 weights: as near as nf4, nearer than fp4"
        )
    },
    ("mlx", "model.double_quant"): {
        "true": KeySupport("emulated", "left out: MLX keeps scale and offset of each 64 weights as they are"),
    },
    ("mlx", "model.chat_template"): {ANY: SAME_TOKENS},
    ("mlx", "model.template_variables"): {ANY: SAME_TOKENS},
    ("mlx", "model.trust_remote_code"): {
        "true": KeySupport("emulated", "runs code that is written for MLX alone; mlx-lm brings its own"),
    },
    ("mlx", "data.packing"): {"true": MASKED},
    ("mlx", "training.gradient_checkpointing"): {
        "true": KeySupport("direct", "mx.checkpoint, by layer"),
        "offload": ONE_MEMORY,
    },
    ("mlx", "training.optimizer"): {
        "adamw": KeySupport("direct", "MLX's AdamW with bias correction"),
        ANY: NOT_MLX,
    },
    ("unsloth", "adapter.type"): {
        ANY: KeySupport(
            "refused", "is not for Unsloth: ft trains LoRA through it", "Use backend: auto or peft."
        )
    },
    ("unsloth", "adapter.modules_to_save"): {ANY: NOT_UNSLOTH},
    ("unsloth", "model.add_tokens"): {ANY: NOT_UNSLOTH},
    ("unsloth", "model.quantization"): {
        "8bit": KeySupport(
            "refused",
            "is not for Unsloth, which holds weights whole or in 4 bits",
            "Use backend: auto or peft.",
        ),
        "4bit": KeySupport("direct", "bitsandbytes"),
    },
    ("unsloth", "model.quant_type"): {"fp4": KeySupport("emulated", "nf4, the one format of Unsloth")},
    ("unsloth", "model.double_quant"): {
        "false": KeySupport("emulated", "on: Unsloth always quantises the scales too")
    },
    ("unsloth", "model.chat_template"): {ANY: SAME_TOKENS},
    ("unsloth", "model.template_variables"): {ANY: SAME_TOKENS},
    ("unsloth", "model.trust_remote_code"): {"true": KeySupport("direct", "run by transformers")},
    ("unsloth", "data.packing"): {
        "true": KeySupport("direct", "where a trial on the model keeps examples apart; padded elsewhere")
    },
    ("unsloth", "training.gradient_checkpointing"): {
        "true": KeySupport("direct", "Unsloth's own"),
        "offload": KeySupport("direct", "Unsloth's own, which moves what it keeps to the host anyway"),
    },
    ("unsloth", "training.optimizer"): ADAMW_OF_TORCH,
    ("peft", "model.quantization"): {
        "8bit": KeySupport("direct", "LLM.int8() of bitsandbytes"),
        "4bit": KeySupport("direct", "bitsandbytes"),
    },
    ("peft", "model.chat_template"): {ANY: SAME_TOKENS},
    ("peft", "model.template_variables"): {ANY: SAME_TOKENS},
    ("peft", "model.trust_remote_code"): {"true": KeySupport("direct", "run by transformers")},
    ("peft", "training.gradient_checkpointing"): {
        "offload": KeySupport("direct", "the layers' inputs wait in pinned memory of the host"),
    },
    ("peft", "training.optimizer"): ADAMW_OF_TORCH,
}
"""By backend and key, and then by value as the recipe has it (`*` for any). What is not here is mapped directly."""

ON_DEVICE: Mapping[tuple[BackendName, Device, str], Mapping[str, KeySupport]] = {
    ("unsloth", "cpu", "training.precision"): {"fp16": NO_FP16},
    ("peft", "cpu", "training.precision"): {"fp16": NO_FP16},
    ("peft", "cpu", "data.packing"): {"true": KeySupport("direct", "attention runs example by example")},
    ("peft", "cuda", "data.packing"): {"true": MASKED},
    ("peft", "mps", "data.packing"): {"true": MASKED},
    ("peft", "cpu", "training.gradient_checkpointing"): {"offload": ONE_MEMORY},
    ("peft", "mps", "training.gradient_checkpointing"): {"offload": ONE_MEMORY},
    ("unsloth", "cpu", "training.gradient_checkpointing"): {"offload": ONE_MEMORY},
    ("peft", "cpu", "adapter.init"): {"loftq": LOFTQ_ON_CUDA},
    ("peft", "mps", "adapter.init"): {"loftq": LOFTQ_ON_CUDA},
    ("peft", "cpu", "training.optimizer"): {"paged_adamw_8bit": NO_PAGES},
    ("unsloth", "cpu", "training.optimizer"): {"paged_adamw_8bit": NO_PAGES},
    ("peft", "mps", "training.optimizer"): {"adamw_8bit": NO_8BIT_STATE, "paged_adamw_8bit": NO_8BIT_STATE},
    ("peft", "mps", "model.quantization"): {"8bit": NO_BITSANDBYTES, "4bit": NO_BITSANDBYTES},
}
"""What is particular to a device; it goes before `TRANSLATIONS`."""
