"""How far the renderer's distances and normals are from Embree's on the mesh of the same colon.

The wall alone is compared: no fluid, bubbles or instrument, and the colon stands still. A relative
error of the distance along a pixel's ray is that of its depth. Normals are those of the surface
that both have, the field's gradient in `renderer.Rendering.normals`: the relief that is only shaded
tilts the light's normals (`shading.Surface.lit`, `skin`), never these.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from colondepth.errors import DataError
from synthetic_colons.accuracy_poses import CheckPose, check_poses
from synthetic_colons.colon_mesh import colon_mesh
from synthetic_colons.kernels import can_compile
from synthetic_colons.levels import LEVELS
from synthetic_colons.mesh_hits import first_crossing_mm, mesh_hits, require_embree
from synthetic_colons.provenance import made_with
from synthetic_colons.renderer import render

CLOSE = 5e-3  # relative error of a pixel that is right
SHARE_ASKED = 0.995  # of pixels that are right
MEDIAN_ASKED = 2e-4  # relative error
NORMALS_ASKED_DEG = 1.0  # median
REACH_MM = 150.0  # of mesh before and behind the camera
# A pixel is at a silhouette where 1 / depth, which is straight over a plane, bends by this share.
SILHOUETTE_BEND = 0.05
LOOKED_INTO = 60  # pixels of a frame that are wrong, and as many of all, held against the field
_SEARCH_SHARE = 0.02  # of the distance, before the nearer and behind the farther of two answers
_AT_A_CUT_MM = 0.5  # of arc length, within which a ray may have left the mesh
_TINY_MM = 1e-9

HOW = (
    "renderer.render of the wall alone (no clinic, colon at rest) against Embree in float32 on"
    " colon_mesh in the camera's frame, camera +- 150 mm of arc length; relative error of the"
    " distance along the ray, over all pixels but those that both say lie beyond the mesh's cut"
    " ends; pixels that either gives no answer for count as wrong; percentiles over all pixels of"
    " all frames; silhouettes: 1 / depth bends by more than 5 % from pixel to pixel in Embree's"
    " map; normals: the renderer's against the mesh's, smooth (corner normals weighted by angle)"
    " and of the facet; against the field: random pixels, and pixels that are wrong, against the"
    " field's first sign change in float64 by steps of 0.01 mm"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracySettings:
    """What is compared."""

    levels: tuple[str, ...] = tuple(LEVELS)
    seed: int = 1
    frames: int = 24  # of each level
    height: int = 256
    width: int = 320
    along_mm: float = 0.25  # of the mesh
    around: int = 512


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One frame, pixel by pixel (N,), but for what lies beyond the mesh's ends."""

    kind: str
    error: Tensor  # relative, of the distance; inf where there is but one answer, or none
    smooth_deg: Tensor  # between normals; nan there
    facet_deg: Tensor
    silhouette: Tensor  # bool
    beyond: int  # pixels beyond the ends
    given_up: int  # by the renderer
    not_met: int  # by Embree, although the renderer's answer is not beyond the ends
    triangles: int
    at_random: Tensor  # (n, 2) relative errors of renderer and mesh against the field, of some
    wrong: Tensor  # (m, 2) the same of some of the pixels that are not close


def measure(
    settings: AccuracySettings, *, tick: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Compare, and return what JSON holds of it.

    Args:
        settings: see there.
        tick: told the level after each frame.
    """
    if settings.frames < 1:
        raise DataError(f"{settings.frames} frames to compare; expected 1 or more")
    require_embree()
    report: dict[str, Any] = {
        "settings": asdict(settings),
        "made_with": {**made_with("cpu"), "embreex": version("embreex")},
        "compiled": can_compile(),
        "how": HOW,
        "asked": {
            "close": CLOSE,
            "share_close": SHARE_ASKED,
            "median": MEDIAN_ASKED,
            "normals_median_deg": NORMALS_ASKED_DEG,
        },
        "levels": [],
    }
    for name in settings.levels:
        frames, clips = [], set()
        for pose in check_poses(
            name,
            seed=settings.seed,
            frames=settings.frames,
            height=settings.height,
            width=settings.width,
        ):
            frames.append(compared(pose, along_mm=settings.along_mm, around=settings.around))
            clips.add(pose.clip.number)
            tick(name)
        report["levels"].append(
            {
                "level": name,
                "seed": settings.seed,
                "clips": sorted(clips),
                **by_kind(frames),
                "mesh": {
                    "along_mm": settings.along_mm,
                    "around": settings.around,
                    "reach_mm": REACH_MM,
                    "triangles_a_frame": round(sum(f.triangles for f in frames) / len(frames)),
                },
            }
        )
    return report


def compared(pose: CheckPose, *, along_mm: float, around: int) -> Compared:
    """Render one frame and hold it against Embree and, for a few pixels, against the field."""
    clip = pose.clip
    frame = render(
        clip.scene,
        clip.sight,
        pose.world_from_camera[None],
        which=torch.zeros(1, dtype=torch.long),
        lamps=clip.lamps,
    )
    arc = float(clip.colon.coordinates(pose.world_from_camera[None, :3, 3])[0])
    stretch = max(0.0, arc - REACH_MM), min(clip.colon.length_mm, arc + REACH_MM)
    mesh = colon_mesh(clip.colon, along_mm=along_mm, around=around, stretch=stretch)
    rays = clip.sight.ray.T.contiguous()  # (R, 3)
    hits = mesh_hits(mesh, pose.world_from_camera, rays)
    ours = frame.distance_mm.flatten()[clip.sight.pixel].double()
    arrived = frame.valid.flatten()[clip.sight.pixel]
    normals = frame.normals[0].flatten(start_dim=1)[:, clip.sight.pixel].T.double()  # (R, 3)
    there = frame.arc_mm.flatten()[clip.sight.pixel]
    cut = (there < stretch[0] + _AT_A_CUT_MM) | (there > stretch[1] - _AT_A_CUT_MM)
    kept = hits.met | ~arrived | ~cut
    both = hits.met & arrived
    error = (ours - hits.distance_mm).abs() / hits.distance_mm.clamp(min=_TINY_MM)
    error = torch.where(both, error, math.inf)
    depth = clip.sight.spread_out((hits.distance_mm * rays[:, 2]).where(hits.met, math.nan)[None])
    silhouette = silhouettes(depth[0, 0]).flatten()[clip.sight.pixel]
    numbers = torch.Generator().manual_seed(len(mesh.faces))
    nearer = torch.minimum(ours, hits.distance_mm) * (1 - _SEARCH_SHARE)
    farther = torch.maximum(ours, hits.distance_mm) * (1 + _SEARCH_SHARE)
    turn = pose.world_from_camera[:3, :3]

    def held(pixels: Tensor) -> Tensor:
        """Hold some of these pixels against the field, (n, 2)."""
        some = pixels[torch.randperm(len(pixels), generator=numbers)[:LOOKED_INTO]]
        truth = first_crossing_mm(
            clip.colon,
            pose.world_from_camera[:3, 3],
            torch.nn.functional.normalize(rays[some].double(), dim=-1) @ turn.T,
            nearer[some],
            farther[some],
        )
        two = torch.stack([ours[some], hits.distance_mm[some]], dim=-1)
        return (two - truth[:, None]).abs() / truth[:, None]

    return Compared(
        kind=pose.kind.value,
        error=error[kept],
        smooth_deg=angle_deg(normals, hits.smooth).where(both, math.nan)[kept],
        facet_deg=angle_deg(normals, hits.facet).where(both, math.nan)[kept],
        silhouette=silhouette[kept],
        beyond=int((~kept).sum()),
        given_up=int((kept & ~arrived).sum()),
        not_met=int((kept & arrived & ~hits.met).sum()),
        triangles=len(mesh.faces),
        at_random=held(both.nonzero()[:, 0]),
        wrong=held((both & (error > CLOSE)).nonzero()[:, 0]),
    )


def by_kind(frames: Sequence[Compared]) -> dict[str, Any]:
    """Return the figures of all frames and of each kind; they hold if they do for each kind."""
    own = {
        kind: figures([each for each in frames if each.kind == kind])
        for kind in sorted({each.kind for each in frames})
    }
    whole = figures(frames)
    holds = whole["holds"] and all(each["holds"] for each in own.values())
    return {**whole, "holds": holds, "kinds": own}


def figures(frames: Sequence[Compared]) -> dict[str, Any]:
    """Return the figures of frames together, over all their pixels."""
    error = torch.cat([each.error for each in frames])
    wrong = error > CLOSE
    silhouette = torch.cat([each.silhouette for each in frames])
    smooth, facet = (
        torch.cat([getattr(each, name) for each in frames]) for name in ("smooth_deg", "facet_deg")
    )
    count, missed = len(error), int(wrong.sum())
    beyond = sum(each.beyond for each in frames)
    shares = [float((each.error <= CLOSE).double().mean()) for each in frames]
    median, share = quantile(error, 0.5), 1 - missed / max(count, 1)
    normals = {"smooth": _angles(smooth), "facet": _angles(facet)}
    found: dict[str, Any] = {
        "frames": len(frames),
        "pixels": count,
        "beyond_share": beyond / max(count + beyond, 1),
        "given_up": sum(each.given_up for each in frames),
        "not_met": sum(each.not_met for each in frames),
        "share_close": share,
        "share_close_of_worst_frame": min(shares),
        "median": median,
        "percentile_99": quantile(error, 0.99),
        "wrong": missed,
        "silhouettes": {
            "share_of_pixels": int(silhouette.sum()) / max(count, 1),
            "share_of_wrong": int((silhouette & wrong).sum()) / missed if missed else None,
        },
        "normals": normals,
        "against_the_field": _against_the_field(frames),
    }
    angle = normals["smooth"]["median_deg"]
    found["holds"] = (
        share >= SHARE_ASKED
        and median is not None
        and median <= MEDIAN_ASKED
        and angle is not None
        and angle <= NORMALS_ASKED_DEG
    )
    return found


def silhouettes(depth_mm: Tensor) -> Tensor:
    """Return where a map (H, W), nan where unknown, bends as at the edge of what is in front."""
    near = 1 / depth_mm
    across = pad(near[:, :-2] + near[:, 2:] - 2 * near[:, 1:-1], (1, 1))
    down = pad(near[:-2] + near[2:] - 2 * near[1:-1], (0, 0, 1, 1))
    return torch.maximum(across.abs().nan_to_num(), down.abs().nan_to_num()) > (
        SILHOUETTE_BEND * near
    )


def angle_deg(one: Tensor, other: Tensor) -> Tensor:
    """Return the angles between vectors (N, 3), exact near 0 as well."""
    across = torch.linalg.cross(one, other).norm(dim=-1)
    return torch.rad2deg(torch.atan2(across, (one * other).sum(dim=-1)))


def quantile(values: Tensor, share: float) -> float | None:
    """Return the least value that so large a share of all is not above; None if it is not finite.

    `torch.quantile` takes no more than 16 million values, and makes nan of infinity.
    """
    values = values[~values.isnan()]
    if not len(values):
        return None
    found = float(values.kthvalue(max(1, math.ceil(share * len(values)))).values)
    return found if math.isfinite(found) else None


def _angles(angle: Tensor) -> dict[str, float | None]:
    return {"median_deg": quantile(angle, 0.5), "percentile_95_deg": quantile(angle, 0.95)}


def _against_the_field(frames: Sequence[Compared]) -> dict[str, Any]:
    """Say whose the errors are: the renderer's or the mesh's."""
    some = torch.cat([each.at_random for each in frames])
    wrong = torch.cat([each.wrong for each in frames])
    known = wrong[~wrong.isnan().any(dim=-1)] > CLOSE  # (m, 2)
    renderer, mesh = known.unbind(dim=-1)
    return {
        "pixels": len(some),
        "renderer_median": quantile(some[:, 0], 0.5),
        "mesh_median": quantile(some[:, 1], 0.5),
        "wrong_looked_into": len(wrong),
        "renderer_alone_is_off": int((renderer & ~mesh).sum()),
        "mesh_alone_is_off": int((mesh & ~renderer).sum()),
        "both_are_off": int((mesh & renderer).sum()),
        "neither_is_off": int((~mesh & ~renderer).sum()),  # but they are, from each other
        "not_found_in_the_field": len(wrong) - len(known),
    }
