"""An exporter: a list of the tensors that a trained model has, as text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.export.base import Exporter, Heartbeat
from engine.runs.directory.trained_model import TrainedModel


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write `inventory.txt` into `out`: a line for each tensor, in capitals with `--set case=upper`."""
    from safetensors import safe_open

    lines = []
    for file in sorted((model.adapter or model.base_folder()).glob("*.safetensors")):
        with safe_open(file, "np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                heartbeat()
                lines.append(f"{name} {tensors.get_slice(name).get_shape()}")
    text = "\n".join(lines) + "\n"
    (out / "inventory.txt").write_text(text.upper() if options.get("case") == "upper" else text)
    return {"tensors": len(lines)}


INVENTORY = Exporter("inventory", write)
