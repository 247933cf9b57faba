"""`ft models convert`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from engine.errors import MachineError, ModelError
from ft.console import print_json, say

Bits = Literal["none", "8bit", "4bit"]
"""`engine.backend_spec.Quantization`, which is not worth loading for a list of models."""


def convert(
    name: Annotated[str, typer.Argument(help="starter, a hub id that is on this disk, or a model's folder.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder to write; a new one.")],
    quantization: Annotated[Bits, typer.Option(help="Hold the linear layers in few bits.")] = "none",
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export, once the new one is whole.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a model as an MLX folder, which mlx-lm loads: another name for `ft export MODEL --format mlx`.

    Stdout is the folder; ctrl-c leaves none.
    """
    from engine.jobs.export import Export
    from engine.models.local import read_config
    from engine.models.resolve import on_disk
    from ft.commands.export import follow

    out = out.expanduser().absolute()
    _needs_mlx()
    source = on_disk(name).absolute()
    architecture = _known(source)
    job = Export(str(source), "mlx", out, {"quantization": quantization}, force=force)
    follow(job, f"Converting {name} …")
    settings = read_config(out).get("quantization")
    size = sum(path.stat().st_size for path in out.iterdir())
    if json:
        facts = {"folder": str(out), "model": name, "architecture": architecture}
        print_json(facts | {"quantization": settings, "bytes": size})
        return
    bits = f" in {settings['bits']} bits" if settings else ""
    say(f"{name} is converted{bits}: {size / 1e6:,.0f} MB.")
    print(out)


def _needs_mlx() -> None:
    from engine.backend_spec import spec_of
    from engine.hardware.probe import probe
    from engine.planning.backend_choice import missing

    problem = missing(spec_of("mlx"), probe())
    if problem is not None:
        raise MachineError("Converting needs MLX, which is not installed here.", problem.hint)


def _known(folder: Path) -> str:
    """The kind of a model's folder. Raises ModelError where mlx-lm has no code for it."""
    from engine.hardware.probe import mlx_architectures
    from engine.models.local import read_config

    kind = str(read_config(folder).get("model_type"))
    if kind not in mlx_architectures():
        raise ModelError(
            f"The installed mlx-lm has no code for models of the kind {kind}.",
            "A newer mlx-lm may: pip install -U mlx-lm",
        )
    return kind
