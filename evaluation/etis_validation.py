"""Are the scores worth anything? They are tried where depth is known: on rendered polyps.

For every view there are a dozen maps of depth: the true one, a network's, each of both spoilt in
four ways, and two that know nothing of the scene's shape. A score that tells good depth from bad
must rank the true map over the network's, and each over its spoilt copies. How often it does is
counted, with an interval from drawing colons; and over the maps of a view the score is correlated
by rank with the error that the truth shows (AbsRel after the median scale).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.masks import find_specular
from colondepth.reconstruction.relief import relief, ring_around
from evaluation.etis_borders import borders
from evaluation.etis_ordinal import SAME, Nearer, PointPair, disagreement
from evaluation.etis_pairs import Seen, agreement, find_duplicate, grey_of
from evaluation.etis_shading import lighting_of, shading, trivial_depth
from evaluation.etis_stability import Predict, stability
from evaluation.rendered_polyps import RenderedPolyp
from evaluation.statistics import Average, Interval, bootstrap_mean

BLUR = 0.05  # of the shorter side, standard deviation
TILT = 0.35  # of log depth, from the middle to the edge
NOISE = 0.04  # of log depth, white from pixel to pixel
SPOILT = ("blurred", "tilted", "noisy", "mirrored")
TRUE, FOUND = "true", "network"
POINT_PAIRS = 60  # a view, for the ordinal score
# A contest counts in the views where the worse map's AbsRel is larger by this: a network that is
# smooth already is hardly worse when blurred, and no score should say so.
CLEARLY = 0.01
# Scores of the polyp and its surroundings alone; what is worse is judged by the error there.
NEAR = ("relief_to_noise", "border_f_depth", "border_f_normals", "agreement")
# Scores for which less is better; all others want more.
LOWER = ("agreement", "stability", "whdr")

Spoil = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One score of one map of one view, with that map's true errors."""

    colon: str
    view: int
    depth: str  # which map: "true", "network", "true, blurred", "network, blurred", ..., "flat"
    score: str
    value: float  # nan where it could not be measured
    error: float  # AbsRel over the view
    error_near: float  # AbsRel in the polyp and the ring around it


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a score was worth."""

    score: str
    shares: Mapping[tuple[str, str], Interval]  # (better, worse): views in which it ranked so
    within: Interval  # Spearman of goodness and error over the maps of a view, 1 is perfect
    within_near: Interval  # the same with the error near the polyp
    across: float  # Spearman over views, of the network's map alone
    networks: float  # Spearman over networks (and the two maps that are none), of the means
    networks_count: int
    views: int

    def passed(self, better: str, worse: str) -> bool | None:
        """Say if it ranked rightly in more than half of views, interval and all; None if untold."""
        share = self.shares.get((better, worse))
        if share is None or share.low != share.low:
            return None
        return share.low > 0.5


def spoil(kind: str, depth_mm: Tensor, generator: torch.Generator) -> Tensor:
    """Return depth (1, H, W) made worse in one of the ways of `SPOILT`; 0 stays 0."""
    known = depth_mm > 0
    log = torch.where(known, depth_mm, 1.0).log()
    height, width = depth_mm.shape[-2:]
    if kind == "mirrored":
        return depth_mm.flip(-1)
    if kind == "blurred":
        sigma = BLUR * min(height, width)
        weight = ndimage.gaussian_filter(known[0].double().numpy(), sigma, mode="nearest")
        sums = ndimage.gaussian_filter((log * known)[0].double().numpy(), sigma, mode="nearest")
        log = torch.from_numpy(sums / np.maximum(weight, 1e-6))[None].to(depth_mm)
    elif kind == "tilted":
        angle = 2 * torch.pi * float(torch.rand((), generator=generator))
        v = torch.linspace(-1, 1, height)[:, None] * np.sin(angle)
        u = torch.linspace(-1, 1, width) * np.cos(angle)
        log = log + TILT * (u + v)
    elif kind == "noisy":
        log = log + NOISE * torch.randn(depth_mm.shape, generator=generator)
    else:
        raise ValueError(kind)
    return torch.where(known, log.exp(), 0.0)


def try_scores(
    views: Sequence[tuple[RenderedPolyp, RenderedPolyp]],
    networks: Mapping[str, Predict],
    *,
    seed: int,
    tick: Callable[[str], None] = lambda _: None,
) -> list[Tried]:
    """Measure every score on every map of every view.

    Args:
        views: each with a partner a short motion away.
        networks: by name. The first stands as `FOUND`, and its answers are spoilt.
        seed: of noise and tilts.
        tick: called with what is being done.
    """
    found: list[Tried] = []
    for number, (own, partner) in enumerate(views):
        tick(f"View {number + 1} of {len(views)}")
        other = views[(number + len(views) // 2) % len(views)][0].depth_mm
        found += _try_view(number, own, partner, other, networks, seed=seed)
    return found


def verdicts(tried: Sequence[Tried]) -> list[Verdict]:
    """Return what each score was worth, in the order in which they were tried."""
    return [_verdict(score, tried) for score in dict.fromkeys(each.score for each in tried)]


def aligned_abs_rel(found_mm: Tensor, true_mm: Tensor, where: Tensor) -> float:
    """Return AbsRel after the median scale of the whole view, over the pixels of `where`."""
    known = (found_mm > 0) & (true_mm > 0)
    scale = (true_mm[known] / found_mm[known]).median()
    chosen = known & where
    return float(((scale * found_mm - true_mm).abs()[chosen] / true_mm[chosen]).mean())


def _try_view(
    number: int,
    own: RenderedPolyp,
    partner: RenderedPolyp,
    other_mm: Tensor,
    networks: Mapping[str, Predict],
    *,
    seed: int,
) -> list[Tried]:
    answering = {name: _remembering(predict) for name, predict in networks.items()}
    answering[FOUND] = answering.pop(next(iter(networks)))
    maps, partners = (
        _maps(each, answering, seed=seed + k, view=number) for k, each in enumerate((own, partner))
    )
    duplicate = find_duplicate(*(_seen(each, each.depth_mm) for each in (own, partner)))
    dice = torch.Generator().manual_seed(seed + number)
    pairs = _point_pairs(own.depth_mm, dice)
    usable = ~find_specular(own.image)
    everywhere = torch.ones_like(usable)
    polyp = own.polyp[0].numpy()
    near = torch.from_numpy(polyp | ring_around(polyp))[None]
    lighting = lighting_of(own.image, own.camera, usable=usable, other_depth_mm=other_mm)
    found = []
    for name, depth_mm in maps.items():
        up = relief(depth_mm, own.camera, polyp=own.polyp, usable=everywhere)
        edge = borders(depth_mm, own.camera, polyp=own.polyp, usable=everywhere)
        lit = shading(depth_mm, own.camera, lighting)
        values = {
            "relief_to_noise": up.signal_to_noise,
            "border_f_depth": edge.depth_f,
            "border_f_normals": edge.normals_f,
            "shading": lit.correlation,
            "shading_detail": lit.detail,
            "shading_margin": lit.margin,
            "whdr": disagreement(depth_mm, pairs, size=(len(polyp), len(polyp[0])))[0],
        }
        if duplicate is not None:
            both = _seen(own, depth_mm), _seen(partner, partners[name])
            pair = agreement(*both, duplicate)
            values["agreement"] = float("nan") if pair is None else pair.moved
        predict = answering.get(name) or _spoiling(answering[FOUND], name, seed=seed)
        if predict is not None:
            values["stability"] = stability(
                depth_mm, own.image, own.camera, usable=everywhere, predict=predict
            ).mean
        found += [
            Tried(
                colon=own.colon,
                view=number,
                depth=name,
                score=score,
                value=value,
                error=aligned_abs_rel(depth_mm, own.depth_mm, everywhere),
                error_near=aligned_abs_rel(depth_mm, own.depth_mm, near),
            )
            for score, value in values.items()
        ]
    return found


def _maps(
    seen: RenderedPolyp, answering: Mapping[str, Predict], *, seed: int, view: int
) -> dict[str, Tensor]:
    """Return every map of depth of a view, by its name."""
    maps = {TRUE: seen.depth_mm}
    maps |= {name: predict(seen.image, seen.camera) for name, predict in answering.items()}
    for name in (TRUE, FOUND):
        for kind in SPOILT:
            # A tilt belongs to the network and is the same in a partner, noise is not.
            own = view if kind == "tilted" else seed * 100_003 + view
            maps[f"{name}, {kind}"] = spoil(kind, maps[name], torch.Generator().manual_seed(own))
    maps["flat"] = torch.full_like(seen.depth_mm, float(seen.depth_mm.median()))
    maps["brightness"] = trivial_depth(seen.image, seen.camera)
    return maps


def _spoiling(predict: Predict, name: str, *, seed: int) -> Predict | None:
    """Return a network whose answers are spoilt as the map of a name is, None for no network's."""
    if name == "brightness":
        return trivial_depth
    whose, _, kind = name.partition(", ")
    if whose != FOUND:
        return None

    def spoilt(image: Tensor, camera: Camera) -> Tensor:
        own = seed if kind == "tilted" else int(image.sum().mul(1e3)) % 1_000_003
        return spoil(kind, predict(image, camera), torch.Generator().manual_seed(own))

    return spoilt


def _remembering(predict: Predict) -> Predict:
    """Return a network that answers once for each image: its spoilt copies ask for the same."""
    answers: dict[bytes, Tensor] = {}

    def answer(image: Tensor, camera: Camera) -> Tensor:
        key = image.contiguous().numpy().tobytes()
        if key not in answers:
            answers[key] = predict(image, camera)
        return answers[key]

    return answer


def _seen(view: RenderedPolyp, depth_mm: Tensor) -> Seen:
    return Seen(frame="", grey=grey_of(view.image), polyp=view.polyp[0].numpy(), depth_mm=depth_mm)


def _point_pairs(depth_mm: Tensor, generator: torch.Generator) -> list[PointPair]:
    """Draw pairs of points that a person could tell: twice the least difference that counts."""
    height, width = depth_mm.shape[-2:]
    pairs: list[PointPair] = []
    while len(pairs) < POINT_PAIRS:
        v = torch.randint(height, (2,), generator=generator).tolist()
        u = torch.randint(width, (2,), generator=generator).tolist()
        a, b = (float(depth_mm[0, v[k], u[k]]) for k in (0, 1))
        if min(a, b) > 0 and max(a, b) > min(a, b) * (1 + 2 * SAME):
            nearer = Nearer.FIRST if a < b else Nearer.SECOND
            pairs.append(PointPair(first=(u[0], v[0]), second=(u[1], v[1]), nearer=nearer))
    return pairs


def _verdict(score: str, tried: Sequence[Tried]) -> Verdict:
    sign = -1.0 if score in LOWER else 1.0
    by_view: dict[int, dict[str, Tried]] = defaultdict(dict)
    for each in tried:
        if each.score == score:
            by_view[each.view][each.depth] = each
    contests = [(TRUE, FOUND)] + [
        (name, f"{name}, {kind}") for name in (TRUE, FOUND) for kind in SPOILT
    ]
    shares = {}
    for better, worse in contests:
        won = {
            number: (np.sign(sign * (maps[better].value - maps[worse].value)) + 1) / 2
            for number, maps in by_view.items()
            if better in maps and worse in maps and _worse_by(maps, better, worse) > CLEARLY
        }
        if won and not all(value != value for value in won.values()):
            shares[better, worse] = _mean(won, by_view)
    within, within_near = ({}, {})
    for number, maps in by_view.items():
        known = [each for each in maps.values() if each.value == each.value]
        goodness = [sign * each.value for each in known]
        within[number] = _spearman(goodness, [-each.error for each in known])
        within_near[number] = _spearman(goodness, [-each.error_near for each in known])
    own = [maps[FOUND] for maps in by_view.values() if FOUND in maps]
    own = [each for each in own if each.value == each.value]
    errors = [each.error_near if score in NEAR else each.error for each in own]
    networks = _network_means(by_view)
    return Verdict(
        score=score,
        shares=shares,
        within=_mean(within, by_view),
        within_near=_mean(within_near, by_view),
        across=_spearman([sign * each.value for each in own], [-each for each in errors]),
        networks=_spearman(
            [sign * value for value, _ in networks], [-error for _, error in networks]
        ),
        networks_count=len(networks),
        views=len(own),
    )


def _network_means(by_view: Mapping[int, Mapping[str, Tried]]) -> list[tuple[float, float]]:
    """Return mean score and mean error of every network, over the views where both are known."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for maps in by_view.values():
        for name, each in maps.items():
            if name != TRUE and ", " not in name and each.value == each.value:
                error = each.error_near if each.score in NEAR else each.error
                found[name].append((each.value, error))
    return [
        (float(np.mean([v for v, _ in rows])), float(np.mean([e for _, e in rows])))
        for rows in found.values()
    ]


def _worse_by(maps: Mapping[str, Tried], better: str, worse: str) -> float:
    """Return by how much one map's error is larger, where the score looks."""
    a, b = maps[better], maps[worse]
    return b.error_near - a.error_near if a.score in NEAR else b.error - a.error


def _mean(values: Mapping[int, float], by_view: Mapping[int, Mapping[str, Tried]]) -> Interval:
    """Return the mean over views with an interval from drawing colons."""
    colons = [next(iter(by_view[number].values())).colon for number in values]
    numbers: NDArray[np.float64] = np.array(list(values.values()), dtype=np.float64)
    return bootstrap_mean(numbers, np.array(colons, dtype=np.str_), average=Average.MICRO)


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the rank correlation, nan where there are too few or one of them does not vary."""
    if len(a) < 4 or len(set(a)) < 2 or len(set(b)) < 2:
        return float("nan")
    return float(stats.spearmanr(a, b).statistic)
