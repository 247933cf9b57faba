"""Export of a LoRA or DoRA as mlx-lm's adapter folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError, ModelError
from engine.export.adapter import adapter_of, base_of
from engine.export.base import Exporter, Heartbeat
from engine.export.mlx import INSTALL
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.parity.mlx_model import MlxModel

MLX_ADAPTER = Exporter(
    "mlx-adapter",
    adapter_alone=True,
    write="engine.export.mlx_adapter:write",
    needs=("mlx", "mlx_lm"),
    install=INSTALL,
    prove="engine.export.mlx_adapter:opened",
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


@contextmanager
def opened(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> Iterator["MlxModel"]:
    """The adapter on its base in mlx-lm: with the names and rotation that `ft models convert` would write for it, and
    the chat template beside the adapter where one is there."""
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_tokenizer

    from engine.backends.mlx.model import open_model
    from engine.models.local import TEMPLATE
    from engine.parity.mlx_model import MlxModel

    base = model.base_folder()
    network, about = open_model(base)
    load_adapters(network, str(out))
    network.eval()
    template = out / TEMPLATE
    settings = {"chat_template": template.read_text(encoding="utf-8")} if template.is_file() else {}
    tokenizer = load_tokenizer(base, settings, eos_token_ids=about.get("eos_token_id"))
    yield MlxModel(network, tokenizer, str(about["model_type"]), heartbeat, whole=False)
