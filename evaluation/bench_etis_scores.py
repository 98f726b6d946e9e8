"""`colondepth bench etis-scores`: what is each score without depth worth, where depth is known?"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colondepth.atomic import written_whole
from colondepth.console import err, out, resumable

if TYPE_CHECKING:
    from torch import Tensor

    from colondepth.cameras import Camera
    from colondepth.inference import Predictor
    from evaluation.etis_stability import Predict
    from evaluation.etis_validation import Tried, Verdict
    from evaluation.statistics import Interval

TRIED = "tried.csv"


def bench_etis_scores(
    folder: Annotated[Path, typer.Option("--out", help="Of rendered views and of tried.csv.")],
    colons: Annotated[int, typer.Option(min=1, help="6 or more for an interval.")] = 12,
    views: Annotated[int, typer.Option(min=1, help="Of a polyp, in each colon.")] = 4,
    seed: Annotated[int, typer.Option(help="Of colons, views, noise and tilts.")] = 11,
    backbone: Annotated[str, typer.Option(help="Of the network whose depth is tried.")] = (
        "sfsnet_lite"
    ),
    also: Annotated[
        list[Path] | None, typer.Option(help="Files of weights of more networks to compare.")
    ] = None,
) -> None:
    """Try the scores of `evaluate etis` on rendered polyps, whose depth is known.

    What was rendered stays in the folder and is not rendered again. Seconds a view.
    """
    import torch

    from colondepth import inference
    from colondepth.backbones.registry import create
    from colondepth.weights.files import read_origin
    from evaluation.etis_validation import try_scores, verdicts
    from evaluation.rendered_polyps import rendered_polyps

    trained = [(backbone, inference.load(backbone))]
    for path in also or ():
        name = read_origin(path).backbone
        trained.append((f"{name} of {path.name}", inference.load(name, weights=path)))
    torch.manual_seed(seed)
    trained.append(("untrained", inference.Predictor(create(backbone).eval())))
    networks = {name: depth_of(predictor) for name, predictor in trained}
    with err.status("Starting") as status, resumable("what is rendered stays"):
        pairs = rendered_polyps(
            colons=colons, views=views, seed=seed, cache=folder, tick=status.update
        )
        tried = try_scores(pairs, networks, seed=seed, tick=status.update)
    write_tried(folder / TRIED, tried)
    print_verdicts(verdicts(tried), tried)
    err.print(f"-> {folder / TRIED}", highlight=False)


def depth_of(predictor: "Predictor") -> "Predict":
    """Return a network as the scores ask it: an image and its camera to depth, 0 where unknown."""

    def predict(image: "Tensor", camera: "Camera") -> "Tensor":
        answer = predictor.predict(image, camera)
        depth_mm = answer.depth_mm.where(answer.valid, answer.depth_mm.new_zeros(()))
        return depth_mm[None].clone().to(image.device)  # (1, H, W); clone: out of inference mode

    return predict


def write_tried(path: Path, tried: Sequence["Tried"]) -> None:
    """Write every value, a line each."""
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        rows = [asdict(each) for each in tried]
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def read_tried(path: Path) -> list["Tried"]:
    """Read what `write_tried` wrote."""
    from evaluation.etis_validation import Tried

    with path.open(newline="") as file:
        return [
            Tried(
                colon=row["colon"],
                view=int(row["view"]),
                depth=row["depth"],
                score=row["score"],
                value=float(row["value"]),
                error=float(row["error"]),
                error_near=float(row["error_near"]),
            )
            for row in csv.DictReader(file)
        ]


def print_verdicts(verdicts: Sequence["Verdict"], tried: Sequence["Tried"]) -> None:
    """Print two Markdown tables: who was ranked over whom how often, and rank correlations."""
    from evaluation.etis_validation import CLEARLY, FOUND, SPOILT, TRUE

    contests = [(TRUE, FOUND), *((a, f"{a}, {kind}") for a in (TRUE, FOUND) for kind in SPOILT)]
    titles = [
        "true over network",
        *(f"{a} over its {kind}" for a in (TRUE, FOUND) for kind in SPOILT),
    ]
    _say("Share of views ranked rightly (of how many); ! where its interval is not above a half")
    _row(["score", *titles])
    _row(["---"] * (1 + len(titles)))
    for each in verdicts:
        _row([each.score, *(_share(each.shares.get(contest)) for contest in contests)])
    _say("")
    _say("Spearman's correlation of score and true error, as goodness: 1 is perfect")
    _row(["score", "maps of a view", "the same, near", "views", "networks"])
    _row(["---"] * 5)
    for each in verdicts:
        _row(
            [
                each.score,
                _interval(each.within),
                _interval(each.within_near),
                f"{each.across:.2f} ({each.views})",
                f"{each.networks:.2f} ({each.networks_count})",
            ]
        )
    _say("")
    _say("AbsRel after the median scale, mean over views")
    _row(["depth", "whole view", "near the polyp"])
    _row(["---"] * 3)
    for name, (whole, near) in _errors(tried).items():
        _row([name, f"{whole:.3f}", f"{near:.3f}"])
    _say(
        f"A contest counts where the worse map's AbsRel is larger by {CLEARLY:g}; intervals draw"
        " colons"
    )


def _errors(tried: Sequence["Tried"]) -> Mapping[str, tuple[float, float]]:
    first = tried[0].score
    rows = [each for each in tried if each.score == first]
    found = {}
    for name in dict.fromkeys(each.depth for each in rows):
        own = [each for each in rows if each.depth == name]
        found[name] = (
            sum(each.error for each in own) / len(own),
            sum(each.error_near for each in own) / len(own),
        )
    return found


def _share(share: "Interval | None") -> str:
    if share is None:
        return "-"
    sure = share.low > 0.5
    return f"{share.mean:.2f} ({share.values}){'' if sure else ' !'}"


def _interval(found: "Interval") -> str:
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"


def _row(cells: Sequence[str]) -> None:
    _say(f"| {' | '.join(cells)} |")


def _say(words: str) -> None:
    out.print(words, highlight=False, markup=False, soft_wrap=True)
