"""Rendered polyps whose depth is known, to test scores on that do without depth.

Each colon is level 5 of the synthetic ones: coloured tissue, vessels, wet highlights, lamps beside
the lens. The camera faces a polyp from 4 to 25 mm, and a second view is taken a short motion away.
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
SHIFT_MM, TURN_DEG = (1.0, 4.0), (0.0, 6.0)  # from a view to its partner
_LOOKS = 4  # views are drawn for each that is asked for, since some show too little of a polyp
_VERSION = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class RenderedPolyp:
    """One view of a polyp with its true depth."""

    colon: str
    image: Tensor  # (3, H, W) in [0, 1]
    depth_mm: Tensor  # (1, H, W), z, 0 where unknown
    polyp: Tensor  # (1, H, W) bool
    camera: Camera


def rendered_polyps(
    *,
    colons: int,
    views: int,
    seed: int,
    cache: Path,
    tick: Callable[[str], None] = lambda _: None,
) -> list[tuple[RenderedPolyp, RenderedPolyp]]:
    """Return views of polyps, each with a partner; what the cache has is not rendered again.

    Args:
        colons: how many.
        views: of each colon; fewer where a colon does not show a polyp so often.
        seed: of everything.
        cache: a folder for them, a file a colon.
        tick: called with what is being done.
    """
    found = []
    for number in range(colons):
        path = cache / f"level-{LEVEL}_seed-{seed}_colon-{number}_{views}x{SIZE[0]}x{SIZE[1]}.npz"
        if not path.is_file():
            tick(f"Rendering colon {number + 1} of {colons}")
            with written_whole(path) as temporary:
                np.savez_compressed(temporary, **_render_colon(number, views=views, seed=seed))
        found += _read(path, colon=f"colon {number}")
    return found


def _render_colon(number: int, *, views: int, seed: int) -> dict[str, Any]:
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

    row = level(LEVEL)
    colon = draw_level_colon(row, seed, number, "cpu")
    looks = bake_looks(colon, row, dice(row.name, seed, number, "looks"))
    scene = scene_of([colon], [looks])
    camera = published_camera(*SIZE).to(torch.zeros((), dtype=torch.float32))
    generator = dice(row.name, seed, number, "polyps")
    lamps = draw_lamps(generator, 1, at_lens=row.lamps_at_lens)
    faces = ViewSettings(weights=tuple(float(kind is ViewKind.POLYP) for kind in ViewKind))
    rays, which = sight(camera, frames=1), torch.zeros(1, dtype=torch.long)
    maps: dict[str, list[Tensor]] = {"image": [], "depth_mm": [], "polyp": []}
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
        )
        for k in range(len(image))
    ]
    return list(zip(each[::2], each[1::2], strict=True))
