"""Sections of `train.yml`. The text under each field is its help everywhere: schema, errors, forms.

A key or value is here only when it works.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from engine.config.adapters import Adapter
from engine.config.method_sections import SectionName, read_section
from engine.config.registries import BackendKey, BestKey, FormatKey, MethodKey, MetricKey, TemplateKey
from engine.config.values import (
    NO,
    Auto,
    AutoSwitch,
    Checkpointing,
    PositiveInt,
    Reference,
    Section,
    Switch,
    Text,
    Whole,
    pattern,
)
from engine.methods import method_named


def _share_or_off(value: Any) -> Any:
    """`validation: no` and `validation: null` turn it off."""
    off = value is None or (isinstance(value, str) and value.lower() in (*NO, "none")) or value is False
    return 0.0 if off else value


def _kind(value: Any) -> str:
    """Branch of a union that a value is meant for, so that errors mention only that one."""
    if isinstance(value, list):
        return "<list>"
    return "<source>" if isinstance(value, dict | Source) else "<text>"


def _share_kind(value: Any) -> str:
    return "<share>" if isinstance(value, int | float) else _kind(value)


def _in_words(rule: str) -> Any:
    """A mapping's rule in words, which its schema cannot express."""
    return Field(min_length=1, json_schema_extra={"patternErrorMessage": rule})


Columns = Annotated[dict[str, str], _in_words("a mapping of ft's names of columns to the file's")]
Roles = Annotated[
    dict[str, Literal["system", "user", "assistant", "tool", "tool_call"]],
    _in_words("a mapping of the file's names of roles to ft's"),
]
RowTemplate = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[dict[str, Text], _in_words("a mapping of columns to Jinja templates"), Tag("<mapping>")],
    Discriminator(lambda value: "<mapping>" if isinstance(value, dict) else "<text>"),
]
File = Annotated[str, pattern(r"^[^\x00]+$", "a file")]
TemplateValue = bool | int | float | str | None
TemplateVariables = Annotated[
    dict[str, TemplateValue | list[TemplateValue]],
    _in_words("a mapping of a template's variables to true, false, numbers, words or lists of these"),
]
TemplateFile = Annotated[str, pattern(r"^[^\x00]*\.(jinja|jinja2|j2)$", "the path of a .jinja file")]


Name = Annotated[
    str,
    pattern(
        r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        "at most 64 letters, digits and . _ - with a letter or digit in front",
    ),
]

TagWord = Annotated[
    str, pattern(r'^[^\s,"]{1,64}$', "at most 64 characters, without spaces, commas and quotes")
]


class Model(Section):
    """The model that is trained, and how its weights are held."""

    base: Reference
    """`starter`, a local folder, or the id of a model on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Format of the frozen weights: 4bit takes about a quarter of bf16's memory."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """The 4-bit number format. nf4 suits the normal distribution of trained weights."""
    double_quant: Switch = True
    """Quantise the 4-bit scales too: saves about 0.4 bit a weight."""
    max_seq_length: Annotated[int, Field(ge=8, le=1_048_576), Whole] = 2048
    """Longest example in tokens; a longer one is cut, and the run says so. Learned positions may end it sooner."""
    chat_template: TemplateKey | TemplateFile = "auto"
    """`auto` (the model's own), one of ft's by its name, or the path of a .jinja file."""
    add_tokens: list[Text] = Field(default=[])
    """Texts that become one token each, as [<note>]; their rows of the embedding are added and trained."""
    template_variables: TemplateVariables | None = None
    """Values for the chat template besides the messages, as {enable_thinking: false}; the trained model keeps them."""
    trust_remote_code: Switch = False
    """Run Python code that comes with the model. Only for authors you trust."""


class Source(Section):
    """A source of rows with options of its own."""

    path: File
    """A file, folder or pattern, an https:// address, a hub dataset (OWNER/NAME), or gdrive:ID."""
    format: FormatKey = "auto"
    """The format of this source's rows."""
    columns: Columns | None = None
    """Names of this source's columns, as `data.columns` has them."""
    template: RowTemplate | None = None
    """Template of this source's rows, as `data.template` has it."""
    roles: Roles | None = None
    """Names of this source's roles, as `data.roles` has them."""
    config: Text | None = None
    """Configuration (subset) of a dataset that has several."""
    split: Text | None = None
    """Split, as `test` or `train+test`; null is `train` where any is named, `all` is every file."""
    revision: Text | None = None
    """Branch, tag or commit of a hub dataset."""
    sample_by: Literal["document", "paragraph", "line"] = "document"
    """Row of plain text, Markdown or HTML: the whole file, a paragraph, or a line."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Repetitions of this source's rows in an epoch: 0.5 is half of them, chosen by the seed, 2 is each twice."""
    max_samples: PositiveInt | None = None
    """Use at most so many rows of this source."""
    streaming: Switch = False
    """Read the first `max_samples` rows of a hub dataset over the network, without fetching its whole files."""


OneSource = Annotated[
    Annotated[File, Tag("<text>")] | Annotated[Source, Tag("<source>")], Discriminator(_kind)
]
Sources = Annotated[
    Annotated[File, Tag("<text>")]
    | Annotated[Source, Tag("<source>")]
    | Annotated[list[OneSource], Field(min_length=1), Tag("<list>")],
    Discriminator(_kind),
]
Validation = Annotated[
    Annotated[float, Field(ge=0.0, lt=1.0), Tag("<share>")]
    | Annotated[str, pattern(r"[^0-9.,% ]", "a file"), Tag("<text>")]
    | Annotated[Source, Tag("<source>")],
    Discriminator(_share_kind),
    BeforeValidator(_share_or_off),
]


class Data(Section):
    """Rows that the model is trained and validated on."""

    train: Sources
    """`starter`, a file, folder, pattern, https:// address or hub dataset, a mapping of `path` and more, or a list."""
    validation: Validation = 0.1
    """A share of the training rows to validate on, or a source of its own. 0 turns validation off."""
    format: FormatKey = "auto"
    """Format of the rows; `auto` detects it."""
    columns: Columns | None = None
    """The file's names of the columns of a format, as {instruction: question, output: answer}."""
    template: RowTemplate | None = None
    """Jinja that writes a row's text from its columns, or a mapping that writes each column of a format."""
    roles: Roles | None = None
    """The file's names of the roles of a conversation, as {customer: user, agent: assistant}."""
    train_on: Literal["assistant", "last", "all"] = "assistant"
    """Tokens that are trained: those of every assistant turn, of the last one alone, or all."""
    packing: AutoSwitch = "auto"
    """Lay examples end to end instead of padding them; each stays isolated from its neighbours."""
    max_samples: PositiveInt | None = None
    """Use at most so many rows in all."""
    chunk_overlap: Annotated[int, Field(ge=0), Whole] = 64
    """Tokens that a chunk of a long text repeats from the one before it, as context that is not trained again."""
    on_error: Literal["stop", "skip"] = "stop"
    """Rows that cannot be read or used: stop the run, or skip and count them."""


class Training(Section):
    """Optimization of the weights."""

    method: MethodKey = "sft"
    """Training method: `sft` learns answers; `dpo`, `orpo`, `simpo`, `cpo` learn from pairs; `kto` from labels."""
    epochs: Annotated[float, Field(gt=0, le=1_000_000_000)] = 3.0
    """Passes over the training rows; a fraction is allowed."""
    max_steps: PositiveInt | None = None
    """Stop after so many steps, whatever the epochs say."""
    batch_size: Auto | PositiveInt = "auto"
    """Examples in one forward pass (the micro-batch). `auto` takes what fits and is fast."""
    effective_batch_size: PositiveInt = 16
    """Examples in one optimizer step, over all its micro-batches."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-4
    """Peak step size. 1e-4 to 5e-4 is usual for LoRA, 1e-5 to 5e-5 for full training."""
    scheduler: Literal["constant", "linear", "cosine"] = "cosine"
    """Decay of the learning rate after warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03
    """Share of the steps over which the learning rate rises from zero."""
    weight_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    """Decoupled decay of AdamW."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients longer than this are scaled down; null turns clipping off."""
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """AdamW, its state in fp32 or in 8 bits (bitsandbytes); `paged` moves it to the host where a GPU runs short."""
    lora_plus_ratio: Annotated[float, Field(ge=1, le=1000)] = 1.0
    """LoRA+: the matrices B of a LoRA learn so many times as fast as the matrices A; 16 is usual, with a lower rate."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of each layer as a share of that of the layer above it; 0.9 spares the first layers."""
    neftune_alpha: Annotated[float, Field(ge=0)] = 0.0
    """NEFTune: noise on the embeddings while training, which helps small sets of chats; 5 is usual, 0 is none."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Number format of weights and arithmetic; the adapter stays fp32."""
    gradient_checkpointing: Checkpointing = "auto"
    """Recompute activations: less memory, a third to a half more arithmetic; `offload` keeps inputs on the host."""
    on_hang: Literal["restart", "stop", "wait"] = "restart"
    """An engine that hangs in a step: end it and start it again from the last checkpoint, end the run, or only warn."""


class Evaluation(Section):
    """Validation while a run trains."""

    every: PositiveInt = 50
    """Steps between evaluations; there is always one before the first step and after the last."""
    metrics: list[MetricKey] = Field(default=["perplexity"])
    """exact_match answers validation prompts greedily and counts the answers equal to the file's."""
    max_questions: PositiveInt = 64
    """Validation prompts that are answered at most for exact_match and other metrics of answers."""
    early_stopping_patience: PositiveInt | None = None
    """End the run after so many evaluations that are not better by `checkpoints.best`."""
    samples: list[Text] = Field(default=[])
    """Prompts answered at every evaluation, to see the model change."""
    sample_tokens: PositiveInt = 128
    """Longest sample answer, in tokens."""


class Checkpoints(Section):
    """Checkpoints that a run keeps on disk."""

    every: PositiveInt = 50
    """Steps between checkpoints; stopping and finishing always make one."""
    keep: PositiveInt = 3
    """Checkpoints kept besides the best one."""
    best: BestKey = "eval_loss"
    """Metric by which a checkpoint is the best: eval_loss, one of `evaluation.metrics`, or one of the method's own."""
    publish: Literal["auto", "best", "last"] = "auto"
    """Checkpoint that becomes the run's result; `auto` is the best after early stopping, else the last."""


class Output(Section):
    """The folder of the run."""

    dir: Annotated[str, pattern(r"^[^\x00]*$", "text")] | None = None
    """The run's folder; null makes one in the runs folder."""


class Recipe(Section):
    """All sections of a recipe, and one named after its method, where that has keys of its own."""

    model_config = ConfigDict(extra="allow")  # of the names that SectionName takes
    __pydantic_extra__: dict[SectionName, Any] = Field(init=False)

    name: Name = "run"
    """Part of the run's id, and what lists show."""
    tags: list[TagWord] = Field(default=[])
    """Words to find the run by: `tag:sql` in the app's Runs and in `ft runs list --filter`."""
    seed: Annotated[int, Field(ge=0, lt=2**31), Whole] = 42
    """Fixes row order, split, adapter start and dropout."""
    backend: BackendKey = "auto"
    """Training backend: `mlx` is Apple's MLX; `unsloth` is Unsloth on CUDA; `peft` is transformers + PEFT anywhere."""
    model: Model
    data: Data
    adapter: Adapter = Adapter()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()
    output: Output = Output()

    @property
    def method_config(self) -> Any:
        """Value of the chosen method's `config`; None where it has no keys of its own."""
        return self.method_sections.get(self.training.method)

    @property
    def method_sections(self) -> dict[str, Any]:
        """Sections named after methods, by name."""
        return self.__pydantic_extra__

    @model_validator(mode="after")
    def _method_section(self) -> "Recipe":
        """Read the section of the chosen method by that method's types, with its defaults where it is left out."""
        method = method_named(self.training.method)
        if method.config is not None:
            section = self.method_sections.get(method.name)
            self.method_sections[method.name] = read_section(method.name, method.config, section)
        return self
