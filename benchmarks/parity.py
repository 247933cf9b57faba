"""Agreement of a trained run's exports with the run, by format and quantisation: `python -m benchmarks.parity RUN`.

For each type it exports the model and compares it as `ft export` does: a GGUF by llama.cpp (about 18,000 tokens a
type), an MLX folder by mlx-lm, `merged` by transformers; with `--weights`, all by transformers on their dequantised
weights: what these alone have lost, in a tenth of the time.
The table is that of docs/export.md; the limits in engine/parity/limits.py are set from it.

    python -m benchmarks.parity RUN --types gguf/q8_0 mlx/4bit --places 32      a quick try
    python -m benchmarks.parity RUN --rotated                                   another shape: see parity_rotated.py
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.parity_rotated import rotated
from engine import plugins
from engine.data.prepare import prepare
from engine.data.types import Float32
from engine.export.base import QUANTIZATION
from engine.export.registry import exporter_named
from engine.parity import gguf_weights, mlx_model, probes, torch_model
from engine.parity.exported import Heartbeat, Probe
from engine.parity.gate import Gate, Trained
from engine.parity.limits import precision_of
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

GGUF = exporter_named("gguf").quantizations
TYPES = (
    *(f"gguf/{name}" for name in GGUF),
    *(f"mlx/{name}" for name in exporter_named("mlx").quantizations),
    *("merged/fp32", "merged/fp16", "merged/bf16"),
)
PROGRAMS = {"gguf": "llama.cpp", "mlx": "mlx-lm", "merged": "transformers"}


@contextmanager
def dequantised(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> Iterator[torch_model.TransformersModel]:
    """transformers with the weights of a GGUF file or an MLX folder, in fp32."""
    import torch

    base = model.base_folder()
    with torch_model.open_folder(model, base, facts, heartbeat) as found:
        state = found.network.state_dict()
        for name, values in _weights(model, out, facts, heartbeat):
            if name in state:  # a tied output layer is in none
                state[name].copy_(torch.from_numpy(values))
        yield found


def _weights(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> Iterator[tuple[str, Float32]]:
    if "file" in facts:
        yield from gguf_weights.named(out / str(facts["file"]), model.base_folder())
    else:
        with mlx_model.open_folder(model, out, facts, heartbeat) as opened:
            yield from opened.weights()


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing."""


def nothing() -> None:
    """Go on."""


def row(gate: Gate, trained: Trained, name: str, weights: bool) -> str:
    """A line of the table: an export of one type, against the trained model."""
    form, _, kind = name.partition("/")
    exporter, program = exporter_named(form), PROGRAMS[form]
    option = "dtype" if form == "merged" else QUANTIZATION
    assert exporter.prove is not None
    opened = plugins.resolved(exporter.prove)
    if weights and form != "merged":
        opened, program = dequantised, "its weights"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        facts = exporter.export(gate.model, out, {option: kind}, nothing)
        size = sum(path.stat().st_size for path in out.glob("*") if path.suffix in (".gguf", ".safetensors"))
        with opened(gate.model, out, facts, nothing) as exported:
            proof = gate.compared(trained, exported, precision_of(facts, out), quiet)
    own, over = proof.agreement, "all" if proof.agreement.top_n is None else f"top {proof.agreement.top_n}"
    return (
        f"{form:7} {kind:7} {program:12} {size / 1e6:7.1f} {own.top1:7.1%} {own.top1_decided:8.1%} "
        f"{own.kl_mean:8.1e} {own.kl_max:8.1e} {over:8} {'; '.join(proof.failures) or 'proved'}"
    )


def validation(run: Run, model: TrainedModel, count: int) -> tuple[Probe, ...]:
    """Places in the run's validation rows."""
    rows = prepare(run.config, model.base_folder(), lint=True, day=run.begun()).validation
    assert rows is not None
    return probes.of_rows(rows.good(), count=count)


def texts(model: TrainedModel, count: int) -> tuple[Probe, ...]:
    """Places in the texts that come with ft, which the run has not learned."""
    tokenizer = model.spec.tokenizer(model.base_folder())
    return probes.of_text(lambda text: tokenizer.encode([text])[0], count=count)


def main() -> None:
    """Print a row for each type."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--places", type=int, default=probes.POSITIONS)
    parser.add_argument("--weights", action="store_true", help="the weights' loss alone, by transformers")
    parser.add_argument(
        "--texts", action="store_true", help="on ft's own texts, not the run's validation rows"
    )
    parser.add_argument("--rotated", action="store_true", help="the same function in wider, rotated weights")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    model = TrainedModel.of(run)
    drawn = texts(model, arguments.places) if arguments.texts else validation(run, model, arguments.places)
    gate = Gate(model, model.base_folder(), drawn, "validation rows")
    trained = gate.trained(quiet, nothing)
    with ExitStack() as stack:
        if arguments.rotated:
            folder = rotated(model, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            gate = replace(gate, model=TrainedModel(folder), base=folder)
        print(f"{probes.places(drawn)} places in {len(drawn)} rows; the trained model: {trained.about}")
        print(
            f"{'format':7} {'type':7} {'program':12} {'MB':>7} {'top-1':>7} {'decided':>8} {'KL mean':>8} "
            f"{'KL max':>8} {'KL over':8} outcome"
        )
        for name in arguments.types:
            print(row(gate, trained, name, arguments.weights), flush=True)


if __name__ == "__main__":
    main()
