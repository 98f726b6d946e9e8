"""`colondepth bench polyp-sizes`: sizes of rendered polyps, by true depth and by a network's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from colondepth.console import err, out, print_json, resumable
from evaluation.sizes import SIZE_CLASSES, largest_class_share, size_bias_mm, size_errors

if TYPE_CHECKING:
    from colondepth.inference import Predictor
    from colondepth.reconstruction.polyps import PolypSize
    from evaluation.rendered_polyps import RenderedPolyp

# A polyp that is looked at, and not touched: from 10 mm the depth of field begins.
FACE_MM = (10.0, 40.0)
TRUE = "true depth"


@dataclass(frozen=True, slots=True)
class SizesFound:
    """What one source of depth made of all polyps."""

    sizes: Sequence["PolypSize"]
    true_mm: NDArray[np.float64]

    def figures(self) -> dict[str, float]:
        """Return errors of the sizes that were answered, and of all intervals."""
        answered = np.array([size.answered for size in self.sizes])
        every = np.array([size.size_mm for size in self.sizes])
        told = np.where(answered, every, np.nan)
        low, high = (
            np.array([getattr(size, end) for size in self.sizes]) for end in ("low_mm", "high_mm")
        )
        inside = (low <= self.true_mm) & (self.true_mm <= high)
        measured = ~np.isnan(every)
        of_all = size_errors(every, self.true_mm)
        return {
            **{
                f"all_{name}": of_all[name]
                for name in ("size_mae_mm", "size_abs_rel", "size_agreement")
            },
            "all_size_bias_mm": size_bias_mm(every, self.true_mm),
            "all_interval_coverage": float(inside[measured].mean()),
            **size_errors(told, self.true_mm),
            "size_bias_mm": size_bias_mm(told, self.true_mm),
            "interval_coverage": float(inside[answered].mean()) if answered.any() else np.nan,
            "abstained": 1 - float(answered.mean()),
            "stated_log_std": float(
                np.mean([s.log_std for s in self.sizes if np.isfinite(s.log_std)])
            ),
            "log_error_rms": float(
                np.sqrt(np.square(np.log(every[measured] / self.true_mm[measured])).mean())
            ),
        }


def bench_polyp_sizes(
    folder: Annotated[Path, typer.Option("--out", help="Of rendered views; they are kept.")],
    colons: Annotated[int, typer.Option(min=1)] = 16,
    views: Annotated[int, typer.Option(min=1, help="Of each colon.")] = 4,
    seed: Annotated[int, typer.Option(help="Of colons and views.")] = 22,
    level: Annotated[str, typer.Option(help="Of the colons.")] = "5",
    backbone: Annotated[str, typer.Option(help="Of `colondepth backbones`.")] = "sfsnet",
    weights: Annotated[Path | None, typer.Option(help="The package's if absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Measure polyp sizes where they are known: errors, intervals, abstentions."""
    from colondepth import inference
    from evaluation.rendered_polyps import rendered_polyps

    predictor = inference.load(backbone, weights=weights)
    with err.status("Starting") as status, resumable("what is rendered stays"):
        pairs = rendered_polyps(
            colons=colons,
            views=views,
            seed=seed,
            cache=folder,
            level=level,
            face_mm=FACE_MM,
            tick=status.update,
        )
        status.update("Measuring")
        found = sizes_found([first for first, _ in pairs], predictor, name=backbone)
    figures = {name: each.figures() for name, each in found.items()}
    true_mm = next(iter(found.values())).true_mm
    if as_json:
        print_json({"polyps": len(true_mm), "figures": figures})
        return
    _print(figures, true_mm)


def sizes_found(
    polyps: Sequence["RenderedPolyp"], predictor: "Predictor", *, name: str
) -> dict[str, SizesFound]:
    """Return sizes with true depth, and with a network's."""
    from colondepth.reconstruction.polyps import polyp_size

    true_mm = np.array([polyp.size_mm for polyp in polyps])
    with_truth, with_network = [], []
    for polyp in polyps:
        camera = polyp.camera
        with_truth.append(polyp_size(polyp.depth_mm, camera, polyp.polyp, scale_std=0.0))
        answer = predictor.predict(polyp.image, camera)
        depth_mm = answer.depth_mm.where(answer.valid, 0.0)[None]
        std = None if answer.log_depth_std is None else answer.log_depth_std[None]
        with_network.append(polyp_size(depth_mm, camera, polyp.polyp, log_depth_std=std))
    return {TRUE: SizesFound(with_truth, true_mm), name: SizesFound(with_network, true_mm)}


def _print(figures: dict[str, dict[str, float]], true_mm: NDArray[np.float64]) -> None:
    shown = {
        "all_size_mae_mm": "mean absolute error, all (mm)",
        "all_size_bias_mm": "bias, all (mm)",
        "all_size_abs_rel": "relative error, all",
        "all_interval_coverage": "95 % intervals that hold the truth, all",
        "all_size_agreement": "size class right, all",
        "log_error_rms": "error of log size (RMS)",
        "stated_log_std": "as it is stated",
        "abstained": "abstained",
        "size_mae_mm": "mean absolute error, answered (mm)",
        "size_bias_mm": "bias, answered (mm)",
        "interval_coverage": "intervals that hold the truth, answered",
        "size_agreement": "size class right, answered",
        "size_kappa": "kappa, answered",
    }
    _say(f"| {len(true_mm)} views of polyps | {' | '.join(figures)} |")
    _say(f"|{' --- |' * (1 + len(figures))}")
    for key, words in shown.items():
        _say(f"| {words} | {' | '.join(f'{each[key]:.3g}' for each in figures.values())} |")
    counts = np.bincount((true_mm > 5).astype(int) + (true_mm >= 10), minlength=3)
    of = ", ".join(f"{count} {name}" for name, count in zip(SIZE_CLASSES, counts, strict=True))
    guess = float(np.abs(true_mm - np.median(true_mm)).mean())
    _say(
        f"{of}; always the commonest class: {largest_class_share(true_mm):.3g}; always the median"
        f" size: mean absolute error {guess:.3g} mm"
    )


def _say(words: str) -> None:
    out.print(words, highlight=False, markup=False, soft_wrap=True)
