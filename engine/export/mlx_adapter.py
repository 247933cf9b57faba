"""Export of a LoRA or DoRA as mlx-lm's adapter folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, ModelError
from engine.export.adapter import adapter_of, base_of
from engine.export.base import Exporter, Heartbeat
from engine.runs.directory.trained_model import TrainedModel

MLX_ADAPTER = Exporter(
    "mlx-adapter",
    write="engine.export.mlx_adapter:write",
    needs=("mlx", "mlx_lm"),
    install="pip install mlx-lm, and on Linux also 'mlx[cpu]'",
    prove="engine.parity.mlx_model:open_adapter",
)


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write the adapter, and load it once with mlx-lm's own loader on the base's architecture.

    The chat template of training lies beside it, for `mlx_lm.server --chat-template`: mlx-lm takes the base's own. The
    facts are `rank`, `scale` and `notes`.
    """
    from engine.backends.mlx.adapter_trial import needs_conversion, try_adapter
    from engine.models import adapter_files
    from engine.models.local import read_config
    from engine.models.peft_adapter import to_mlx
    from engine.models.sizing import shape_of

    adapter = adapter_of(model, "mlx-adapter")
    if options:
        raise ConfigError(f"Export to mlx-adapter has no option {min(options)}.", "Leave it out.")
    if "peft_type" not in adapter_files.read_settings(adapter):
        raise ModelError(
            f"{adapter} is in mlx-lm's layout already.",
            f"For PEFT's layout: ft export {adapter} --format adapter",
        )
    heartbeat()
    base = model.base_folder()
    kind = str(read_config(base).get("model_type"))
    found = to_mlx(adapter, kind, shape_of(base).layers, base_of(model).name, out)
    heartbeat()
    try_adapter(base, out)
    notes = _with_template(model, base, out)
    if needs_conversion(base):
        notes.append(
            "mlx-lm reads the base's config.json only in part; convert it first, and name the folder as the model: "
            f"ft models convert {model.base}"
        )
    return {"rank": found.rank, "scale": found.scale, "notes": notes}


def _with_template(model: TrainedModel, base: Path, out: Path) -> list[str]:
    """Put the chat template of training into `out` where it is not the base's own; notes about it."""
    from engine.data.tokenization.template_lookup import DEFAULT
    from engine.data.tokenization.tokenizer import Tokenizer
    from engine.models.local import TEMPLATE

    trained = model.spec.tokenizer(base).delivered.get(DEFAULT)
    if trained is None or trained == Tokenizer.load(base).delivered.get(DEFAULT):
        return []
    (out / TEMPLATE).write_text(trained, encoding="utf-8")
    return [
        "mlx-lm takes the base's chat template, and the adapter was trained with another, which is in "
        f'{TEMPLATE}: mlx_lm.server … --chat-template "$(cat {TEMPLATE})"'
    ]
