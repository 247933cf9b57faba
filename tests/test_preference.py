"""Preference methods: their formulas, the reference that they compare with, and runs that learn from pairs."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine import paths
from engine.backends import load_trainer
from engine.backends.layout import rows_of
from engine.backends.mlx.ops import MlxOps
from engine.backends.torch.causal_lm import TorchModel
from engine.backends.torch.ops import TorchOps
from engine.config.load import load_text
from engine.config.problems import RecipeError
from engine.data.batching import Cut, batch_of, batch_of_rows, micro_batches
from engine.data.prepare import prepare
from engine.data.types import Batch
from engine.methods import OWN, method_named
from engine.objectives.base import Ops, Outputs
from engine.runs.directory import checkpoints
from engine.runs.directory.control import Control
from engine.runs.directory.events import Eval, Step, Warned
from engine.training.comparison import Comparison, mismatched
from engine.training.feed import ExampleFeed, MicroBatcher
from engine.training.heartbeat import Heartbeat
from engine.training.progress import Progress
from engine.training.reference import with_reference
from tests.preference_steps import examples, steps_on
from tests.training import LABELLED, PAIRS, Job, StopAtPoll

Numbers = npt.NDArray[np.float64]
PAIR_METHODS = ("dpo", "orpo", "simpo", "cpo")
WEIGHTS = "adapter/adapter_model.safetensors"


def log_sigmoid(x: Numbers) -> Numbers:
    return np.asarray(-np.logaddexp(0, -x))


def odds(mean: Numbers) -> Numbers:
    """log(p / (1 - p)) of log p."""
    return np.asarray(mean - np.log1p(-np.exp(mean)))


PROMPT, LENGTHS = 2, (6, 4, 3, 5)
"""Tokens of each prompt, and of each row: two pairs, or four labelled answers."""


def batch() -> Batch:
    rows = [list(range(1, length + 1)) for length in LENGTHS]
    groups, signs = np.array([0, 0, 1, 1], np.int32), np.array([1, -1, 1, -1], np.int8)
    return replace(batch_of_rows(rows, trained_from=PROMPT), group=groups, sign=signs, divergence=0.25)


def random_logps(seed: int) -> npt.NDArray[np.float32]:
    tokens = sum(LENGTHS) - PROMPT * len(LENGTHS)
    return -np.random.default_rng(seed).exponential(1.0, tokens).astype(np.float32)


class Rows:
    """Sums and means of the answers' log-probabilities and gains, in float64."""

    def __init__(self) -> None:
        owner = batch().sequence_of
        logps, reference = (random_logps(seed).astype(np.float64) for seed in (1, 2))
        counts = np.bincount(owner)
        self.sums = np.bincount(owner, logps)
        self.gains = self.sums - np.bincount(owner, reference)
        self.means, self.mean_gains = self.sums / counts, self.gains / counts

    @staticmethod
    def lead(values: Numbers) -> Numbers:
        return np.asarray(values[::2] - values[1::2])


def nll(rows: Rows) -> float:
    return float(-rows.means[::2].sum())


FORMULAS: dict[tuple[str, str], Callable[[Rows], float]] = {
    ("dpo", "beta: 0.3"): lambda r: float(-log_sigmoid(0.3 * r.lead(r.gains)).sum()),
    ("dpo", "label_smoothing: 0.2"): lambda r: float(
        -(0.8 * log_sigmoid(0.1 * r.lead(r.gains)) + 0.2 * log_sigmoid(-0.1 * r.lead(r.gains))).sum()
    ),
    ("dpo", "loss: hinge"): lambda r: float(np.maximum(0, 1 - 0.1 * r.lead(r.gains)).sum()),
    ("dpo", "loss: ipo"): lambda r: float(((r.lead(r.gains) - 5) ** 2).sum()),
    ("dpo", "loss: robust, label_smoothing: 0.1"): lambda r: float(
        (-0.9 * log_sigmoid(0.1 * r.lead(r.gains)) + 0.1 * log_sigmoid(-0.1 * r.lead(r.gains))).sum() / 0.8
    ),
    ("dpo", "length_normalised: true"): lambda r: float(-log_sigmoid(0.1 * r.lead(r.mean_gains)).sum()),
    ("orpo", "beta: 0.5"): lambda r: nll(r) - 0.5 * float(log_sigmoid(r.lead(odds(r.means))).sum()),
    ("simpo", "beta: 2.5, gamma: 0.5"): lambda r: float(-log_sigmoid(2.5 * r.lead(r.means) - 0.5).sum()),
    ("cpo", "nll_weight: 0.5"): lambda r: 0.5 * nll(r) - float(log_sigmoid(0.1 * r.lead(r.sums)).sum()),
    ("kto", "desirable_weight: 2.0"): lambda r: float(
        (2 * (1 - np.exp(log_sigmoid(0.1 * (r.gains[::2] - 0.25))))).sum()
        + (1 - np.exp(log_sigmoid(0.1 * (0.25 - r.gains[1::2])))).sum()
    ),
}


@pytest.mark.parametrize(("method", "keys"), FORMULAS, ids=str)
def test_loss_is_the_papers_formula_on_both_backends(method: str, keys: str) -> None:
    config = load_text(
        f"model: {{base: starter}}\ndata: {{train: rows.jsonl}}\ntraining: {{method: {method}}}\n"
        f"{method}: {{{keys}}}\n",
        Path("/recipes/train.yml"),
    ).config
    objective = method_named(method).objective(config.method_config)
    both: list[Ops] = [TorchOps(torch.device("cpu")), MlxOps()]
    for ops in both:
        reference = ops.array(random_logps(2)) if objective.needs_reference else None
        loss, metrics = objective.loss(Outputs(ops.array(random_logps(1)), reference), batch(), ops)
        assert float(loss) == pytest.approx(FORMULAS[method, keys](Rows()), rel=2e-5)
        assert set(method_named(method).metrics) == set(metrics), "the descriptor names what is reported"
    assert objective.normaliser([batch(), batch()]) == (8 if method == "kto" else 4)


def test_odds_ratio_of_likely_and_unlikely_answers_is_finite() -> None:
    """Where an answer is all but certain, 1 - p has no digits left if it is computed as such."""
    objective = method_named("orpo").objective(method_named("orpo").config())  # type: ignore[misc]
    for value in (0.0, -1e-9, -1e-7, -80.0):
        logps = torch.full_like(torch.from_numpy(random_logps(1)), value, requires_grad=True)
        loss, _ = objective.loss(Outputs(logps), batch(), TorchOps(torch.device("cpu")))
        loss.backward()
        assert math.isfinite(float(loss))
        assert logps.grad is not None
        assert logps.grad.isfinite().all()


def pair_job(model: Path, folder: Path, method: str = "dpo", **sections: Any) -> Job:
    rows = LABELLED if method == "kto" else PAIRS
    training = {"method": method, "batch_size": 2, **sections.pop("training", {})}
    evaluation = {"samples": [], **sections.pop("evaluation", {})}
    return Job.make(model, folder, rows=rows, training=training, evaluation=evaluation, **sections)


def evals(job: Job) -> list[Eval]:
    return [event for event in job.run.events() if isinstance(event, Eval)]


def steps(job: Job) -> list[Step]:
    return [event for event in job.run.events() if isinstance(event, Step)]


STARTS: dict[str, dict[str, Any]] = {
    "fresh": {"adapter": {"dropout": 0.0}},
    "dropout": {"adapter": {"dropout": 0.5}},
    "dora": {"adapter": {"type": "dora", "dropout": 0.0}},
    "pissa": {"adapter": {"init": "pissa", "dropout": 0.0}},
    "olora": {"adapter": {"init": "olora", "dropout": 0.0}},
    "full": {"adapter": {"type": "none"}, "training": {"learning_rate": 1e-3}},
    "padded": {"adapter": {"dropout": 0.0}, "data": {"packing": False}},
    "mlx": {"adapter": {"dropout": 0.0}, "backend": "mlx"},
    "mlx-pissa": {"adapter": {"init": "pissa", "dropout": 0.0}, "backend": "mlx"},
    "mlx-full": {"adapter": {"type": "none"}, "backend": "mlx"},
}


@pytest.mark.parametrize("start", STARTS)
def test_reference_is_the_model_before_the_first_step(tiny_model: Path, tmp_path: Path, start: str) -> None:
    """Margins are exactly nothing then, whatever the adapter is at first; without dropout in the first step too."""
    sections = {
        name: dict(value) if isinstance(value, dict) else value for name, value in STARTS[start].items()
    }
    job = pair_job(tiny_model, tmp_path, **sections)
    assert job.train() == "completed"
    first, last = evals(job)[0], evals(job)[-1]
    assert (first.step, first.metrics["reward_margin"]) == (0, 0.0)
    assert first.loss == pytest.approx(math.log(2), abs=1e-6)
    assert first.perplexity is None
    if start != "dropout":
        assert steps(job)[0].metrics["reward_margin"] == 0.0
        assert steps(job)[0].metrics["chosen_reward"] == 0.0
    assert last.loss < first.loss
    assert last.metrics["preference_accuracy"] > 0.9, "chosen answers end in the word, rejected ones in `no`"


def test_reference_is_the_adapter_that_a_run_starts_from(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "sft").mkdir()
    first = Job.make(tiny_model, tmp_path / "sft", adapter={"dropout": 0.0})
    assert first.train() == "completed"
    (tmp_path / "dpo").mkdir()
    job = pair_job(tiny_model, tmp_path / "dpo", adapter={"from": str(first.run.folder)})
    assert job.train() == "completed"
    assert evals(job)[0].metrics["reward_margin"] == 0.0
    assert steps(job)[0].metrics["reward_margin"] == 0.0
    assert evals(job)[-1].metrics["reward_margin"] > 0


def test_prompt_of_a_pair_is_computed_once(tiny_model: Path, tmp_path: Path) -> None:
    """Log-probabilities and gradients are those of the answers apart."""
    job = pair_job(tiny_model, tmp_path, adapter={"dropout": 0.0}, data={"packing": True})
    objective, examples = job.objective, prepare(job.config, job.model).train
    apart = micro_batches(examples, np.arange(8), Cut(8, 10_000, packing=False))
    together = micro_batches(examples, np.arange(8), Cut(8, 10_000, packing=True))
    plan = job.plan.changed(weights_dtype="fp32", compute_dtype="fp32")
    found = []
    for (batch,) in (apart, together):
        trainer = load_trainer(plan, job.config, job.model, objective)
        order = np.argsort(batch.examples[batch.sequence_of], kind="stable")
        logps = trainer.model.logps(batch)
        compared = replace(batch, reference=np.full_like(logps, -1.0))
        step = trainer.step([compared], 4.0, 1e-2, 0, lambda: None)
        found.append((logps[order], step, trainer.model.logps(batch)[order]))
    (before, step, after), (shared_before, shared_step, shared_after) = found
    assert np.allclose(shared_before, before, atol=1e-5)
    assert shared_step.loss == pytest.approx(step.loss, rel=1e-5)
    assert shared_step.grad_norm == pytest.approx(step.grad_norm, rel=1e-4)
    assert np.allclose(shared_after, after, atol=2e-3), "the weights have moved alike"
    laid = rows_of(together[0], share=True)
    assert laid.ids.size < 0.8 * len(together[0].tokens)
    assert (laid.ids[0, laid.places] == together[0].tokens).all()


@pytest.mark.parametrize("method", PAIR_METHODS[1:])
def test_methods_without_reference_learn_the_preference(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    job = pair_job(tiny_model, tmp_path, method, checkpoints={"best": "preference_accuracy"})
    assert job.train() == "completed"
    assert evals(job)[-1].metrics["reward_margin"] > evals(job)[0].metrics["reward_margin"]
    assert evals(job)[-1].best_by == "preference_accuracy"
    assert not list(tmp_path.rglob("reference-*")), "nothing is computed that is not compared with"


def test_kto_learns_from_labels(tiny_model: Path, tmp_path: Path) -> None:
    job = pair_job(tiny_model, tmp_path, "kto", adapter={"dropout": 0.0})
    assert job.train() == "completed"
    first, last = evals(job)[0], evals(job)[-1]
    assert first.loss == pytest.approx(0.5, abs=1e-6)
    assert (first.metrics["kl"], first.metrics["chosen_reward"], steps(job)[0].metrics["kl"]) == (0, 0, 0)
    assert last.metrics["chosen_reward"] > last.metrics["rejected_reward"]
    assert any(step.metrics["kl"] > 0 for step in steps(job))


def unbroken_and_stopped(model: Path, folder: Path, method: str, stops: tuple[int, ...]) -> tuple[Job, Job]:
    jobs = []
    for name, polls in (("whole", ()), ("stopped", stops)):
        (folder / name).mkdir()
        job, resume_from = pair_job(model, folder / name, method), None
        for count in polls:
            assert job.train(StopAtPoll(job.run, count), resume_from) == "stopped"
            resume_from = checkpoints.latest(job.run.folder)
            for kept in paths.cache().glob("tokens/*/reference-*"):
                shutil.rmtree(kept)
        if resume_from is not None:
            assert checkpoints.step_of(resume_from) > 0, "it was stopped when something was trained"
        assert job.train(resume_from=resume_from) == "completed"
        jobs.append(job)
    return jobs[0], jobs[1]


def test_divergence_is_that_of_all_rows_of_a_step(tiny_model: Path, tmp_path: Path) -> None:
    """However they are cut: of a micro-batch alone it would be another number, and nothing for a single row."""
    job = pair_job(tiny_model, tmp_path, "kto", adapter={"dropout": 0.0})
    dataset = with_reference(prepare(job.config, job.model), job.objective, None)
    trainer = load_trainer(job.plan, job.config, job.model, job.objective)
    progress = Progress(micro_batch_rows=8, micro_batch_tokens=10_000)
    batcher = MicroBatcher(job.run, job.config, job.plan, trainer.model, progress)
    comparison = Comparison(job.objective, trainer.model, batcher, Heartbeat(job.run, Control(job.run)))
    feed = ExampleFeed(dataset.train, job.config, job.plan, batcher)
    comparison.prepare(feed, 1, None)
    rows, examples = feed.rows(0), dataset.train
    others = batch_of(mismatched(examples, np.sort(rows)), np.arange(len(rows)))
    liked = replace(others, sign=np.ones(len(rows), np.int8), reference=trainer.model.logps(others))
    for seed in range(3):  # the model comes to like other prompts' answers
        trainer.step([liked], float(len(rows)), 1e-2, seed, lambda: None)
    found = set()
    for size in (1, 2, 4):
        cut = micro_batches(examples, rows, Cut(size, 10_000, packing=False))
        found |= {round(batch.divergence, 4) for batch in comparison.with_divergence(examples, cut)}
    (divergence,) = found
    assert divergence > 0


@pytest.mark.parametrize(("method", "stops"), [("dpo", (1, 40)), ("kto", (60, 60)), ("orpo", (12,))], ids=str)
def test_resume_is_exact(tiny_model: Path, tmp_path: Path, method: str, stops: tuple[int, ...]) -> None:
    """Stopped while the reference is computed, and in steps; and what was computed of it is gone, as after cleaning."""
    whole, stopped = unbroken_and_stopped(tiny_model, tmp_path, method, stops)
    assert (whole.run.folder / WEIGHTS).read_bytes() == (stopped.run.folder / WEIGHTS).read_bytes()
    told = {(event.step, event.loss) for event in evals(stopped)}
    assert told == {(event.step, event.loss) for event in evals(whole)}


def test_reference_is_computed_once(tiny_model: Path, tmp_path: Path) -> None:
    """A second run with another beta compares with what the first one has kept."""
    noted = []
    for name, beta in (("one", 0.1), ("two", 0.5)):
        (tmp_path / name).mkdir()
        job = pair_job(tiny_model, tmp_path / name, dpo={"beta": beta})
        job.config = job.config.model_copy(update={"data": noted[0].config.data}) if noted else job.config
        job.train()
        noted.append(job)
    phases = [
        [e for e in job.run.events() if getattr(e, "note", "").startswith("what the model")] for job in noted
    ]
    assert phases[0]
    assert not phases[1]
    assert evals(noted[1])[0].metrics["reward_margin"] == 0.0


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_comparing_goes_on_with_less_where_memory_runs_out(
    tiny_model: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the reference is computed, and the divergence: the rows of a step stay the same."""
    job = pair_job(tiny_model, tmp_path, method, training={"batch_size": 4}, adapter={"dropout": 0.0})
    logps = TorchModel.logps

    def scarce(self: TorchModel, batch: Batch) -> Any:
        if batch.sequences > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return logps(self, batch)

    monkeypatch.setattr(TorchModel, "logps", scarce)
    assert job.train() == "completed"
    warnings = [event.message for event in job.run.events() if isinstance(event, Warned)]
    assert any("continuing with micro-batches of 2 examples" in message for message in warnings)
    assert evals(job)[0].metrics["chosen_reward"] == pytest.approx(0.0, abs=1e-6)
    assert evals(job)[-1].metrics["chosen_reward"] > evals(job)[-1].metrics["rejected_reward"]


@pytest.mark.parametrize("method", OWN[1:])
@pytest.mark.parametrize("backend", ["peft", "mlx"])
def test_micro_batch_changes_nothing_that_is_learned(
    tiny_model: Path, tmp_path: Path, method: str, backend: str
) -> None:
    """KTO's divergence is that of the step, and not of what happens to lie in a micro-batch."""
    losses = []
    for rows in (1, 4):
        (tmp_path / str(rows)).mkdir()
        training = {"batch_size": rows, "max_steps": 4}
        job = pair_job(
            tiny_model,
            tmp_path / str(rows),
            method,
            training=training,
            adapter={"dropout": 0.0},
            backend=backend,
        )
        job.train()
        losses.append([(step.loss, step.grad_norm) for step in steps(job)])
    assert np.allclose(losses[0], losses[1], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("method", OWN[1:])
def test_both_backends_take_the_same_twenty_steps(tiny_model: Path, tmp_path: Path, method: str) -> None:
    training = {"learning_rate": 1e-3}
    job = pair_job(tiny_model, tmp_path, method, training=training, adapter={"dropout": 0.0})
    rows = examples(pairs=method != "kto")
    ours, theirs = (steps_on(job, rows, 20, backend) for backend in ("peft", "mlx"))
    assert np.allclose([loss for loss, _ in ours], [loss for loss, _ in theirs], rtol=1e-4, atol=1e-4)
    assert ours[-1][0] < ours[0][0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dpo: {loss: hinge, label_smoothing: 0.1}", "loss: hinge has no smoothing"),
        ("dpo: {loss: robust}", "say it in label_smoothing"),
        ("dpo: {beta: 0}", "a number above 0"),
        ("dpo: {label_smoothing: 0.5}", "below 0.5"),
        ("checkpoints: {best: kl}", "does not report kl"),
        ("checkpoints: {best: perplexity}", "does not report perplexity"),
        ("data: {train: rows.jsonl, train_on: all}", "would count the prompt"),
        (
            "evaluation: {metrics: [answer_length]}\ncheckpoints: {best: answer_length}",
            "neither more nor less answer_length",
        ),
    ],
)
def test_mistake_in_keys_is_explained(text: str, message: str) -> None:
    base = {"data": "data: {train: rows.jsonl}", "training": "training: {method: dpo}"}
    base.pop(text.partition(":")[0], None)
    with pytest.raises(RecipeError) as raised:
        load_text("\n".join(["model: {base: starter}", *base.values(), text]), Path("/recipes/train.yml"))
    assert message in str(raised.value)
