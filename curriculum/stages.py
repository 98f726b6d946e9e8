"""What a curriculum is made of: stages, each with what it draws from and how it learns.

Everything is checked when it is made; reading TOML is the work of `recipe_files`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import cos, isclose, isfinite, pi
from typing import Any

from curriculum.errors import CurriculumError

SMALLEST_SIDE = 16  # the exposure control of level 6 meters pictures of an eighth, 2 pixels or more


class Schedule(StrEnum):
    """What the learning rate does after the warm-up."""

    COSINE = "cosine"  # falls to `final_share` of itself over the stage
    CONSTANT = "constant"


class Precision(StrEnum):
    """What the network computes in; losses and geometry are always float32."""

    AUTOMATIC = "automatic"  # bfloat16 on a GPU that has it, float32 elsewhere
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What may be done to a batch before the network sees it; 0 and false switch a thing off.

    The first group changes the image alone, drawn for each view; the second moves image, maps and
    camera together, drawn for the whole batch.
    """

    gain: float = 0.0  # brightness, in stops: factors 2^-gain to 2^gain
    gamma: float = 0.0  # exponents 2^-gamma to 2^gamma
    white_balance: float = 0.0  # of each channel, in stops
    hue_rad: float = 0.0  # turn about the grey axis, at most
    saturation: float = 0.0  # share of the colour that is added or taken, at most
    noise: float = 0.0  # largest standard deviation, of white 1
    blur_px: float = 0.0  # largest standard deviation of the kernel
    grey_share: float = 0.0  # share of the views that lose their colour

    flip_across: bool = False
    flip_down: bool = False
    quarter_turns: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        for name in ("gain", "gamma", "white_balance", "hue_rad", "saturation", "noise", "blur_px"):
            if not 0 <= getattr(self, name) <= 4:
                raise CurriculumError(f"{name} is {getattr(self, name)}, expected 0 to 4")
        if not 0 <= self.grey_share <= 1:
            raise CurriculumError(f"grey_share is {self.grey_share}, expected 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerm:
    """One summand of the loss: a name of `colondepth.losses`, its weight and its options."""

    weight: float
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse weights that make no loss."""
        if not (isfinite(self.weight) and self.weight >= 0):
            raise CurriculumError(f"weight is {self.weight}, expected a number of 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a share of a stage's batches is taken from, and of what shape they are."""

    name: str  # of the level or folder, with the size where it is not the stage's main one
    origin: str  # a level, or a folder on disk
    size: tuple[int, int]  # (height, width)
    batch: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stretch of training."""

    name: str
    levels: Mapping[str, float]  # level -> share of the batches
    folders: Mapping[str, float]  # dataset on disk -> share of the batches
    steps: int
    patience: int  # validations without gain after which the stage ends early; 0: never
    size: tuple[int, int]  # (height, width)
    batch: int
    # Other sizes, (height, width, views in a batch) -> share of the batches; `size` has the rest.
    # A network that saw one size alone knows no other: what a pixel covers is among its inputs.
    other_sizes: Mapping[tuple[int, int, int], float]
    learning_rate: float
    schedule: Schedule
    final_share: float  # of the learning rate, at the end of a cosine
    warm_up_steps: int
    weight_decay: float
    clip_norm: float  # largest norm of the gradient; 0: no limit
    ema_decay: float  # of the averaged weights, which are the ones that are kept; 0: no average
    precision: Precision
    losses: Mapping[str, LossTerm]
    augmentation: Augmentation

    def __post_init__(self) -> None:
        """Refuse numbers that no training can use."""
        for name in ("steps", "batch"):
            self._require(name, at_least=1)
        for name in ("patience", "warm_up_steps", "weight_decay", "clip_norm"):
            self._require(name, at_least=0)
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise CurriculumError(
                f"{self._place} learning_rate is {self.learning_rate}, expected > 0"
            )
        if not 0 <= self.final_share <= 1:
            raise CurriculumError(f"{self._place} final_share is {self.final_share}, not in [0, 1]")
        if not 0 <= self.ema_decay < 1:
            raise CurriculumError(f"{self._place} ema_decay is {self.ema_decay}, not in [0, 1)")
        for height, width in self.sizes:
            if min(height, width) < SMALLEST_SIDE:
                raise CurriculumError(
                    f"{self._place} size is {[height, width]}, expected [height, width] of"
                    f" {SMALLEST_SIDE} pixels or more"
                )
        others = self.other_sizes
        if any(key[2] < 1 or not share >= 0 for key, share in others.items()) or (
            sum(others.values()) > 1
        ):
            raise CurriculumError(
                f"{self._place} other_sizes are {dict(others)}, expected batches of 1 or more and"
                " shares of 0 or more that add up to at most 1"
            )
        if (*self.size, self.batch) in others:
            raise CurriculumError(
                f"{self._place} other_sizes have size and batch of the stage itself, which has"
                " whatever share they leave"
            )
        shares = [*self.levels.values(), *self.folders.values()]
        if not shares or min(shares) < 0 or not isclose(sum(shares), 1, abs_tol=1e-6):
            raise CurriculumError(
                f"{self._place} shares of levels and folders are {shares}, expected numbers of 0"
                f" or more that add up to 1; they add up to {sum(shares):g}"
            )
        if not self.losses or not any(term.weight for term in self.losses.values()):
            raise CurriculumError(f"{self._place} losses has no term with a weight above 0")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from the stage's own first, 0."""
        warm = min(1.0, (step + 1) / (self.warm_up_steps + 1))
        if self.schedule is Schedule.CONSTANT:
            return self.learning_rate * warm
        over = max(1, self.steps - self.warm_up_steps)
        done = min(1.0, max(0, step - self.warm_up_steps) / over)
        share = self.final_share + (1 - self.final_share) * (1 + cos(pi * done)) / 2
        return self.learning_rate * warm * share

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Every (height, width) that batches have, the main one first."""
        return (self.size, *((height, width) for height, width, _ in self.other_sizes))

    @property
    def shapes_text(self) -> str:
        """The sizes in words, as in "8 views of 128x160 (25%: 4 of 256x320)"."""
        others = ", ".join(
            f"{share:.0%}: {batch} of {height}x{width}"
            for (height, width, batch), share in self.other_sizes.items()
        )
        main = f"{self.batch} views of {self.size[0]}x{self.size[1]}"
        return f"{main} ({others})" if others else main

    @property
    def views_a_step(self) -> float:
        """How many views a batch has in the mean."""
        return sum(draw.share * draw.batch for draw in self.draws)

    @property
    def draws(self) -> tuple[Draw, ...]:
        """What batches are taken from, in the order in which their shares are laid out."""
        rest = 1 - sum(self.other_sizes.values())
        shapes = {(*self.size, self.batch): rest, **self.other_sizes}
        found = []
        for (height, width, batch), part in shapes.items():
            main = (height, width, batch) == (*self.size, self.batch)
            for origin, share in {**self.levels, **self.folders}.items():
                name = origin if main else f"{origin} at {height}x{width}x{batch}"
                found.append(
                    Draw(
                        name=name,
                        origin=origin,
                        size=(height, width),
                        batch=batch,
                        share=share * part,
                    )
                )
        return tuple(draw for draw in found if draw.share)

    @property
    def _place(self) -> str:
        return f"stage {self.name!r}:"

    def _require(self, name: str, *, at_least: int) -> None:
        if not getattr(self, name) >= at_least:
            raise CurriculumError(
                f"{self._place} {name} is {getattr(self, name)}, expected {at_least} or more"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole curriculum."""

    stages: tuple[Stage, ...]
    network: Mapping[str, Any]  # options of the network
    validate_every: int  # steps
    validation_batches: int  # of each level
    checkpoint_every: int  # steps

    def __post_init__(self) -> None:
        """Refuse a curriculum without stages, or with two of one name."""
        if not self.stages:
            raise CurriculumError("a recipe has one [[stage]] or more, found none")
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise CurriculumError(f"two stages are called {twice[0]!r}; a name stands for one")
        for name in ("validate_every", "validation_batches", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise CurriculumError(f"{name} is {getattr(self, name)}, expected 1 or more")

    @property
    def levels(self) -> tuple[str, ...]:
        """Every level that some stage draws from, in order of its first appearance."""
        found = (level for stage in self.stages for level, share in stage.levels.items() if share)
        return tuple(dict.fromkeys(found))

    @property
    def steps(self) -> int:
        """The most steps that it can take."""
        return sum(stage.steps for stage in self.stages)
