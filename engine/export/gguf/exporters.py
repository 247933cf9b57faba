"""Descriptors of the exporters `gguf` and `gguf-adapter`."""

from engine.export.base import Exporter

INSTALL = "pip install gguf"

GGUF = Exporter(
    "gguf",
    write="engine.export.gguf.write:write",
    needs=("gguf",),
    install=INSTALL,
    prove="engine.parity.llama_cpp:open_model",
)
GGUF_ADAPTER = Exporter(
    "gguf-adapter", write="engine.export.gguf.adapter:write", needs=("gguf",), install=INSTALL
)
