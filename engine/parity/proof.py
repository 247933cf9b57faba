"""Proof: how far an export agrees with the model that was trained, and whether that is within the limits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.parity.divergence import Agreement
from engine.parity.exported import Probe
from engine.parity.limits import Limits
from engine.parity.probes import MOST_TOKENS
from engine.parity.tokens import TokenCheck


@dataclass(frozen=True)
class Compared:
    """What was compared: `name` says which rows, of which there are `rows`; `cut` of them go on behind the tokens that
    were looked at, and `places_cut` of the places are in these."""

    name: str
    rows: int
    cut: int = 0
    places_cut: int = 0

    @staticmethod
    def of(probes: Sequence[Probe], name: str) -> "Compared":
        """That of some probes."""
        cut = [probe for probe in probes if probe.cut]
        return Compared(name, len(probes), len(cut), sum(len(probe.positions) for probe in cut))

    @property
    def said(self) -> str:
        """What was left out, for a person; empty where nothing was."""
        if not self.cut:
            return ""
        return (
            f"{self.cut} of {self.rows} rows are longer than {MOST_TOKENS} tokens, and were compared up to there "
            f"(at {self.places_cut} places)"
        )


@dataclass(frozen=True)
class Proof:
    """Outcome of the parity gate. `reference` says how the trained model computed.

    `limits` is None where the export is not meant to answer as the reference does: the divergence is then reported, and
    tokens alone can fail it.
    """

    agreement: Agreement
    limits: Limits | None
    tokens: TokenCheck
    compared: Compared
    reference: str
    program: str
    """The program that loaded the export."""
    layers: tuple[tuple[str, float], ...] = ()
    """Tensors that differ most, by relative difference; only where a limit is broken."""

    @property
    def failures(self) -> tuple[str, ...]:
        """One phrase for each limit that is broken; empty where the export is proved."""
        found, own, most = [], self.agreement, self.limits
        if most and own.top1_decided < most.top1:
            found.append(
                f"the same likeliest token at {own.top1_decided:.1%} of places (least {most.top1:.0%})"
            )
        if most and not own.kl_mean <= most.kl_mean:  # a NaN is none
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
            "the whole vocabulary"
            if n is None
            else f"the union of both models' {n:,} likeliest tokens and one class for the rest"
        )

    def lines(self) -> tuple[str, ...]:
        """The report, for a person."""
        own, tokens = self.agreement, self.tokens
        count = tokens.texts + tokens.conversations
        least, limit = "no limit", "no limit: it is not meant to answer as the sum does"
        if self.limits:
            least = f"least {self.limits.top1:.0%}"
            limit = f"limit of {self.limits.precision}: {self.limits.kl_mean:g}"
        return (
            f"tokens  {count - len(tokens.different) - len(tokens.explained)} of {count} texts and prompts equal",
            *(f"        read otherwise by the program itself: {text}" for text in tokens.explained),
            f"top-1   {own.top1:.1%} of {own.positions} places in {self.compared.name}, "
            f"{own.top1_decided:.1%} of the {own.decided} that are no near ties ({least})",
            f"KL      mean {own.kl_mean:.2g}, max {own.kl_max:.2g} nats over {self.which_kl} ({limit})",
            *([f"rows    {self.compared.said}"] if self.compared.said else []),
        )

    def as_json(self) -> dict[str, Any]:
        """The proof as export.json has it."""
        return {
            "passed": self.passed,
            "failures": list(self.failures),
            "rows": self.compared.name,
            "rows_compared": self.compared.rows,
            "rows_cut": self.compared.cut,
            "places_in_cut_rows": self.compared.places_cut,
            "left_out": self.compared.said,
            "reference": self.reference,
            "program": self.program,
            "kl_over": self.which_kl,
            **asdict(self.agreement),
            "limits": asdict(self.limits) if self.limits else None,
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
