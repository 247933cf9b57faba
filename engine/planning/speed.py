"""Training time: the arithmetic it needs over the arithmetic that this machine does in a second."""

from engine.backend_spec import BackendSpec, Dtype, Load
from engine.hardware.probe import Machine
from engine.models.shape import ModelShape


def flops(shape: ModelShape, load: Load, tokens: float, trained_tokens: float, mean_square: float) -> float:
    """Floating-point operations for so many tokens.

    A product of n weights takes 2n a token (Kaplan et al. 2020, arXiv:2001.08361, section 2.1). The
    backward pass takes as much again for the inputs' gradients, and again for the weights' where they are
    trained; checkpointing repeats the forward pass. Logits exist at trained tokens alone. Attention:
    2 products over half of a row's length (it is causal) forward, and 5 of those back (Dao 2023,
    arXiv:2307.08691, section 3.1); `mean_square` is the sum of lengths² over the sum of lengths.
    """
    passes = 2.0 + (1.0 if load.rank == 0 else 0.0) + (1.0 if load.checkpointing else 0.0)
    linear = 2.0 * shape.linear_parameters * passes * tokens
    adapter = 6.0 * (load.trained - load.vocabulary) * tokens if load.rank else 0.0
    head = 2.0 * shape.hidden * shape.vocab * (3.0 if load.head else 2.0) * trained_tokens
    scores = 2.0 * shape.layers * shape.heads * shape.head_dim * mean_square * tokens
    return linear + adapter + head + scores * (3.5 + (1.0 if load.checkpointing else 0.0))


def forward_flops(
    shape: ModelShape, load: Load, tokens: float, trained_tokens: float, mean_square: float
) -> float:
    """The same for tokens that are only looked at, as for the log-probabilities of a reference."""
    linear = 2.0 * (shape.linear_parameters + (load.trained - load.vocabulary if load.rank else 0)) * tokens
    head = 2.0 * shape.hidden * shape.vocab * trained_tokens
    return linear + head + 2.0 * shape.layers * shape.heads * shape.head_dim * mean_square * tokens


def flops_per_second(machine: Machine, spec: BackendSpec, compute: Dtype) -> tuple[float | None, str]:
    """FLOP/s of this machine, and where the figure comes from; None where nothing is known."""
    measured = machine.flops.get(spec.speed_key(machine.device, compute))
    if measured:
        return measured, "at the speed that the last run here reached"
    if core := spec.devices[machine.device].core_flops.get(compute):
        return core * machine.cores, "a rough guess from the CPU's cores, until a run has finished"
    if machine.device == "cpu":
        return None, f"unknown until a run has finished here with {spec.name}"
    return None, "unknown until a run has finished on this GPU"
