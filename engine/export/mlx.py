"""Export to a folder that mlx-lm loads: a whole model, or base and adapter as one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError, ModelError
from engine.export.base import Exporter, Heartbeat
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.merging.merged import MergedTensors

INSTALL = "pip install mlx-lm, and on Linux also 'mlx[cpu]'"
MLX = Exporter(
    "mlx",
    write="engine.export.mlx:write",
    needs=("mlx", "mlx_lm"),
    install=INSTALL,
    prove="engine.parity.mlx_model:open_folder",
    quantizations=("none", "8bit", "4bit"),
    finer="Quantise less",
)
QUANTISED = ("quantization", "quantization_config")
"""Keys of config.json that say how weights are packed."""


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write the model; the option `quantization` is none, 8bit or 4bit, and `dtype` (bf16, fp16, fp32) the format of
    what is not quantised, the base's own if left out.

    An adapter is added to its base in fp32, and what is written is made from that sum: on the unquantised base where
    it is on this disk, else on the dequantised one, which without the option is packed again as it was. The facts are
    `quantization`, the settings in the written config.json (None where the weights are not quantised), and `notes`.
    """
    from engine.backends.mlx.convert import convert
    from engine.backends.mlx.model import DTYPES

    if unknown := options.keys() - {"quantization", "dtype"}:
        raise ConfigError(
            f"Export to mlx has no option {min(unknown)}.", "Its options are quantization and dtype."
        )
    wanted, dtype = options.get("quantization"), options.get("dtype")
    if dtype not in (None, *DTYPES):
        raise ConfigError(f"Export to mlx has no dtype {dtype}.", f"Use {', '.join(DTYPES)}.")
    heartbeat()
    if model.adapter is None:
        return {"quantization": convert(model.base_folder(), out, wanted or "none", dtype), "notes": []}
    return _merged(model, out, wanted, dtype, heartbeat)


def _merged(
    model: TrainedModel, out: Path, wanted: Any, dtype: Any, heartbeat: Heartbeat
) -> Mapping[str, Any]:
    from engine.backends.mlx.convert import convert_filled
    from engine.backends.mlx.filled import GivenWeights
    from engine.merging.base import base_for
    from engine.merging.dequantised import quantization_of
    from engine.merging.merged import merged_tensors

    base = base_for(model)
    tensors = merged_tensors(model, base.folder)
    held = quantization_of(base.folder)
    repacked = held is not None and held.endswith("MLX") and wanted is None
    if repacked and (tensors.untied or tensors.vocabulary is not None):
        raise ModelError(
            f"{base.folder} is quantised, and the adapter trained its embedding or output layer.",
            "Name what is to be written: --quantize none, 8bit or 4bit.",
        )
    given = GivenWeights(
        tensors,
        tensors.infos.keys() if held is not None and not repacked else tensors.changed.keys(),
        tensors.dropped,
        {} if repacked else _settings(base.folder, tensors, held is not None),
        repacked,
    )
    written = convert_filled(base.folder, out, wanted or "none", given, heartbeat, dtype)
    _put_beside(model, base.folder, out)
    plain = held is None and base.folder == model.base_folder()
    notes = [] if plain else [base.note]
    if repacked:
        notes.append(
            f"The sum is packed again as the base was ({held}), which rounds most of a small update away: "
            "--quantize none keeps it."
        )
    return {"quantization": written, "notes": notes}


def _settings(base: Path, tensors: "MergedTensors", dequantised: bool) -> dict[str, Any]:
    """Settings of config.json that are others after merging."""
    from engine.models.local import read_config

    config = read_config(base)
    changed: dict[str, Any] = {}
    for name, value in (("tie_word_embeddings", False), ("vocab_size", tensors.vocabulary)):
        if value is None or (name == "tie_word_embeddings" and not tensors.untied):
            continue
        if isinstance(text := config.get("text_config"), dict) and name in text:
            changed["text_config"] = {**changed.get("text_config", text), name: value}
        if name in config or not isinstance(text, dict):
            changed[name] = value
    return changed | (dict.fromkeys(QUANTISED) if dequantised else {})


def _put_beside(model: TrainedModel, base: Path, out: Path) -> None:
    """Put tokenizer, chat templates and end tokens of training beside the weights."""
    from engine.backends.files import copy_tokenizer_files, write_tokenizer
    from engine.backends.result_files import ResultFiles
    from engine.models.local import TOKENIZER_FILES
    from engine.models.published import PublishedBase

    if model.adapter is not None:
        copy_tokenizer_files(model.adapter, out, TOKENIZER_FILES)
    if not (out / "tokenizer.json").is_file():
        write_tokenizer(base, model.spec.add_tokens, out)
    ResultFiles(base, PublishedBase(base.name), model.spec.tokenizer(base)).complete(out)
