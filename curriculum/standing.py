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
    best: float = inf  # over all levels, in this stage: a curriculum's first stages know one world
    best_step: int | None = None
    stage_best: float = inf  # over the levels of the stage
    stage_waited: int = 0  # validations since then

    def stepped(self) -> Self:
        """Return where a step leads."""
        return replace(self, step=self.step + 1, stage_step=self.stage_step + 1)

    def judged(self, overall: float, *, in_stage: float) -> Self:
        """Return what a validation leaves behind."""
        gained = isfinite(in_stage) and in_stage < self.stage_best * (1 - LEAST_GAIN)
        better = isfinite(overall) and overall < self.best
        return replace(
            self,
            best=overall if better else self.best,
            best_step=self.step if better else self.best_step,
            stage_best=in_stage if gained else self.stage_best,
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
            stage_best=inf,
            stage_waited=0,
        )

    def table(self) -> dict[str, Any]:
        """Return plain values; an infinite score is None, for which JSON has a word."""
        plain = asdict(self)
        return {name: None if value == inf else value for name, value in plain.items()}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Return what `table` gave."""
        endless = {name: inf for name in ("best", "stage_best") if table[name] is None}
        return cls(**{**table, **endless})
