"""Proof: how far an export agrees with the model that was trained, and whether that is within the limits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.parity.divergence import Agreement
from engine.parity.limits import Limits
from engine.parity.tokens import TokenCheck


@dataclass(frozen=True)
class Proof:
    """Outcome of the parity gate. `rows` says which rows were compared, `reference` how the trained model computed."""

    agreement: Agreement
    limits: Limits
    tokens: TokenCheck
    rows: str
    reference: str
    program: str
    """The program that loaded the export."""
    layers: tuple[tuple[str, float], ...] = ()
    """Tensors that differ most, by relative difference; only where a limit is broken."""

    @property
    def failures(self) -> tuple[str, ...]:
        """One phrase for each limit that is broken; empty where the export is proved."""
        found, own, most = [], self.agreement, self.limits
        if own.top1_decided < most.top1:
            found.append(
                f"the same likeliest token at {own.top1_decided:.1%} of places (least {most.top1:.0%})"
            )
        if not own.kl_mean <= most.kl_mean:  # a NaN is none
            found.append(f"KL {own.kl_mean:.2g} nats a token (limit {most.kl_mean:g})")
        if self.tokens.different:
            found.append(f"{len(self.tokens.different)} texts and prompts become other tokens")
        return tuple(found)

    @property
    def passed(self) -> bool:
        """True if no limit is broken."""
        return not self.failures

    @property
    def which_kl(self) -> str:
        """Classes that the divergence is over."""
        n = self.agreement.top_n
        return (
            "the whole vocabulary" if n is None else f"the {n:,} likeliest tokens and one class for the rest"
        )

    def lines(self) -> tuple[str, ...]:
        """The report, for a person."""
        own, tokens = self.agreement, self.tokens
        count = tokens.texts + tokens.conversations
        return (
            f"tokens  {count - len(tokens.different) - len(tokens.explained)} of {count} texts and prompts equal",
            *(f"        read otherwise by the program itself: {text}" for text in tokens.explained),
            f"top-1   {own.top1:.1%} of {own.positions} places in {self.rows}, "
            f"{own.top1_decided:.1%} of the {own.decided} that are no near ties (least {self.limits.top1:.0%})",
            f"KL      mean {own.kl_mean:.2g}, max {own.kl_max:.2g} nats over {self.which_kl} "
            f"(limit of {self.limits.precision}: {self.limits.kl_mean:g})",
        )

    def as_json(self) -> dict[str, Any]:
        """The proof as export.json has it."""
        return {
            "passed": self.passed,
            "failures": list(self.failures),
            "rows": self.rows,
            "reference": self.reference,
            "program": self.program,
            "kl_over": self.which_kl,
            **asdict(self.agreement),
            "limits": asdict(self.limits),
            "tokens": asdict(self.tokens),
            "layers": dict(self.layers),
        }

    @property
    def metrics(self) -> Mapping[str, float]:
        """The numbers, for an event."""
        own = self.agreement
        return {
            "top1": own.top1,
            "top1_decided": own.top1_decided,
            "kl_mean": own.kl_mean,
            "kl_max": own.kl_max,
            "positions": own.positions,
        }
