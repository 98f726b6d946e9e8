"""The page about a network that is shipped: what it was trained with and every figure measured.

What stands between the two marks is written by the command; a hand may write around it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colondepth.errors import DataError
from curriculum.run_folder import RunFacts
from curriculum.shipping_figures import Calibration, Group
from curriculum.shipping_views import SIMCOL3D, Extent
from curriculum.stages import Recipe, Stage

BEGIN = "<!-- written by `colondepth ship`: begin -->"
END = "<!-- written by `colondepth ship`: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that the page says."""

    facts: RunFacts
    recipe: Recipe
    step: int  # of the weights
    steps: int  # that the run has taken
    hours: float
    views: int  # that the weights have learnt from
    parameters: int
    bytes: int
    sha256: str
    calibration: Calibration
    extent: Extent
    calibrated_on: Extent
    groups: Sequence[Group]
    change: float  # the largest of any figure by rounding, as in `shipping.largest_change`
    made_with: Mapping[str, Any]
    picture: str | None  # where the page finds it


def written(card: Card, old: str | None) -> str:
    """Return the page: the old one with its generated part replaced, or a new one."""
    part = f"{BEGIN}\n\n{generated(card)}\n{END}"
    if old is None:
        return f"# {card.facts.network}\n\n{part}\n"
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(
            f"the old page of {card.facts.network} lacks the line {BEGIN!r} or {END!r}; put the two"
            " around what may be replaced, or take the page away"
        )
    return f"{before}{part}{after}"


def generated(card: Card) -> str:
    """Return the part of the page that the command writes, Markdown."""
    parts = [_lead(card), _training(card), _protocol(card), _figures(card), _scale(card)]
    parts += [_baselines(card), _spread(card), _picture(card), _limits(card)]
    return "\n".join(part for part in parts if part)


def _lead(card: Card) -> str:
    return f"""Depth in millimetres with a standard deviation from one colonoscopy image. Research
software, **not for diagnosis**. Licence: Apache-2.0.

{card.parameters / 1e6:.2f} million weights, kernels in float16, {card.bytes / 2**20:.2f} MiB,
SHA-256 `{card.sha256}`.
"""


def _training(card: Card) -> str:
    facts, made = card.facts, card.facts.made_with
    stages = _table(
        ("stage", "levels", "steps", "batches of", "loss"),
        [
            (
                stage.name,
                _mixture(stage),
                str(stage.steps),
                stage.shapes_text,
                " + ".join(f"{term.weight:g} {name}" for name, term in stage.losses.items()),
            )
            for stage in card.recipe.stages
        ],
    )
    taken = f"The run took {card.steps} of the recipe's {card.recipe.steps} steps"
    rendered = ", all of them rendered" if _rendered_alone(card.recipe) else ""
    options = ", ".join(f"{name}={value!r}" for name, value in card.recipe.network.items())
    return f"""## Training

{taken}; these are the averaged weights of step {card.step},
where validation was best, after {card.views} views{rendered}. Seed {facts.seed}; options of the
network: {options or "none"}. {card.hours:.1f} hours of steps (waiting for views and validation
come on top) on {_hardware(made)}, {_threads(facts)}; begun with commit `{made.get("commit")}`.

{stages}"""


def _protocol(card: Card) -> str:
    extent = card.extent
    return f"""## Figures

Protocol `sfsnet`: metric, no alignment, no limits of depth, no mask but the aperture (and true
depth known); mean within a frame, then over the frames of a clip, then over clips. Columns with
"scaled": the same after one factor a frame, median true depth over median predicted. Synthetic
clips at {extent.size[0]}x{extent.size[1]} (rows x columns), {extent.clips} of each level,
{extent.frames} frames far apart of each, of a seed that no training can draw. Measured on the
file that is shipped, with commit `{card.made_with.get("commit")}`, torch
{card.made_with.get("torch")}. Rounding the weights to float16 changed no figure by more than
{card.change:.2g} (RMSE: of itself).
"""


def _figures(card: Card) -> str:
    kinds = ("AbsRel", "delta < 1.25", "RMSE mm")
    rows = [
        (
            *(group.name, str(group.clips), _frames(group), f"{group.size[0]}x{group.size[1]}"),
            *_three(group.network, ""),
            *_three(group.network, "scaled_"),
        )
        for group in card.groups
    ]
    head = ("level", "clips", "frames", "size", *kinds, *(f"scaled {kind}" for kind in kinds))
    return _table(head, rows) + _about_simcol3d(card)


def _scale(card: Card) -> str:
    rows = [(group.name, f"{scale_share(group):.0%}") for group in card.groups]
    return f"""### How much of the error is scale

1 - scaled AbsRel / AbsRel: what one factor a frame would take away. Negative where the factor
makes it worse.

{_table(("level", "of AbsRel"), rows)}"""


def _baselines(card: Card) -> str:
    kinds = ("AbsRel", "delta < 1.25", "RMSE mm")
    constant = ("constant mm", *(f"constant: {kind}" for kind in kinds), "constant: scaled AbsRel")
    shading = (f"shading: scaled {kind}" for kind in kinds)
    rows = [
        (
            *(group.name, f"{group.constant_mm:.1f}", *_three(group.constant, "")),
            f"{group.constant['scaled_abs_rel']:.3f}",
            *_three(group.shading, "scaled_"),
        )
        for group in card.groups
    ]
    return f"""### Two that know nothing, on the same pixels

Constant: the median true depth of all the pixels of the row. Shading: one over the square root
of the linear luminance, as a wall lit from the camera would have it; its unit comes from the
truth, one factor a frame.

{_table(("level", *constant, *shading), rows)}"""


def _spread(card: Card) -> str:
    found = card.calibration
    rows = [
        (group.name, f"{group.network['within_1']:.1%}", f"{group.network['within_2']:.1%}")
        for group in card.groups
    ]
    on = card.calibrated_on
    return f"""### Is the standard deviation honest?

Shares of pixels whose error of log depth lies inside 1 and 2 predicted standard deviations,
metric; a normal error has 68.3% and 95.4%. The standard deviation is multiplied by
{found.temperature:.4f}, found on {found.frames} frames of levels {", ".join(on.levels)} of
another held-out seed: there the shares went from {found.before.one:.1%} and
{found.before.two:.1%} to {found.after.one:.1%} and {found.after.two:.1%}.

{_table(("level", "inside 1", "inside 2"), rows)}"""


def _picture(card: Card) -> str:
    if card.picture is None:
        return ""
    return f"""### Best, median and worst frame

By metric AbsRel, of the frames above; depth on the scale of the true one.

![Image, true depth, predicted depth and standard deviation]({card.picture})
"""


def _limits(card: Card) -> str:
    alone = "Trained on rendered colons alone. " if _rendered_alone(card.recipe) else ""
    return f"""### Limits

- {alone}No figure here comes from a patient's images: how good it is on a real scope has to be
  measured there.
- Metric depth needs the camera's calibration, and lamps beside the lens: unit and shape both
  come from their light.
- One image at a time: nothing makes depth steady over the frames of a video.
- The standard deviation is calibrated on rendered views; on others its shares may be off, as the
  table shows where it can.
"""


def scale_share(group: Group) -> float:
    """Return which part of AbsRel one factor a frame would take away."""
    return 1 - group.network["scaled_abs_rel"] / group.network["abs_rel"]


def _about_simcol3d(card: Card) -> str:
    if all(group.name != SIMCOL3D for group in card.groups):
        return ""
    unseen = "; the network has seen none of it" if _rendered_alone(card.recipe) else ""
    return f"""
SimCol3D (Rau et al. 2023) is another group's rendering, in Unity{unseen}. Frames spread evenly
over the trajectories that were given, the dataset's own camera; it is not averaged as its
challenge does.
"""


def _three(scores: Mapping[str, float], prefix: str) -> tuple[str, str, str]:
    return (
        f"{scores[f'{prefix}abs_rel']:.3f}",
        f"{scores[f'{prefix}delta_1']:.3f}",
        f"{scores[f'{prefix}rmse_mm']:.2f}",
    )


def _frames(group: Group) -> str:
    return f"{group.frames}" + (f" ({group.unscored} without depth)" if group.unscored else "")


def _hardware(made: Mapping[str, Any]) -> str:
    device, processor = made.get("device"), made.get("processor")
    return f"{processor}" if device == "cpu" else f"{device}, {processor}"


def _threads(facts: RunFacts) -> str:
    return "1 thread" if facts.threads == 1 else f"{facts.threads} threads"


def _rendered_alone(recipe: Recipe) -> bool:
    return not any(stage.folders for stage in recipe.stages)


def _mixture(stage: Stage) -> str:
    levels = [f"{share:.0%} level {name}" for name, share in stage.levels.items()]
    return ", ".join([*levels, *(f"{share:.0%} {name}" for name, share in stage.folders.items())])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
