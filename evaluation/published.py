"""Numbers that others published, each with the protocol that it was measured under.

A number stands beside ours only where our run used the protocol of that name: an error after a
median alignment says nothing about one without. Numbers whose protocol is not one of ours, or is
not known well enough to say so, have a name here that no protocol has, and are never shown.

Lengths are millimetres here; the papers of Ruano and of SimCol3D print centimetres.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# Read in a secondary source, not in the paper itself; the report says so.
_CHALLENGE = "SimCol3D challenge (arXiv 2307.11261), as quoted in the README of EndoStreamDepth"
_ENDO_STREAM = "README of EndoStreamDepth, by its authors"
_OWN_SPLIT = "c3vd, split 2 of EndoStreamDepth"  # in-distribution; each system's alignment unstated
_HELD_OUT = "c3vd, split 1 of EndoStreamDepth"  # transverse colon held out
_SCARED = "READMEs of EndoDAC and MonoPCC, by their authors"
_ENDO_OMNI = "README of EndoOmni"


@dataclass(frozen=True, slots=True)
class Published:
    """What was published about one system under one protocol."""

    system: str
    protocol: str  # the name of a protocol of ours, if it is the same
    part: str  # of the dataset
    figures: Mapping[str, float]  # by the names of `DEPTH_ERRORS`
    source: str


def published_under(protocol: str) -> tuple[Published, ...]:
    """Return what others published under the protocol of this name."""
    return tuple(entry for entry in PUBLISHED if entry.protocol == protocol)


def _depth(
    abs_rel: float, sq_rel: float, rmse_mm: float, rmse_log: float, delta_1_25: float
) -> dict[str, float]:
    return {
        "abs_rel": abs_rel,
        "sq_rel": sq_rel,
        "rmse_mm": rmse_mm,
        "rmse_log": rmse_log,
        "delta_1_25": delta_1_25,
    }


def _relative(abs_rel: float, sq_rel: float, rmse_mm: float) -> dict[str, float]:
    return {"abs_rel": abs_rel, "sq_rel": sq_rel, "rmse_mm": rmse_mm}


def _simcol(l1_cm: float, rmse_cm: float, median_rel: float) -> dict[str, float]:
    return {"l1_mm": 10 * l1_cm, "rmse_mm": 10 * rmse_cm, "median_rel": median_rel}


def _zero_shot(abs_rel: float, rmse_mm: float, delta_1_25: float) -> dict[str, float]:
    return {"abs_rel": abs_rel, "rmse_mm": rmse_mm, "delta_1_25": delta_1_25}


PUBLISHED: tuple[Published, ...] = (
    Published(
        "SfSNet (EfficientNet-B0, curriculum)",
        "sfsnet",
        "level 5, test",
        {"delta_1_25": 0.9565, "rmse_mm": 4.51},
        "Ruano et al., CMIG 2024 (arXiv 2311.05021), and the authors' notebook",
    ),
    *(
        Published(system, "simcol3d", "SyntheticColon III, test", figures, source)
        for system, figures, source in (
            ("CVML (FCBFormer-D, winner)", _simcol(0.099, 0.141, 0.025), _CHALLENGE),
            ("MIVA (second)", _simcol(0.107, 0.163, 0.025), _CHALLENGE),
            ("EndoAI (third)", _simcol(0.111, 0.168, 0.028), _CHALLENGE),
            ("IntuitiveIL (fourth)", _simcol(0.167, 0.233, 0.047), _CHALLENGE),
            ("EndoStreamDepth, video", _simcol(0.087, 0.126, 0.023), _ENDO_STREAM),
        )
    ),
    *(
        Published(system, "scared", "test", figures, _SCARED)
        for system, figures in (
            ("Monodepth2", _depth(0.071, 0.590, 5.606, 0.094, 0.953)),
            ("Endo-SfMLearner", _depth(0.062, 0.606, 5.726, 0.093, 0.957)),
            ("Lite-Mono", _depth(0.063, 0.490, 5.197, 0.087, 0.962)),
            ("AF-SfMLearner", _depth(0.059, 0.435, 4.925, 0.082, 0.974)),
            ("MonoPCC", _depth(0.055, 0.396, 4.679, 0.076, 0.976)),
            ("EndoDAC", _depth(0.052, 0.362, 4.464, 0.073, 0.979)),
        )
    ),
    # What follows is kept, and not shown beside ours: the alignment of these tables is not stated.
    *(
        Published(system, _OWN_SPLIT, "in-distribution", figures, _ENDO_STREAM)
        for system, figures in (
            ("EndoStreamDepth, video", _relative(0.052, 0.11, 1.72)),
            ("EndoStreamDepth, frame", _relative(0.077, 0.27, 1.74)),
            ("LightDepth", _relative(0.078, 1.81, 6.55)),
            ("NormDepth+", _relative(0.155, 1.53, 7.51)),
        )
    ),
    *(
        Published(system, _HELD_OUT, "transverse colon", figures, _ENDO_STREAM)
        for system, figures in (
            ("EndoStreamDepth", _relative(0.085, 0.246, 2.739) | {"delta_1_25": 0.952}),
            ("Depth Anything v2", _relative(0.158, 0.635, 3.50) | {"delta_1_25": 0.847}),
            ("Metric Depth Anything v2", _relative(0.149, 0.566, 3.54) | {"delta_1_25": 0.850}),
            ("EndoOmni", _relative(0.154, 0.610, 3.62) | {"delta_1_25": 0.836}),
            ("FlashDepth", _relative(0.188, 1.046, 4.99) | {"delta_1_25": 0.730}),
        )
    ),
    *(
        Published(system, "hamlyn, zero-shot, of EndoOmni", "all", figures, _ENDO_OMNI)
        for system, figures in (
            ("EDM", _zero_shot(0.185, 16.10, 0.732)),
            ("AF-SfMLearner", _zero_shot(0.168, 13.87, 0.770)),
            ("Surgical-DINO", _zero_shot(0.146, 11.97, 0.801)),
            ("EndoDAC", _zero_shot(0.138, 11.49, 0.813)),
            ("Depth Anything, large", _zero_shot(0.174, 13.23, 0.750)),
            ("Depth Anything v2, large", _zero_shot(0.229, 16.72, 0.649)),
            ("EndoOmni", _zero_shot(0.125, 10.86, 0.827)),
        )
    ),
)
