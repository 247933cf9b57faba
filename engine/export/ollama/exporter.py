"""Descriptor of the exporter `ollama`: that of `gguf`, with a Modelfile beside its file."""

from dataclasses import replace

from engine.export.gguf.exporters import GGUF
from engine.export.gguf.mixtures import QUANTIZATIONS

OLLAMA = replace(
    GGUF,
    name="ollama",
    write="engine.export.ollama.write:write",
    prove="engine.export.ollama.opened:opened",
    quantizations=QUANTIZATIONS,
    creates="engine.export.ollama.create:Creation",
)
