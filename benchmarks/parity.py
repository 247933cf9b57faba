"""Agreement of a trained run's exports with the run, by quantisation: `python benchmarks/parity.py RUN`.

For each type it exports a GGUF and compares it as `ft export` does, by llama.cpp (about 18,000 tokens a type), or with
`--weights` by transformers on the file's dequantised weights: what the weights alone have lost, in a tenth of the time.
The table is that of docs/export.md; the limits in engine/parity/limits.py are set from it.

    python benchmarks/parity.py RUN --types q8_0 q4_k_m --places 32      a quick try
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.data.prepare import prepare
from engine.export.base import QUANTIZATION
from engine.export.registry import exporter_named
from engine.parity import gguf_weights, llama_cpp, probes, torch_model
from engine.parity.gate import Gate
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

TYPES = (
    *("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0"),
    *("q4_k_m", "q4_k_s", "q4_1", "q4_0", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k"),
)


@contextmanager
def dequantised(
    model: TrainedModel, out: Path, facts: Mapping[str, Any]
) -> Iterator[torch_model.TransformersModel]:
    """transformers with the weights of a GGUF file, in fp32."""
    import torch

    base = model.base_folder()
    with torch_model.open_folder(model, base, facts) as found:
        state = found.network.state_dict()
        for name, values in gguf_weights.named(out / str(facts["file"]), base):
            state[name].copy_(torch.from_numpy(values))
        yield found


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing."""


def main() -> None:
    """Print a row for each type."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--places", type=int, default=probes.POSITIONS)
    parser.add_argument("--weights", action="store_true", help="the weights' loss alone, by transformers")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    model = TrainedModel.of(run)
    base = model.base_folder()
    rows = prepare(run.config, base, lint=True, day=run.begun()).validation
    assert rows is not None
    gate = Gate(model, base, probes.of_rows(rows.good(), count=arguments.places), "validation rows")
    opened = dequantised if arguments.weights else llama_cpp.open_model
    trained = gate.trained(quiet)
    print(f"{'type':8} {'bits':>5} {'top-1':>7} {'decided':>8} {'KL mean':>9} {'KL max':>9}")
    for kind in arguments.types:
        with tempfile.TemporaryDirectory() as folder:
            out, exporter = Path(folder), exporter_named("gguf")
            facts = exporter.export(model, out, {QUANTIZATION: kind}, lambda: None)
            with opened(model, out, facts) as exported:
                own = gate.compared(trained, exported, kind, quiet).agreement
        print(
            f"{kind:8} {facts['bits_per_weight']:5.2f} {own.top1:7.1%} {own.top1_decided:8.1%} "
            f"{own.kl_mean:9.2g} {own.kl_max:9.2g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
