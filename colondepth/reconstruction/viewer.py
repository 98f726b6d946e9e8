"""A surface as one HTML file that turns in any browser, without a network and without a library.

Places are 16 bits over the bounding box (steps of 5 micrometres in 300 mm), colours 8 bits; a
surface with more triangles than a browser likes is thinned by joining the corners in each cell of
a grid.
"""

import json
import math
from base64 import b64encode
from html import escape
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.errors import DataError
from colondepth.reconstruction.lumen_line import BEYOND_MM, lumen_line
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.viewer_page import EMPTY, PAGE
from colondepth.shapes import require_finite, require_shapes

MOST_FACES = 120_000  # a page of 3 MB, which a laptop without a graphics card still turns
_PLAIN = (0.85, 0.6, 0.55)  # mucosa, where there are no colours
_COARSER = 1.3  # a cell's growth from one try to the next
_LEAST_CELL_MM = 1e-3  # so that a surface without an area has a grid, too
_FLIGHT_STEP_MM = 2.0
_TOP_SHARE = 0.98  # of the corners lie within the colour bar; the rest have its last colour
# Cividis at even steps (Nuñez, Anderton and Renslow 2018): blue to yellow for all kinds of sight.
_SCALE = (
    (0, 34, 78),
    (53, 69, 108),
    (102, 105, 112),
    (148, 142, 119),
    (200, 184, 102),
    (254, 232, 56),
)


def write_viewer(
    surface: Surface,
    path: Path,
    *,
    title: str,
    path_mm: Tensor | None = None,
    most_faces: int = MOST_FACES,
) -> None:
    """Write the page.

    Args:
        surface: it may be empty, and then the page says so.
        path: of an .html file.
        title: words over it, escaped here.
        path_mm: where the camera went, shape (N, 3): a line. A double click flies inside, along
            the middle of the lumen that the camera passed.
        most_faces: a surface with more is thinned.
    """
    way = torch.empty(0, 3) if path_mm is None else path_mm
    require_shapes(path_mm=(way, "N 3"))
    require_finite(path_mm=way)
    if len(surface.faces):
        small = thinned(surface, most_faces)
        facts, data = _facts_and_data(small, way, whole=len(surface.faces))
        # A title may hold the other names, so it comes last.
        page = PAGE.replace("@FACTS@", _json(facts)).replace("@DATA@", _json(data))
    else:
        page = EMPTY
    with written_whole(path) as temporary:
        temporary.write_text(page.replace("@TITLE@", escape(title)), encoding="utf-8")


def thinned(surface: Surface, most_faces: int) -> Surface:
    """Return a surface of no more triangles than that: corners of one cell become their mean."""
    if most_faces < 1:
        raise DataError(f"most_faces is {most_faces}, expected 1 or more")
    if len(surface.faces) <= most_faces:
        return surface
    # A cell holds about one corner, and a corner two triangles.
    cell_mm = float((surface.areas_mm2().double().sum() / most_faces).sqrt())
    cell_mm = max(cell_mm, _LEAST_CELL_MM)
    while len((smaller := _clustered(surface, cell_mm)).faces) > most_faces:
        cell_mm *= _COARSER
    if not len(smaller.faces):
        raise DataError(
            f"no surface of {most_faces} triangles is left of one of {len(surface.faces)};"
            " a larger most_faces leaves one"
        )
    return smaller


def _clustered(surface: Surface, cell_mm: float) -> Surface:
    places = surface.vertices_mm.cpu().double()
    cells = ((places - places.amin(dim=0)) / cell_mm).floor().long()
    size = cells.amax(dim=0) + 1
    keys = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    found, number = keys.unique(return_inverse=True)
    share = torch.bincount(number, minlength=len(found)).double()

    def mean(values: Tensor) -> Tensor:
        flat = values.cpu().double().reshape(len(places), -1)
        total = flat.new_zeros(len(found), flat.shape[1]).index_add_(0, number, flat)
        return (total / share[:, None]).reshape(len(found), *values.shape[1:])

    faces = number[surface.faces.cpu()]  # the order of the corners stays, and the side with it
    apart = (faces[:, [0, 1, 2]] != faces[:, [1, 2, 0]]).all(dim=1)
    made = Surface(
        vertices_mm=mean(surface.vertices_mm).float(),
        faces=_once(faces[apart]),
        colours=None if surface.colours is None else mean(surface.colours).float().clamp(0, 1),
        std_mm=None if surface.std_mm is None else mean(surface.std_mm).float(),
        seen=None if surface.seen is None else mean(surface.seen).round().long(),
    )
    return made.kept(torch.ones(len(made.faces), dtype=torch.bool))


def _once(faces: Tensor) -> Tensor:
    """Leave out triangles that are there already; one that faces the other way is another."""
    first = faces.argmin(dim=1, keepdim=True) if len(faces) else faces[:, :1]
    order = (first + torch.arange(3)) % 3  # the smallest corner first, round the same way
    once: Tensor = faces.gather(1, order).unique(dim=0)
    return once


def _facts_and_data(
    surface: Surface, way: Tensor, *, whole: int
) -> tuple[dict[str, object], dict[str, str]]:
    """Return what the page has to know, and its arrays by name."""
    places = surface.vertices_mm.cpu().double()
    low, high = places.amin(dim=0), places.amax(dim=0)
    extent = (high - low).clamp(min=1e-6)
    packed = ((places - low) / extent * 65535).round().numpy().astype("<u2")
    layers = _layers(surface)
    count = len(surface.faces)
    facts: dict[str, object] = {
        "low": low.tolist(),
        "extent": extent.tolist(),
        "scale": _SCALE,
        "layers": [words for words, _ in layers],
        "words": f"{count} triangles" + (f", thinned from {whole}." if count < whole else "."),
    }
    arrays = {
        "places": packed,
        "faces": surface.faces.cpu().numpy().astype("<u4"),
        "way": way.cpu().float().numpy().astype("<f4"),
        "line": _flight_line(way, surface).float().numpy().astype("<f4"),
        **{f"layer{k}": colours for k, (_, colours) in enumerate(layers)},
    }
    return facts, {name: b64encode(each.tobytes()).decode() for name, each in arrays.items()}


def _flight_line(way: Tensor, surface: Surface) -> Tensor:
    """Return where to fly, (M, 3): a camera trembles and turns back, and an eye should not."""
    places = way.cpu().double()
    if not len(places):
        return places
    try:
        line = lumen_line(places, surface)
    except DataError:  # it looked around from one place
        return places[:1]
    # Beyond the camera's own places the line is a guess, and may leave the lumen.
    last = max(line.length_mm - BEYOND_MM, BEYOND_MM)
    arcs = torch.arange(BEYOND_MM, last + _FLIGHT_STEP_MM / 2, _FLIGHT_STEP_MM).double()
    return line.at(arcs)[0]


def _layers(surface: Surface) -> list[tuple[dict[str, str], NDArray[np.uint8]]]:
    """Return what the wall can be coloured by: the words beside it, and a colour for each corner.

    A layer without `about` has no colour bar.
    """
    count = len(surface.vertices_mm)
    tissue = torch.tensor(_PLAIN).expand(count, 3) if surface.colours is None else surface.colours
    colours = (tissue.cpu().double().clamp(0, 1) * 255).round().byte().numpy()
    layers = [({"name": "tissue", "about": "", "least": "", "most": ""}, colours)]
    if surface.std_mm is not None:
        std = surface.std_mm.cpu().double().numpy()
        top = float(f"{np.quantile(std, _TOP_SHARE):.2g}") or 1.0  # as it is written
        words = {
            "name": "uncertainty",
            "about": "Standard deviation of the wall's distance, along the line of sight",
            "least": "0 mm",
            "most": f"{top:g} mm or more",
        }
        layers.append((words, _scaled(std / top)))
    if surface.seen is not None:
        seen = surface.seen.cpu().double().numpy()
        top = max(1, math.ceil(np.quantile(seen, _TOP_SHARE)))
        words = {
            "name": "frames that looked",
            "about": "Frames that looked at a place",
            "least": "0",
            "most": f"{top} or more",
        }
        layers.append((words, _scaled(seen / top)))
    return layers


def _scaled(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the colour of the scale at every share of it, (V, 3)."""
    steps = np.linspace(0, 1, len(_SCALE))
    channels = [np.interp(np.clip(share, 0, 1), steps, each) for each in np.array(_SCALE).T]
    packed: NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return packed


def _json(value: object) -> str:
    """Write what a script may hold: no `<`, which could end it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
