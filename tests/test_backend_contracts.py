"""Functions called only on hardware that is not here exist in the installed packages, under the names that we use."""

import ast
import importlib.util
import inspect
from pathlib import Path

import bitsandbytes.functional
import pytest
import torch
import transformers
from transformers.modeling_utils import AttentionInterface

from engine.backends.torch.weights import dense
from engine.hardware.memory import is_exhaustion
from tests.training import Job


@pytest.mark.parametrize(
    "name",
    [
        "cuda.memory_allocated",
        "cuda.max_memory_allocated",
        "cuda.empty_cache",
        "mps.current_allocated_memory",
        "mps.empty_cache",
        "backends.mps.is_available",
        "OutOfMemoryError",
    ],
)
def test_torch_has_functions_of_gpu_backend(name: str) -> None:
    target = torch
    for part in name.split("."):
        target = getattr(target, part)
    assert callable(target)


def test_bitsandbytes_dequantises_weights_by_state() -> None:
    names = list(inspect.signature(bitsandbytes.functional.dequantize_4bit).parameters)
    assert names[:2] == ["A", "quant_state"]


def test_transformers_knows_attention_names_of_plan() -> None:
    assert {"sdpa", "flash_attention_2"} <= set(AttentionInterface.valid_keys(AttentionInterface()))


def test_transformers_takes_quantisation_settings() -> None:
    settings = inspect.signature(transformers.BitsAndBytesConfig.__init__).parameters
    wanted = (
        "load_in_8bit",
        "load_in_4bit",
        "bnb_4bit_quant_type",
        "bnb_4bit_use_double_quant",
        "bnb_4bit_compute_dtype",
    )
    assert set(wanted) <= set(settings)


def test_every_out_of_memory_error_is_known() -> None:
    for text in (
        "CUDA out of memory. Tried",
        "MPS backend out of memory",
        "DefaultCPUAllocator: can't allocate memory",
    ):
        assert is_exhaustion(RuntimeError(text))
    assert is_exhaustion(MemoryError())
    assert not is_exhaustion(RuntimeError("shapes do not match"))


def test_quantised_8bit_layer_stays_close(tiny_model: Path, tmp_path: Path) -> None:
    plain = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    backend = Job.make(tiny_model, tmp_path, model={"quantization": "8bit"}).backend(compute_dtype="fp32")
    layer = backend.model.network.get_base_model().model.layers[0].mlp.up_proj.base_layer
    original = plain.model.layers[0].mlp.up_proj.weight
    assert layer.weight.dtype == torch.int8
    # A row's step is its largest weight / 127, and rounding errs by half a step; bf16 came before.
    step = original.abs().amax(1, keepdim=True) / 127
    assert ((dense(layer, torch.float32) - original).abs() <= 0.51 * step + 4e-3 * original.abs()).all()


def calls_of_unsloth() -> dict[str, set[str]]:
    """The methods of FastLanguageModel that our source calls, with the names of what it passes."""
    source = Path(__file__).parents[1] / "engine" / "backends" / "unsloth.py"
    calls: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="FastLanguageModel"), attr=name)):
                calls.setdefault(name, set()).update(word.arg for word in node.keywords if word.arg)
    return calls


@pytest.mark.skipif(importlib.util.find_spec("unsloth") is None, reason="see `make test-unsloth`")
@pytest.mark.parametrize(
    ("package", "files"),
    [("unsloth", ("models/loader.py", "models/llama.py")), ("unsloth_zoo", ("cpu/loader.py",))],
    ids=["on CUDA", "on the CPU"],
)
def test_unsloth_takes_every_passed_parameter(package: str, files: tuple[str, ...]) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    classes = {"FastLanguageModel", "FastLlamaModel", "FastCPUModel"}
    methods: dict[str, set[str]] = {}
    for file in files:
        for node in ast.parse((root / file).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in classes:
                for method in node.body:
                    if isinstance(method, ast.FunctionDef):  # the first may hand all on to the next
                        methods.setdefault(method.name, set()).update(known_names(method))
    for name, passed in calls_of_unsloth().items():
        assert passed <= methods[name], name


def known_names(method: ast.FunctionDef) -> set[str]:
    """Its parameters, and what it takes out of its **kwargs by name."""
    parameters = {one.arg for one in (*method.args.args, *method.args.kwonlyargs)}
    texts = {node.value for node in ast.walk(method) if isinstance(node, ast.Constant)}
    return parameters | {text for text in texts if isinstance(text, str)}
