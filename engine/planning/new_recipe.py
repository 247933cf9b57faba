"""A new recipe for a model, with the quantisation that training it on this machine needs."""

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from engine.config.load import load_text
from engine.config.patch import set_value
from engine.errors import CheckFailed, FtError
from engine.hardware.probe import Machine, probe
from engine.models.names import KNOWN, expanded, known
from engine.planning.feasibility import fits_of
from engine.planning.model_plan import ModelPlan
from engine.planning.plan import Plan
from engine.planning.ways import LORA, QLORA, TYPICAL_TOKENS
from engine.units import size


@dataclass(frozen=True)
class NewRecipe:
    """A recipe's text, and the plan for rows of `TYPICAL_TOKENS` that settled its quantisation."""

    text: str
    quantization: str
    plan: Plan
    gated: str | None
    """The hub id of a model whose terms have to be accepted there."""

    @property
    def summary(self) -> str:
        """Quantisation, micro-batch and memory, in a line; what to do for a gated model in another."""
        weights = "no quantisation" if self.quantization == "none" else "4-bit weights"
        peak, limit = size(self.plan.memory.peak_bytes), size(self.plan.limit_bytes)
        first = (
            f"LoRA with {weights}, {self.plan.micro_batch_rows} rows of {TYPICAL_TOKENS} tokens in a micro-batch: "
            f"{peak} of {limit} at its peak."
        )
        if self.gated is None:
            return first
        page = f"https://huggingface.co/{self.gated}"
        return f"{first}\nThe model is gated: accept its terms at {page}, then ft secrets set HF_TOKEN."


def recipe_for(model: str, text: str) -> NewRecipe:
    """The recipe `text` with this model, in 4 bits where it does not fit otherwise.

    The batch stays `auto`, which the plan settles for the rows that there will be. Raises CheckFailed where the model
    does not fit, and what `ModelPlan.of` raises.
    """
    found = ModelPlan.of(model, (), TYPICAL_TOKENS)
    plan, quantization = found.one(), "none"
    if plan.fits != "yes":
        smaller = ModelPlan.of(model, ["model.quantization=4bit"], TYPICAL_TOKENS)
        with suppress(FtError) if plan.fits == "tight" else nullcontext():  # a machine may be unable to
            plan, quantization = smaller.one(), "4bit"
    if plan.fits == "no":
        raise CheckFailed(
            f"{model} does not fit into this machine's memory: even in 4 bits it needs "
            f"{size(plan.memory.peak_bytes)}, and {size(plan.limit_bytes)} are available.",
            f"The largest with a short name that fit: {', '.join(_largest(probe()))}. ft models names has more.",
        )
    text = set_value(text, "model.base", found.config.model.base)
    if quantization != "none":
        text = set_value(text, "model.quantization", quantization)
    named = known(model) if found.config.model.base == expanded(model) else None
    longest = load_text(text, Path.cwd() / "train.yml").config.model.max_seq_length
    if found.shape.context and longest > found.shape.context:
        text = set_value(text, "model.max_seq_length", found.shape.context)
    return NewRecipe(text, quantization, plan, named.hub_id if named and named.gated else None)


def _largest(machine: Machine, count: int = 3) -> list[str]:
    """Short names of the largest models that LoRA or QLoRA can train here."""
    fitting = [
        model
        for model in KNOWN.values()
        if any(fit.fits == "yes" for fit in fits_of(model.shape, machine) if fit.method in (LORA, QLORA))
    ]
    fitting.sort(key=lambda model: -model.shape.parameters)
    return [model.name for model in fitting[:count]]
