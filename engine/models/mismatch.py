"""Tensors that do not belong to the model: one wording for every backend, for models and adapters."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.errors import ModelError

Shape = tuple[int, ...]
SHOWN = 3
"""Names of a kind that a message shows."""
COMPILED = "_orig_mod."
"""Prefix of module names by torch.compile."""
UNUSED = re.compile(
    r"(^|\.)(rotary_emb\.inv_freq|attn\.(bias|masked_bias)|position_ids|[kvq]_scale|kv_scale|mtp(_\w+)?\..*)$"
)
"""Tensors that files hold beside a model's weights: buffers that follow from config.json, scales of a cache in
8 bits, and the layers that predict tokens further ahead."""


@dataclass(frozen=True)
class Mismatch:
    """Differences between the tensors of a file and those of a model."""

    missing: Sequence[str] = ()
    foreign: Sequence[str] = ()
    """Tensors that the model has no place for."""
    misshapen: Sequence[tuple[str, Shape, Shape]] = ()
    """Name, shape in the file, shape in the model."""

    @staticmethod
    def between(found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> "Mismatch":
        """Compare names and shapes in a file with those of a model."""
        return Mismatch(
            sorted(expected.keys() - found.keys()),
            sorted(found.keys() - expected.keys()),
            [
                (name, found[name], expected[name])
                for name in sorted(found.keys() & expected.keys())
                if found[name] != expected[name]
            ],
        )

    def told(self) -> str:
        """The differences in words; empty where there are none."""
        shapes = [f"{name}: {_by(found)} instead of {_by(own)}" for name, found, own in self.misshapen]
        parts = [
            _counted(self.missing, "is missing", "are missing"),
            _counted(shapes, "has another shape", "have another shape"),
            _counted(self.foreign, "has no place in the model", "have no place in the model"),
        ]
        return "; ".join(part for part in parts if part)


def refuse_foreign_weights(folder: object, mismatch: Mismatch) -> None:
    """Raise ModelError where the weights of `folder` are not those of the model that its config.json describes."""
    told = Mismatch(
        mismatch.missing, [name for name in mismatch.foreign if not UNUSED.search(name)], mismatch.misshapen
    ).told()
    if not told:
        return
    hint = "Copy config.json and the weights again, both of the same model."
    if any(COMPILED in name for name in mismatch.foreign):
        hint = (
            f"torch.compile wrote `{COMPILED}` into the names. Save the model again from the one that was compiled: "
            "model._orig_mod.save_pretrained(FOLDER)."
        )
    raise ModelError(f"{folder}: the weights are not those of the model in config.json: {told}.", hint)


def refuse_foreign_adapter(folder: object, mismatch: Mismatch) -> None:
    """Raise ModelError where the adapter in `folder` was trained on another model."""
    if told := mismatch.told():
        raise ModelError(
            f"{folder}: the adapter is for another model: {told}.",
            "Use the base model that the adapter was trained on, or copy the adapter again.",
        )


def refuse_not_finite(file: object, names: Collection[str], hint: str) -> None:
    """Raise ModelError where tensors of `file` hold NaN or infinity."""
    if names:
        raise ModelError(
            f"{file} holds NaN or infinity in {len(names)} of its tensors ({_first(names)}).", hint
        )


def refuse_damaged_weights(folder: object, names: Collection[str]) -> None:
    """Raise ModelError where the weights `names` of a model are NaN or infinite."""
    refuse_not_finite(folder, names, "The weights are damaged; fetch the model again.")


def no_numbers(folder: object, what: str) -> ModelError:
    """The error where a model computes NaN with its weights and settings."""
    return ModelError(
        f"{folder}: {what} is NaN or infinity, though the weights are finite.",
        "A value in config.json is probably wrong (rope_theta, rms_norm_eps…): copy the file again from the model's "
        "source.",
    )


def _counted(names: Sequence[str], one: str, many: str) -> str:
    return f"{len(names)} {one if len(names) == 1 else many} ({_first(names)})" if names else ""


def _first(names: Iterable[str]) -> str:
    names = list(names)
    shown = [name if len(name) <= 120 else f"{name[:119]}…" for name in names[:SHOWN]]
    return ", ".join(shown) + (", …" if len(names) > SHOWN else "")


def _by(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a single number"
