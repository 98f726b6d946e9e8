"""Rendered polyps whose depth and size are known, to test what is said of polyps without them.

The camera faces a polyp of a synthetic colon, and a second view is taken a short motion away. Level
5, the usual one, has coloured tissue, vessels, wet highlights, and lamps beside the lens.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.shapes import require_shapes

LEVEL = "5"
SIZE = (128, 160)  # (height, width)
POLYP_SHARE = (0.008, 0.45)  # of the image; six of ETIS-Larib's cover 0.008 to 0.09
FACE_MM = (4.0, 25.0)  # from the camera to the polyp
SHIFT_MM, TURN_DEG = (1.0, 4.0), (0.0, 6.0)  # from a view to its partner
KINDS = ("stalked", "sessile", "flat")
_LOOKS = 4  # views are drawn for each that is asked for, since some show too little of a polyp
_VERSION = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class RenderedPolyp:
    """One view of a polyp with its true depth."""

    colon: str
    image: Tensor  # (3, H, W) in [0, 1]
    depth_mm: Tensor  # (1, H, W), z, 0 where unknown
    polyp: Tensor  # (1, H, W) bool
    camera: Camera
    size_mm: float  # longest diameter
    height_mm: float
    kind: str  # stalked, sessile or flat


def rendered_polyps(
    *,
    colons: int,
    views: int,
    seed: int,
    cache: Path,
    level: str = LEVEL,
    face_mm: tuple[float, float] = FACE_MM,
    tick: Callable[[str], None] = lambda _: None,
) -> list[tuple[RenderedPolyp, RenderedPolyp]]:
    """Return views of polyps, each with a partner; what the cache has is not rendered again.

    Args:
        colons: how many.
        views: of each colon; fewer where a colon does not show a polyp so often.
        seed: of everything.
        cache: a folder for them, a file a colon.
        level: of the colons.
        face_mm: from how near and how far they are seen.
        tick: called with what is being done.
    """
    found = []
    for number in range(colons):
        name = f"level-{level}_seed-{seed}_colon-{number}_{views}x{SIZE[0]}x{SIZE[1]}"
        path = cache / f"{name}_{face_mm[0]:g}-{face_mm[1]:g}mm.npz"
        if not path.is_file():
            tick(f"Rendering colon {number + 1} of {colons}")
            with written_whole(path) as temporary:
                np.savez_compressed(temporary, **_render_colon(number, views, seed, level, face_mm))
        found += _read(path, colon=f"colon {number}")
    return found


def _render_colon(
    number: int, views: int, seed: int, level_name: str, face_mm: tuple[float, float]
) -> dict[str, Any]:
    """Return the arrays of one colon's views, which a file holds."""
    from colondepth.data.ruano import published_camera
    from synthetic_colons.camera_views import ViewKind, ViewSettings, draw_views, partner
    from synthetic_colons.clips import dice, draw_level_colon
    from synthetic_colons.exposure import automatic_exposure, develop
    from synthetic_colons.levels import level
    from synthetic_colons.light import draw_lamps
    from synthetic_colons.looks import bake_looks
    from synthetic_colons.renderer import render, scene_of
    from synthetic_colons.sight import sight

    row = level(level_name)
    colon = draw_level_colon(row, seed, number, "cpu")
    looks = bake_looks(colon, row, dice(row.name, seed, number, "looks"))
    scene = scene_of([colon], [looks])
    camera = published_camera(*SIZE).to(torch.zeros((), dtype=torch.float32))
    generator = dice(row.name, seed, number, "polyps")
    lamps = draw_lamps(generator, 1, at_lens=row.lamps_at_lens)
    faces = ViewSettings(
        weights=tuple(float(kind is ViewKind.POLYP) for kind in ViewKind), face_mm=face_mm
    )
    rays, which = sight(camera, frames=1), torch.zeros(1, dtype=torch.long)
    maps: dict[str, list[Tensor]] = {"image": [], "depth_mm": [], "polyp": []}
    shown = []
    for _ in range(views * _LOOKS):
        if len(maps["image"]) == 2 * views or not colon.draw.polyps:
            break
        place = draw_views(generator, colon, 1, faces).float()
        other = partner(generator, place, colon, shift_mm=SHIFT_MM, turn_deg=TURN_DEG).float()
        both = [render(scene, rays, each, which=which, lamps=lamps) for each in (place, other)]
        labels = both[0].label[(both[0].label > 0) & (both[0].label <= len(colon.draw.polyps))]
        if not len(labels):
            continue
        largest = int(labels.long().bincount().argmax())  # a mask holds one polyp
        masks = [each.label[0] == largest for each in both]
        low, high = POLYP_SHARE
        if not all(low <= float(mask.float().mean()) <= high for mask in masks):
            continue
        draw = colon.draw.polyps[largest - 1]
        shown += 2 * [[draw.size_mm, draw.height_mm + draw.stalk_mm, KINDS.index(draw.kind.value)]]
        for seen, mask in zip(both, masks, strict=True):
            exposure = automatic_exposure(seen.light, inside=seen.valid)
            maps["image"].append(develop(seen.light, exposure)[0])
            maps["depth_mm"].append(seen.depth_mm[0])
            maps["polyp"].append(mask)
    lens = {"focal": camera.linear.diagonal(dim1=-2, dim2=-1).tolist()}
    words = {"version": _VERSION, "centre": camera.centre.tolist(), **lens}
    empty = {"image": (0, 3, *SIZE), "depth_mm": (0, 1, *SIZE), "polyp": (0, 1, *SIZE)}
    arrays = {
        name: (torch.stack(each) if each else torch.zeros(empty[name])).numpy()
        for name, each in maps.items()
    }
    arrays["image"] = (arrays["image"] * 255).round().astype(np.uint8)
    arrays["polyps"] = np.array(shown, dtype=np.float32).reshape(-1, 3)
    return {**arrays, "made": np.array(json.dumps(words))}


def _read(path: Path, *, colon: str) -> list[tuple[RenderedPolyp, RenderedPolyp]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    words = json.loads(str(arrays["made"]))
    if words["version"] != _VERSION:
        raise DataError(
            f"{path} has version {words['version']}, expected {_VERSION}; delete it, and it is"
            " rendered anew"
        )
    image = torch.from_numpy(arrays["image"]).float() / 255
    depth_mm = torch.from_numpy(arrays["depth_mm"]).float()
    polyp = torch.from_numpy(arrays["polyp"]) > 0
    size = require_shapes(
        image=(image, "N 3 H W"), depth_mm=(depth_mm, "N 1 H W"), polyp=(polyp, "N 1 H W")
    )
    (fx, fy), (cx, cy) = words["focal"], words["centre"]
    camera = Camera.pinhole(fx=fx, fy=fy, cx=cx, cy=cy, height=size["H"], width=size["W"])
    camera = camera.to(torch.zeros((), dtype=torch.float32))
    each = [
        RenderedPolyp(
            colon=colon,
            image=image[k],
            depth_mm=depth_mm[k],
            polyp=polyp[k],
            camera=camera,
            size_mm=float(arrays["polyps"][k, 0]),
            height_mm=float(arrays["polyps"][k, 1]),
            kind=KINDS[int(arrays["polyps"][k, 2])],
        )
        for k in range(len(image))
    ]
    return list(zip(each[::2], each[1::2], strict=True))
