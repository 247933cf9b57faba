"""Text of a model card: YAML for the hub, then Markdown for people. The same card gives the same bytes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.methods import OWN, method_named
from engine.metrics.registry import describe
from engine.publishing.model_card import ADAPTER, MODEL, ModelCard, Score
from engine.publishing.usage import elsewhere, usages
from engine.redaction import redacted
from engine.units import count, one_line

LIBRARIES = {
    ADAPTER: "peft",
    MODEL: "transformers",
    "merged": "transformers",
    "mlx": "mlx",
    "mlx-adapter": "mlx",
}
"""The hub's names of the libraries that load a format; llama.cpp's files are known by their ending."""
ADAPTERS = (ADAPTER, "gguf-adapter", "mlx-adapter")
LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")
"""Pattern of a licence as the hub's metadata names it."""
LICENCES = {"mit license": "mit", "the mit license": "mit", "the mit license (mit)": "mit"}
"""First lines of licence files that name one licence without doubt."""
KINDS = {"lora": "LoRA", "dora": "DoRA", "adalora": "AdaLoRA", "ia3": "IA³", "loha": "LoHa", "lokr": "LoKr"}
FORMATS = {
    "merged": "weights with the adapter merged in",
    "gguf": "GGUF for llama.cpp",
    "gguf-adapter": "LoRA in GGUF for llama.cpp, to be used with the base's GGUF",
    "mlx": "weights for mlx-lm",
    "mlx-adapter": "adapter for mlx-lm",
    "ollama": "GGUF and Modelfile for Ollama",
}


def render(card: ModelCard) -> str:
    """The card's text. The user's home folder and secrets are in no part of it."""
    parts = (
        _what(card),
        _use(card),
        _scores(card),
        _losses(card),
        _training(card),
        _data(card),
        _proof(card),
        _licence(card),
        _recipe(card),
        _versions(card),
    )
    text = f"---\n{metadata(card)}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"
    return redacted(text.replace(str(Path.home()), "~"))


def metadata(card: ModelCard) -> str:
    """YAML for the hub. What is not known is left out."""
    from huggingface_hub import ModelCardData

    licence, base = _licence_id(card.base.licence), card.base.name if card.base.on_hub else None
    more: dict[str, Any] = {}
    if licence == "other" and card.base.licence:
        more["license_name"] = _slug(card.base.licence)
    if base:
        more["base_model_relation"] = "adapter" if card.format in ADAPTERS else "finetune"
    data = ModelCardData(
        base_model=base,
        library_name=LIBRARIES.get(card.format),
        license=licence,
        pipeline_tag="text-generation",
        datasets=list(card.data.hub_datasets) or None if card.data else None,
        tags=_tags(card),
        **more,
    )
    text: str = data.to_yaml()
    return text


def _tags(card: ModelCard) -> list[str]:
    tags = ["ft-studio"]
    tags += [card.training.method] if card.training else []
    tags += [card.adapter.kind] if card.adapter else []
    tags += [card.format] if card.format not in (ADAPTER, MODEL) else []
    tags += ["gguf"] if card.format in ("ollama", "gguf-adapter") else []
    return list(dict.fromkeys(tags))


def _licence_id(licence: str | None) -> str | None:
    if licence is None:
        return None
    known = LICENCES.get(licence.lower(), licence.lower())
    return known if LICENCE_ID.fullmatch(known) else "other"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"


def _what(card: ModelCard) -> str:
    base = (
        f"[{card.base.name}](https://huggingface.co/{card.base.name})"
        if card.base.on_hub
        else _code(card.base.name)
    )
    revision = f" at revision {_code(card.base.revision)}" if card.base.revision else ""
    of_run = {ADAPTER: f"{_article(card)} for", MODEL: "All weights of"}
    what = of_run.get(card.format, f"{FORMATS.get(card.format, f'Files for {_code(card.format)}')} of")
    method = _method(card.training.method) if card.training else ""
    how = f", trained by {method} with ft" if method else ""
    exported = f" It was trained as {_article(card, 'a')}." if card.export and card.adapter else ""
    return f"# {card.title}\n\n{what} {base}{revision}{how}.{exported}"


def _method(name: str) -> str:
    """A training method in words; its name where the package that brings it is not here."""
    return (method_named(name).summary if name in OWN else "") or name


def _article(card: ModelCard, article: str = "A") -> str:
    kind = card.adapter.kind if card.adapter else ""
    rank = f" of rank {card.adapter.rank}" if card.adapter and card.adapter.rank else ""
    written = KINDS.get(kind, kind)
    an = f"{article}n" if written[:1] in "AaEeIiOo" else article
    return f"{an} {written} adapter{rank}" if written else f"{article}n adapter"


def _use(card: ModelCard) -> str:
    shown = [f"**{use.program}**\n\n```{use.language}\n{use.code}\n```" for use in usages(card)]
    more = elsewhere(card)
    return "\n\n".join(["## Use", *shown, *([more] if more else [])]) if shown or more else ""


def _scores(card: ModelCard) -> str:
    if not card.scores:
        return ""
    before = any(score.before is not None for score in card.scores)
    sure = any(score.interval for score in card.scores)
    titles = [
        "score",
        *(["base model"] if before else []),
        "this model",
        *(["95 % interval"] if sure else []),
        "rows",
    ]
    rows = [titles, ["---"] * len(titles)]
    rows += [_score(score, before, sure) for score in card.scores]
    arrows = "↑: higher is better, ↓: lower is better."
    return "## Scores\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{arrows}"


def _score(score: Score, before: bool, sure: bool) -> list[str]:
    metric = describe(score.metric)
    arrow = {"higher": " ↑", "lower": " ↓"}.get(metric.better or "", "")
    cells = [f"{_cell(metric.title)}{arrow}"]
    cells += ["" if score.before is None else metric.written(score.before)] if before else []
    cells.append(metric.written(score.value))
    if sure:
        cells.append(" to ".join(map(metric.written, score.interval)) if score.interval else "")
    return [*cells, _cell(score.rows)]


def _losses(card: ModelCard) -> str:
    return f"## Losses\n\n![Training and validation loss by step]({card.picture})" if card.picture else ""


def _training(card: ModelCard) -> str:
    facts = card.training
    if facts is None:
        return ""
    step = f"step {facts.step:,} of {facts.steps:,}" if facts.step is not None else f"{facts.steps:,} steps"
    rows = {
        "weights of": step,
        "epochs": f"{facts.epochs:g}",
        "batch": f"{facts.batch:,} examples a step",
        "learning rate": f"{facts.learning_rate:g}",
        "precision": facts.precision,
        "trained with": facts.place,
    }
    return (
        "## Training\n\n"
        + _list(rows)
        + "\n\n`training_args.json` has it in the words of transformers' Trainer."
    )


def _data(card: ModelCard) -> str:
    data = card.data
    if data is None:
        return ""
    of_all = f" of {count(data.tokens)}" if data.tokens else ""
    rows = {
        "sources" if len(data.sources) > 1 else "source": ", ".join(map(_code, data.sources)),
        "training examples": count(data.examples) if data.examples is not None else "",
        "trained tokens": f"{count(data.trained_tokens)}{of_all} an epoch" if data.trained_tokens else "",
        "fingerprint": f"{_code(data.fingerprint)} (sha256 over all tokens)" if data.fingerprint else "",
    }
    return "## Data\n\n" + _list({name: value for name, value in rows.items() if value})


def _proof(card: ModelCard) -> str:
    if card.export is None:
        return ""
    parts = ["## Export"]
    if card.export.facts:
        parts.append(
            _list({_cell(str(name)): _code(_value(value)) for name, value in card.export.facts.items()})
        )
    proof = card.export.proof
    if proof is None:
        parts.append(
            "Nothing was proved of these files: whether they answer as the trained model does is not known."
        )
    else:
        parts.append(_compared(proof))
    return "\n\n".join(parts)


def _compared(proof: Mapping[str, Any]) -> str:
    """Figures of the parity gate (`engine.parity.proof.Proof.as_json`), or of another package's comparison."""
    if not {"positions", "top1", "kl_mean", "kl_max"} <= proof.keys():
        figures = {_cell(str(name)): _code(_value(value)) for name, value in proof.items()}
        return "Compared with the trained model, these files gave:\n\n" + _list(figures)
    tokens = proof.get("tokens") or {}
    texts = int(tokens.get("texts", 0)) + int(tokens.get("conversations", 0))
    rows = {
        "same likeliest token": f"{proof['top1']:.1%} of {proof['positions']:,} places",
        "KL divergence": f"mean {proof['kl_mean']:.2g}, at most {proof['kl_max']:.2g} nats a token, "
        f"over {_cell(str(proof.get('kl_over', 'the vocabulary')))}",
        "left out": _cell(str(proof.get("left_out", ""))),
        "tokens": f"{texts - len(tokens.get('different', ()))} of {texts} texts and prompts equal"
        if texts
        else "",
    }
    head = f"Compared on {_cell(str(proof.get('rows', 'held-out rows')))} with the trained model"
    with_ = f" ({_cell(str(proof['reference']))})" if proof.get("reference") else ""
    verdict = "" if proof.get("passed", True) else "\n\n**It is over the limits for its precision.**"
    return f"{head}{with_}:\n\n" + _list({name: text for name, text in rows.items() if text}) + verdict


def _licence(card: ModelCard) -> str:
    if card.base.licence is None:
        said = "The base model's folder states no licence. Look it up before you share this."
    else:
        said = f"The base model has the licence {_code(card.base.licence)}; its terms bind this model too."
    return f"## Licence\n\n{said} The licence of the training data is not known to ft."


def _recipe(card: ModelCard) -> str:
    if not card.recipe:
        return ""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", card.recipe)), 3)
    return f"## Recipe\n\n<details><summary>train.yml</summary>\n\n{fence}yaml\n{card.recipe}{fence}\n\n</details>"


def _versions(card: ModelCard) -> str:
    named = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    return f"## Versions\n\n{_cell(named)}" if named else ""


def _list(rows: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in rows.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _code(text: str | None) -> str:
    """Text of anybody's as code in Markdown, on one line."""
    flat = one_line(text or "", 300)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def _cell(text: str) -> str:
    """Text of anybody's on one line, in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*\[\]<>|#])", r"\\\1", one_line(text, 300))
