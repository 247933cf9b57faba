"""Export of an adapter alone, in PEFT's layout, with what other people need beside it and nothing of this machine."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, ModelError
from engine.export.base import Exporter, Heartbeat
from engine.models import adapter_files, starter
from engine.models.published import PublishedBase
from engine.models.resolve import LocalModel, is_hub_id
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

ADAPTER = Exporter(
    "adapter",
    write="engine.export.adapter:write",
    adapter_alone=True,
    prove="engine.parity.torch_model:open_adapter",
)
TOKENIZER, TOKENIZER_SETTINGS = "tokenizer.json", "tokenizer_config.json"
BASE = "base_model_name_or_path"
PATHS = ("name_or_path", "_name_or_path", "tokenizer_file", "special_tokens_map_file")
"""Settings in which older releases of transformers wrote where a tokenizer lay."""


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write the adapter, its tokenizer and the chat template of training; one of mlx-lm's layout becomes PEFT's.

    The option `base` names the base model that the adapter is for, where it says another. The facts are `base`,
    `revision` and `notes`.
    """
    adapter = adapter_of(model, "adapter")
    if "base" in options:
        model = replace(model, base=str(options["base"]), revision=None)
    if unknown := options.keys() - {"base"}:
        raise ConfigError(f"Export to adapter has no option {min(unknown)}.", "Its only option is base.")
    heartbeat()
    base = base_of(model)
    about = adapter_files.check(adapter)
    if "peft_type" in about:
        shutil.copyfile(adapter / adapter_files.WEIGHTS, out / adapter_files.WEIGHTS)
        _write(out / adapter_files.CONFIG, about)  # what is put beside it depends on it
    else:
        in_peft_layout(model, model.base_folder(), out)
    heartbeat()
    _put_beside(model, adapter, base, out)
    about = adapter_files.read_settings(out)
    _write(
        out / adapter_files.CONFIG,
        _without_paths(about) | {BASE: base.name, "revision": base.revision, "inference_mode": True},
    )
    if (out / TOKENIZER_SETTINGS).is_file():
        settings = json.loads((out / TOKENIZER_SETTINGS).read_bytes())
        _write(
            out / TOKENIZER_SETTINGS, {name: value for name, value in settings.items() if name not in PATHS}
        )
    return {"base": base.name, "revision": base.revision, "notes": _notes(model, base)}


def in_peft_layout(model: TrainedModel, base: Path, folder: Path) -> TrainedModel:
    """The model with its adapter in PEFT's layout, which every exporter and the parity gate read: one of mlx-lm's is
    written so into `folder`. Raises ModelError where PEFT adapts its layers otherwise."""
    from engine.models.local import read_config
    from engine.models.mlx_adapter import write_peft
    from engine.models.saved_adapter import read_adapter

    if model.adapter is None or "peft_type" in adapter_files.read_settings(model.adapter):
        return model
    folder.mkdir(parents=True, exist_ok=True)
    write_peft(
        read_adapter(model.adapter), str(read_config(base).get("model_type")), folder, base_of(model).name
    )
    return replace(model, adapter=folder)


def adapter_of(model: TrainedModel, exporter: str) -> Path:
    """Folder of a model's adapter. Raises ModelError where it has none."""
    if model.adapter is None:
        raise ModelError(
            f"Export to {exporter} writes an adapter, and this model is whole.",
            "Export the model itself: ft export MODEL --format merged, or gguf, or mlx.",
        )
    return model.adapter


def base_of(model: TrainedModel) -> PublishedBase:
    """The name by which other people find the base of an adapter."""
    base = str(model.base)
    if base == starter.NAME:
        return PublishedBase(starter.PUBLISHED_AS)
    if is_hub_id(base):
        return PublishedBase(base, model.revision)
    run = Run(model.run) if model.run is not None else None
    start = Path(str(run.provenance.get("folder", run.folder))) if run is not None else Path.cwd()
    folder = Path(base).expanduser().absolute()
    return PublishedBase.of(LocalModel(folder, folder.name, ""), start)


def _put_beside(model: TrainedModel, adapter: Path, base: PublishedBase, out: Path) -> None:
    """Put tokenizer and chat templates beside the adapter: its own where it has them, else the base's as trained."""
    from engine.backends.files import copy_tokenizer_files
    from engine.backends.result_files import ResultFiles
    from engine.models.local import TOKENIZER_FILES

    copy_tokenizer_files(adapter, out, TOKENIZER_FILES)
    if model.run is not None or not (out / TOKENIZER).is_file():
        source = model.base_folder()
        ResultFiles(source, base, model.spec.tokenizer(source)).complete(out)


def _notes(model: TrainedModel, base: PublishedBase) -> list[str]:
    notes = []
    if base.name.startswith("./"):
        notes.append(
            f"The base is a local folder: whoever loads the adapter puts it at {base.name}, or names another base."
        )
    if _is_packed_by_mlx(model):
        notes.append(
            f"PEFT cannot load {base.name}, whose weights MLX has quantised: name the model that it was converted "
            "from (--set base=OWNER/NAME), or export for mlx-lm (--format mlx-adapter)."
        )
    return notes


def _is_packed_by_mlx(model: TrainedModel) -> bool:
    """Return True for a base that is on this disk, and that transformers cannot read; it is not fetched for that."""
    from engine.models.local import read_config
    from engine.models.prequantized import MLX, Packed
    from engine.models.resolve import on_disk

    try:
        packed = Packed.of(read_config(on_disk(str(model.base))))
    except ModelError:
        return False
    return packed is not None and packed.method == MLX


def _without_paths(value: Any) -> Any:
    """Settings without paths of this machine, as PEFT writes those of files that a start was computed from."""
    if isinstance(value, dict):
        return {name: _without_paths(item) for name, item in value.items()}
    return None if isinstance(value, str) and Path(value).expanduser().is_absolute() else value


def _write(path: Path, settings: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
