"""Descriptors of the exporters `gguf` and `gguf-adapter`."""

from engine.export.base import Exporter
from engine.export.gguf.mixtures import QUANTIZATIONS

INSTALL = "pip install gguf"
SUPPORTS = "engine.export.gguf.architectures:problem"

GGUF = Exporter(
    "gguf",
    write="engine.export.gguf.write:write",
    needs=("gguf",),
    install=INSTALL,
    prove="engine.parity.llama_cpp:open_model",
    quantizations=QUANTIZATIONS,
    finer="Quantise less",
    supports=SUPPORTS,
    size="engine.export.gguf.plan:size_of",
)
GGUF_ADAPTER = Exporter(
    "gguf-adapter",
    adapter_alone=True,
    write="engine.export.gguf.adapter:write",
    needs=("gguf",),
    install=INSTALL,
    prove="engine.export.gguf_adapter_proof:open_adapter",
    quantizations=("f16", "f32"),
    supports=SUPPORTS,
    size="engine.export.gguf.adapter:size_of",
)
