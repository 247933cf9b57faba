"""Claims about what is learned: packing, resuming, backends and 4 bits, each by whole trainings of a few steps."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.backend_spec import Device
from engine.doctor.prove import tiny
from engine.doctor.prove.trial import Bench, apart, losses, trained
from engine.errors import FtError
from engine.hardware.probe import Machine
from engine.planning.backend_choice import candidates
from engine.runs.directory.run import Run
from engine.text import listed

SAME = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 2e-2}
"""Largest relative difference of two curves of losses that are the same but for rounding, by the format of products."""
BACKENDS_SAME = {"fp32": 2e-3, "bf16": 4e-2, "fp16": 4e-2}
"""As `SAME`, for two backends: their adapters begin with other random numbers, which the first steps hardly show."""
FOUR_BITS = 0.75
"""Nats that 4 bits may cost the starter on its own rows: 0.49 measured (8 bits: 0.03). A large model loses less;
weights that are not the model's cost several."""
Outcome = tuple[bool, str]
"""True if the claim holds, and the figure."""


class NotHere(Exception):  # noqa: N818 - no error: this machine has not what a claim is about
    """Raised where a claim cannot be tried on this machine; the text says why."""


@dataclass(frozen=True)
class Trainer:
    """A backend that can train here."""

    backend: str
    device: Device
    exact: bool
    """A resumed run is to give the same bytes."""
    four_bits: bool
    at_home: bool
    """`backend: auto` may take it here: it is made for this device."""


def trainers(machine: Machine) -> list[Trainer]:
    """Backends that can train on this machine, in the order in which `auto` tries them."""
    found = []
    for one in candidates(machine):
        if one.problem is None and one.spec is not None:
            can = one.spec.devices[one.device]
            four = "4bit" in can.quantizations
            found.append(Trainer(one.backend, one.device, can.exact_resume, four, not one.unasked))
    return found


@dataclass(frozen=True)
class Curves:
    """Losses of every family on every backend, packed and not, and the format of their products."""

    packed: Mapping[tuple[str, str], Sequence[float]]
    padded: Mapping[tuple[str, str], Sequence[float]]
    dtype: str
    refused: Mapping[tuple[str, str], str]
    """Reasons of a backend that does not train a family, as its error says."""


def curves(bench: Bench, machine: Machine, late: Callable[[], bool]) -> Curves:
    """Train every family on every backend; where `late` says so, those that are left are not tried."""
    packed: dict[tuple[str, str], list[float]] = {}
    padded: dict[tuple[str, str], list[float]] = {}
    refused: dict[tuple[str, str], str] = {}
    dtype = "fp32"
    for family in tiny.FAMILIES:
        model = bench.model(family)
        for one in trainers(machine):
            if late():
                break
            key = (family, one.backend)
            try:
                runs = [
                    trained(bench.recipe(model, data={"packing": packing}, backend=one.backend))
                    for packing in (True, False)
                ]
            except FtError as error:
                refused[key] = error.message
                continue
            packed[key], padded[key] = losses(runs[0]), losses(runs[1])
            plan = runs[0].plan
            dtype = plan.compute_dtype if plan is not None else dtype
    return Curves(packed, padded, dtype, refused)


def packed(found: Curves) -> Outcome:
    """Packed rows against padded ones."""
    if not found.packed:
        raise NotHere(_refusals(found) or "no time was left")
    differences = {key: apart(found.packed[key], found.padded[key]) for key in found.packed}
    wrong = [
        f"{family} on {backend}" for (family, backend), one in differences.items() if one > SAME[found.dtype]
    ]
    figure = (
        f"{_counted(found.packed)}: losses differ by at most {max(differences.values()):.1e} of their value"
    )
    if wrong:
        figure += f"; too much for {listed(wrong)}"
    if found.refused:
        figure += f"; not trained: {_refusals(found)}"
    return not wrong, figure


def backends(found: Curves) -> Outcome:
    """Each backend against the first that trained the family."""
    if not found.packed:
        raise NotHere(_refusals(found) or "no time was left")
    wrong, largest, pairs = [], 0.0, 0
    for family in tiny.FAMILIES:
        names = [backend for one, backend in found.packed if one == family]
        for other in names[1:]:
            difference = apart(found.packed[family, other], found.packed[family, names[0]])
            pairs, largest = pairs + 1, max(largest, difference)
            if difference > BACKENDS_SAME[found.dtype]:
                wrong.append(f"{family}: {other} and {names[0]}")
    if not pairs:
        raise NotHere("only one backend can train here")
    figure = f"{pairs} pairs: losses differ by at most {largest:.1e} of their value"
    return not wrong, figure + (f"; too much for {listed(wrong)}" if wrong else "")


def resumed(bench: Bench, machine: Machine) -> Outcome:
    """Resume a finished run from its checkpoint in the middle, on each backend, and compare what comes of it."""
    told, all_hold = [], True
    for one in trainers(machine):
        run = trained(bench.recipe(bench.model("Llama"), backend=one.backend))
        before, curve = digest(run), losses(run)
        trained(bench.recipe(bench.model("Llama")), run, run.checkpoints / "step-000002")
        same, difference = digest(run) == before, apart(losses(run), curve)
        all_hold &= same or (not one.exact and difference < SAME["bf16"])
        told.append(f"{one.backend}: " + ("the same bytes" if same else f"losses differ by {difference:.1e}"))
    return all_hold, "; ".join(told)


def quantised(bench: Bench, machine: Machine) -> Outcome:
    """The starter in 4 bits against the starter as it is: loss of the first step, which no training has changed."""
    able = [one for one in trainers(machine) if one.four_bits and one.at_home]
    if not able:
        raise NotHere("no backend that is made for this device takes 4 bits")
    told, all_hold = [], True
    for one in able:
        first = []
        for quantization in ("none", "4bit"):
            recipe = bench.recipe(
                bench.starter,
                model={"quantization": quantization, "max_seq_length": 512},
                data={"train": "starter"},
                training={"max_steps": 1, "effective_batch_size": 16},
                backend=one.backend,
            )
            first.append(losses(trained(recipe))[0])
        all_hold &= abs(first[1] - first[0]) < FOUR_BITS
        told.append(f"{one.backend}: {first[1]:.3f} for {first[0]:.3f} nats a token")
    return all_hold, "; ".join(told)


def digest(run: Run) -> str:
    """Checksum of the trained adapter's weights."""
    return hashlib.sha256((run.adapter / "adapter_model.safetensors").read_bytes()).hexdigest()


def _counted(found: Mapping[tuple[str, str], object]) -> str:
    by_backend: dict[str, int] = {}
    for _, backend in found:
        by_backend[backend] = by_backend.get(backend, 0) + 1
    return ", ".join(f"{count} families on {backend}" for backend, count in by_backend.items())


def _refusals(found: Curves) -> str:
    return listed(_each_refusal(found), 3)


def _each_refusal(found: Curves) -> Iterator[str]:
    for (family, backend), reason in found.refused.items():
        yield f"{family} on {backend} ({reason})"
