"""`colondepth bench polyp-sizes`: sizes of rendered polyps, by true depth and by a network's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colondepth.console import err, out, print_json, resumable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    from evaluation.sized_polyps import FACE_MM, sizes_found

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


def _print(figures: dict[str, dict[str, float]], true_mm: "NDArray[np.float64]") -> None:
    import numpy as np

    from evaluation.sizes import SIZE_CLASSES, largest_class_share

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
