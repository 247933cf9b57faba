"""Export as full weights: a folder in transformers' layout, which every program for models takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError
from engine.export.base import Exporter, Heartbeat
from engine.models.adapter_files import CONFIG
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.merging.merged import MergedTensors
    from engine.merging.several import Combination
    from engine.parity.summed import Summed

MERGED = Exporter(
    "merged",
    write="engine.export.merged:write",
    prove="engine.parity.torch_model:open_either",
    sums="engine.export.merged:summed",
    finer="Write a format that loses less (ft merge --dtype fp16 or fp32, ft export --set dtype=fp32)",
    size="engine.export.merged:size",
)
OPTIONS = ("dtype", "shard_bytes", "models", "weights", "method", "density", "rank", "seed", "adapter")


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write the weights of base and adapter as one, with tokenizer, templates and settings as they were trained.

    The options are `dtype` (`source`, bf16, fp16 or fp32) and `shard_bytes`; for several models, `models` (further ones
    by what `TrainedModel.find` takes), `weights`, `method`, `density`, `rank` and `seed` (see `Combination`), and
    `adapter`, which writes them as one adapter. The facts are the base and how it was read, what was written, the share
    of the update that rounding lost, and the distance of several models from their weighted sum.
    """
    from engine.merging.shards import SHARD_BYTES, write_shards

    if unknown := options.keys() - set(OPTIONS):
        raise ConfigError(
            f"Export to merged has no option {min(unknown)}.", f"Its options: {', '.join(OPTIONS)}."
        )
    dtype, shard_bytes = dtype_of(options), _whole_number(options.get("shard_bytes", SHARD_BYTES))
    combination = _combination(model, options)
    base = combination.base()
    heartbeat()
    facts: dict[str, Any] = {"base": str(base.folder), "note": base.note, "method": combination.method}
    facts["weights"] = list(combination.weights)
    if options.get("adapter"):
        facts["distance"] = combination.write_adapter(base.folder, out)
        _write_tokenizer(model, base.folder, out)
    else:
        with combination.tensors(base.folder) as (tensors, facts["distance"]):
            written = write_shards(tensors, out, dtype, heartbeat, shard_bytes)
            write_settings(model, base.folder, tensors, out)
            facts |= {"untied": tensors.untied, **written.facts()}
    return facts


def write_plain(base: Path, out: Path, heartbeat: Heartbeat) -> None:
    """Write what the weights of a folder stand for, in fp16, also where the model that they were made from is here.

    Raises ModelError where their quantisation cannot be read.
    """
    from engine.merging.shards import SHARD_BYTES, write_shards

    model = TrainedModel(base)
    with _combination(model, {}).tensors(base) as (tensors, _):
        write_shards(tensors, out, dtype_of({"dtype": "fp16"}), heartbeat, SHARD_BYTES)
        write_settings(model, base, tensors, out)


def _combination(model: TrainedModel, options: Mapping[str, Any]) -> "Combination":
    """The models that go into it. Raises ConfigError as `Combination.of` and `TrainedModel.find` do."""
    from engine.merging.several import Combination

    others = [TrainedModel.find(reference) for reference in options.get("models") or ()]
    return Combination.of([model, *others], options)


def summed(model: TrainedModel, options: Mapping[str, Any]) -> "Summed | None":
    """The models whose weighted sum is written, or is near what a method other than `cat` makes of them."""
    from engine.parity.summed import Summed

    combination = _combination(model, options)
    if combination.models == (model,) and combination.weights == (1.0,):
        return None
    return Summed(combination.models, combination.weights, combination.method == "cat")


def size(model: TrainedModel, options: Mapping[str, Any]) -> int:
    """Bytes of the weights at most: those of the base in the format to be written, and an output layer of its own."""
    from engine.merging.base import base_for
    from engine.merging.dequantised import open_weights
    from engine.merging.shards import size_of

    infos = open_weights(base_for(model).folder).infos
    dtype = dtype_of(options)
    largest = max(infos.values(), key=lambda info: info.size)
    return size_of(infos, dtype) + size_of({largest.name: largest}, dtype)


def dtype_of(options: Mapping[str, Any]) -> str:
    """The number format that the options ask for. Raises ConfigError for one that there is not."""
    from engine.merging.encoding import ENCODINGS

    dtype = str(options.get("dtype", "source"))
    if dtype != "source" and dtype not in ENCODINGS:
        raise ConfigError(f"There is no dtype {dtype}.", f"Use source, {', '.join(ENCODINGS)}.")
    return dtype


def _whole_number(value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(f"shard_bytes: {value} is not a number of bytes.", "As shard_bytes=5000000000.")
    return number


def write_settings(model: TrainedModel, base: Path, tensors: "MergedTensors", out: Path) -> None:
    """Write config.json as the weights in `out` need it, and the tokenizer, templates and end tokens of training."""
    from engine.backends.files import write_config
    from engine.models.local import dtype_of, read_config

    config = read_config(base)
    for name in ("quantization_config", "quantization"):
        config.pop(name, None)
    for part in (config, config.get("text_config")):
        if not isinstance(part, dict):
            continue
        if tensors.untied and (part is config or "tie_word_embeddings" in part):
            part["tie_word_embeddings"] = False
        if tensors.vocabulary is not None and "vocab_size" in part:
            part["vocab_size"] = tensors.vocabulary
    write_config(out, config, dtype_of(out))
    _write_tokenizer(model, base, out)


def _write_tokenizer(model: TrainedModel, base: Path, out: Path) -> None:
    """Write tokenizer and templates: the adapter's own where it has them, else the base's with the added tokens."""
    from engine.backends.files import copy_tokenizer_files, write_tokenizer
    from engine.backends.result_files import ResultFiles
    from engine.models.local import TOKENIZER_FILES, read_object
    from engine.models.published import PublishedBase

    if model.adapter is not None:
        copy_tokenizer_files(model.adapter, out, TOKENIZER_FILES)
    if not (out / "tokenizer.json").is_file():
        write_tokenizer(base, model.spec.add_tokens, out)
    about = read_object(out / CONFIG) if (out / CONFIG).is_file() else {}
    named = PublishedBase(str(about.get("base_model_name_or_path") or base.name), about.get("revision"))
    ResultFiles(base, named, model.spec.tokenizer(base)).complete(out)
