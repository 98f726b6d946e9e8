"""Where a run stands in its recipe: what is counted, and what validation has decided so far."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from typing import Any, Self

# A validation that betters the best by less than this share of it is no gain: two validations of
# one network a few steps apart differ by as much.
LEAST_GAIN = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Counts of a run after `step` steps. A lower score is better."""

    step: int = 0
    stage: int = 0  # number of the stage that goes on, from 0
    stage_step: int = 0  # steps taken in it
    used: Mapping[str, int]  # batches that the stages before took from each source
    # Of the levels that the stage trains on, in this stage: what a network was once good at is no
    # reason to keep its weights from before it learnt what it is for.
    best: float = inf
    best_step: int | None = None
    gain_from: float = inf  # what the next gain has to better
    stage_waited: int = 0  # validations since the last gain

    def stepped(self) -> Self:
        """Return where a step leads."""
        return replace(self, step=self.step + 1, stage_step=self.stage_step + 1)

    def judged(self, score: float) -> Self:
        """Return what a validation leaves behind."""
        better = isfinite(score) and score < self.best
        gained = isfinite(score) and score < self.gain_from * (1 - LEAST_GAIN)
        return replace(
            self,
            best=score if better else self.best,
            best_step=self.step if better else self.best_step,
            gain_from=score if gained else self.gain_from,
            stage_waited=0 if gained else self.stage_waited + 1,
        )

    def advanced(self, used: Mapping[str, int]) -> Self:
        """Return the start of the next stage."""
        counts = {**self.used, **used}
        return replace(
            self,
            stage=self.stage + 1,
            stage_step=0,
            used=counts,
            best=inf,
            gain_from=inf,
            stage_waited=0,
        )

    def table(self) -> dict[str, Any]:
        """Return plain values; an infinite score is None, for which JSON has a word."""
        plain = asdict(self)
        return {name: None if value == inf else value for name, value in plain.items()}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Return what `table` gave."""
        endless = {name: inf for name in ("best", "gain_from") if table[name] is None}
        return cls(**{**table, **endless})
