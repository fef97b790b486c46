"""The report of a soak, as JSON and as Markdown."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from commands.soak.campaign import Struck
from commands.soak.traffic import Account
from commands.soak.verdict import MATERIALIZED, Finding
from streaming.runtime.traffic import SendOptions, SendResult


@dataclass(frozen=True)
class Report:
    """What happened. `seconds` is how long the traffic ran; `findings` is the verdict at the end."""

    begun: str
    seconds: float
    options: SendOptions
    kinds: tuple[str, ...]
    sent: SendResult
    account: Account
    most_behind: int
    strikes: list[Struck]
    checks: list[Finding]
    findings: list[Finding]
    tables: dict[str, Any]
    hidden_leftovers: int

    @property
    def holds(self) -> bool:
        """Whether no promise was ever found broken."""
        return not any(finding.broken for finding in (*self.checks, *self.findings))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "holds": self.holds,
            "begun": self.begun,
            "seconds": round(self.seconds, 1),
            "seed": self.options.seed,
            "rate": self.options.rate,
            "strikes_of": list(self.kinds),
            "machine": _machine(),
            **{f"requests_{name}": found for name, found in self._requests().items()},
            "sent": self.sent.to_dict(),
            "acknowledged": self.account.acknowledged,
            "answers": dict(self.account.answers),
            "most_behind": self.most_behind,
            "tables": self.tables,
            "hidden_leftovers": self.hidden_leftovers,
            "strikes": [asdict(struck) for struck in self.strikes],
            "checks_under_traffic": [check._asdict() for check in self.checks],
            "verdict": [finding._asdict() for finding in self.findings],
        }

    def to_markdown(self) -> str:
        """The report for people."""
        verdict = "Nothing was lost, doubled or made up." if self.holds else "**A PROMISE WAS BROKEN.**"
        return "\n".join(
            [
                f"{self.seconds / 60:.0f} minutes of traffic at {self.options.rate:g} events a second while "
                f"{len(self.strikes)} faults struck; begun {self.begun[:16]}Z, seed {self.options.seed}, "
                f"on {_machine()}. {verdict}",
                "",
                *_table(("what", "figure"), self._figures()),
                "",
                *_table(("promise", "broken", "examples"), [_row(finding) for finding in self.findings]),
                "",
                f"Checked under traffic {sum(each.promise == MATERIALIZED for each in self.checks)} times: "
                f"{sum(each.broken for each in self.checks)} broken.",
                "",
                *_table(
                    ("at", "strike", "catalogue rows", "lasted, s", "well again after, s"),
                    [_strike_row(struck) for struck in self.strikes],
                ),
                "",
            ]
        )

    def _requests(self) -> dict[str, float]:
        return {
            "p50_seconds": _quantile(self.account.accepted_seconds, 0.5),
            "p99_seconds": _quantile(self.account.accepted_seconds, 0.99),
            "slowest_seconds": max(self.account.accepted_seconds, default=0.0),
            "slowest_refusal_seconds": max(self.account.refused_seconds, default=0.0),
        }

    def _figures(self) -> list[tuple[str, str]]:
        sent, requests = self.sent, self._requests()
        tables = {name: count for name, count in self.tables.items() if isinstance(count, int)}
        return [
            ("events sent", f"{sent.sent:,}, of them {sent.duplicates:,} copies, {sent.late:,} late, {sent.bad:,} bad"),
            ("put on the stream past the collector", f"{sent.bad_stream.total():,} bad"),
            ("acknowledged", f"{self.account.acknowledged:,} records"),
            ("given up by the client", f"{sent.unacknowledged:,}, after {sent.retries:,} retries in all"),
            ("refused as bad", _counts(sent.refused)),
            ("requests by status", _counts(self.account.answers)),
            (
                "a request that was accepted",
                f"p50 {requests['p50_seconds']:.3f} s, p99 {requests['p99_seconds']:.3f} s",
            ),
            ("slowest 429 or 503", f"{requests['slowest_refusal_seconds']:.3f} s"),
            ("most records behind, all consumers", f"{self.most_behind:,}"),
            ("tables", _counts(tables)),
            ("failures by type", _counts(self.tables["failures_by_type"])),
            ("files in the making, hidden", f"{self.hidden_leftovers:,}"),
        ]


def _row(finding: Finding) -> tuple[str, str, str]:
    return finding.promise, str(finding.broken), "; ".join(str(example) for example in finding.examples)


def _strike_row(struck: Struck) -> tuple[str, ...]:
    at = f"{int(struck.at) // 60}:{int(struck.at) % 60:02d}"
    again = struck.error or ("never" if struck.recovered_seconds is None else f"{struck.recovered_seconds:.1f}")
    return at, struck.name, ", ".join(map(str, struck.rows)), f"{struck.lasted_seconds:.1f}", again


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int((len(values) - 1) * share)] if values else 0.0


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
