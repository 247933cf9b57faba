"""Preference training in other trainers' files: the method, its loss, and its weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine import methods, plugins
from engine.config.migration.convert import real, text
from engine.config.migration.draft import Draft

SIMPO = "simpo"
WITHOUT_CHOSEN = "SimPO as its paper has it; training.method: cpo learns the chosen answers too"
IPO_WHY = "of mean log-probabilities a token, which ipo is there"


@dataclass(frozen=True)
class Keys:
    """How a tool names what the methods' sections hold."""

    loss: str
    """Key of the loss of a pair; empty where there is none."""
    weights: Mapping[str, Mapping[str, tuple[str, float]]]
    """By method and key of its section: the tool's key, and its default."""
    smoothed: tuple[str, ...] = ("sigmoid", "robust")
    """Losses of dpo beside which it reads a share of wrong labels."""
    learns_chosen: str = ""
    """Weight of the loss on chosen answers that its SimPO adds, 1 where it is left out; empty if it adds none."""
    normalises_ipo: bool = False
    """True if its ipo takes the mean of an answer's log-probabilities, where the paper takes their sum."""

    def ours(self) -> Iterator[str]:
        """The keys of ours that may be set."""
        yield "training.method"
        for method, keys in self.weights.items():
            yield from (f"{method}.{key}" for key in keys)
        if self.loss:
            yield from ("dpo.loss", "cpo.loss", "dpo.length_normalised")

    def read(self, draft: Draft, key: str, name: str) -> None:
        """Take the method that the file's `key` says, with its loss and weights."""
        loss = draft.read(self.loss, text, "sigmoid").lower() if self.loss else "sigmoid"
        if loss in (SIMPO, "orpo") and name in ("dpo", "cpo"):
            draft.take("training.method", loss, key, self.loss)
            name, loss = loss, "sigmoid"
        else:
            take_method(draft, key, name)
        for ours, (theirs, default) in self.weights.get(name, {}).items():
            if ours == "label_smoothing" and name == "dpo" and loss not in self.smoothed:
                draft.leave([theirs], f"it means nothing there beside {self.loss}: {loss}", "nothing")
                continue
            draft.take(f"{name}.{ours}", draft.read(theirs, real, default), theirs)
        if name == SIMPO and self.learns_chosen and draft.read(self.learns_chosen, real, 1.0):
            why = f"{self.learns_chosen} adds the loss on the chosen answers there unless it is 0"
            draft.leave([self.learns_chosen], why, WITHOUT_CHOSEN)
            if not draft.has(self.learns_chosen):
                draft.note(why, WITHOUT_CHOSEN)
        if name not in ("dpo", "cpo") or not draft.has(self.loss):
            return
        if loss in ("sigmoid", "hinge", *(("ipo", "robust") if name == "dpo" else ())):
            draft.take(f"{name}.loss", loss, self.loss)
            if loss == "ipo" and self.normalises_ipo:
                draft.imply("dpo.length_normalised", True, IPO_WHY)
        else:
            draft.leave([self.loss], f"ft has no such loss of {name}", f"{name}.loss: sigmoid")


def take_method(draft: Draft, key: str, name: str) -> None:
    """The training method of this name, if there is one; else the better answers are trained."""
    if name in methods.OWN or name in plugins.installed(plugins.METHODS):
        draft.take("training.method", name, key)
    else:
        instead = "training.method: sft, which trains the chosen answers alone"
        draft.leave([key], f"ft has no method {name}"[:80], instead)


TRL = Keys(
    loss="loss_type",
    weights={
        "dpo": {"beta": ("beta", 0.1), "label_smoothing": ("label_smoothing", 0.0)},
        "orpo": {"beta": ("beta", 0.1)},
        "cpo": {
            "beta": ("beta", 0.1),
            "label_smoothing": ("label_smoothing", 0.0),
            "nll_weight": ("cpo_alpha", 1.0),
        },
        SIMPO: {
            "beta": ("beta", 0.1),
            "gamma": ("simpo_gamma", 0.5),
            "label_smoothing": ("label_smoothing", 0.0),
        },
        "kto": {
            "beta": ("beta", 0.1),
            "desirable_weight": ("desirable_weight", 1.0),
            "undesirable_weight": ("undesirable_weight", 1.0),
        },
    },
    smoothed=("robust",),
    learns_chosen="cpo_alpha",
    normalises_ipo=True,
)
"""Of TRL's trainers; SimPO is a loss of its CPOTrainer."""
AXOLOTL = Keys(
    loss="",
    weights={
        "dpo": {"beta": ("rl_beta", 0.1), "label_smoothing": ("dpo_label_smoothing", 0.0)},
        "orpo": {"beta": ("orpo_alpha", 0.1)},
        SIMPO: {"beta": ("rl_beta", 0.1), "gamma": ("simpo_gamma", 0.5)},
        "kto": {
            "beta": ("rl_beta", 0.1),
            "desirable_weight": ("kto_desirable_weight", 1.0),
            "undesirable_weight": ("kto_undesirable_weight", 1.0),
        },
    },
    learns_chosen="cpo_alpha",
)
LLAMA_FACTORY = Keys(
    loss="pref_loss",
    weights={
        "dpo": {"beta": ("pref_beta", 0.1), "label_smoothing": ("dpo_label_smoothing", 0.0)},
        "orpo": {"beta": ("pref_beta", 0.1)},
        SIMPO: {"beta": ("pref_beta", 0.1), "gamma": ("simpo_gamma", 0.5)},
        "kto": {
            "beta": ("pref_beta", 0.1),
            "desirable_weight": ("kto_chosen_weight", 1.0),
            "undesirable_weight": ("kto_rejected_weight", 1.0),
        },
    },
    normalises_ipo=True,
)
