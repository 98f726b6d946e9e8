"""A surface as one HTML file that turns in any browser, without a network and without a library.

Places are 16 bits over the bounding box (0.01 mm of a piece of colon), colours 8 bits; a surface
with more triangles than a browser likes is thinned by joining the corners in each cell of a grid.
"""

import json
from base64 import b64encode
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.errors import DataError
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.viewer_page import EMPTY, PAGE
from colondepth.shapes import require_finite, require_shapes

MOST_FACES = 150_000
_PLAIN = (0.85, 0.6, 0.55)  # mucosa, where there are no colours
_COARSER = 1.3  # a cell's growth from one try to the next
# Cividis at even steps (Nuñez, Anderton and Renslow 2018): blue to yellow for all kinds of sight.
_SCALE = (
    (0, 34, 78),
    (53, 69, 108),
    (102, 105, 112),
    (148, 142, 119),
    (197, 183, 103),
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
        path_mm: where the camera went, shape (N, 3): a line, and where a double click flies to.
        most_faces: a surface with more is thinned.
    """
    if not len(surface.faces):
        page = EMPTY.replace("@TITLE@", escape(title))
    else:
        page = _page(thinned(surface, most_faces), title, path_mm, whole=len(surface.faces))
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def thinned(surface: Surface, most_faces: int) -> Surface:
    """Return a surface of no more triangles than that: corners of one cell become their mean."""
    if most_faces < 1:
        raise DataError(f"most_faces is {most_faces}, expected 1 or more")
    if len(surface.faces) <= most_faces:
        return surface
    cell_mm = float((surface.areas_mm2().sum() / most_faces).sqrt()) + 1e-6
    while len((smaller := _clustered(surface, cell_mm)).faces) > most_faces:
        cell_mm *= _COARSER
    return smaller


def _clustered(surface: Surface, cell_mm: float) -> Surface:
    places = surface.vertices_mm.cpu()
    cells = ((places - places.amin(dim=0)) / cell_mm).floor().long()
    _, number = cells.unique(dim=0, return_inverse=True)
    count = int(number.max()) + 1
    share = torch.bincount(number, minlength=count).float()

    def mean(values: Tensor) -> Tensor:
        flat = values.cpu().float().reshape(len(places), -1)
        total = torch.zeros(count, flat.shape[1]).index_add_(0, number, flat)
        return (total / share[:, None]).reshape(count, *values.shape[1:])

    faces = number[surface.faces.cpu()]
    apart = (faces[:, [0, 1, 2]] != faces[:, [1, 2, 0]]).all(dim=1)
    made = Surface(
        vertices_mm=mean(surface.vertices_mm),
        faces=faces[apart],
        colours=None if surface.colours is None else mean(surface.colours).clamp(0, 1),
        std_mm=None if surface.std_mm is None else mean(surface.std_mm),
        seen=None if surface.seen is None else mean(surface.seen).round().long(),
    )
    return replace(made.kept(torch.ones(len(made.faces), dtype=torch.bool)))


def _page(surface: Surface, title: str, path_mm: Tensor | None, *, whole: int) -> str:
    places = surface.vertices_mm.cpu().double()
    low, high = places.amin(dim=0), places.amax(dim=0)
    extent = (high - low).clamp(min=1e-6)
    packed = ((places - low) / extent * 65535).round().numpy().astype("<u2")
    tissue = (
        torch.tensor(_PLAIN).expand(len(places), 3) if surface.colours is None else surface.colours
    )
    layers = [("tissue", _bytes(tissue.cpu().float().numpy()), "")]
    if surface.std_mm is not None:
        std = surface.std_mm.cpu().double().numpy()
        most = float(np.quantile(std, 0.98)) or 1.0
        layers.append(
            ("uncertainty", _scaled(std / most), f"0 to {most:.2g} mm (standard deviation)")
        )
    if surface.seen is not None:
        seen = surface.seen.cpu().double().numpy()
        most = max(1.0, float(np.quantile(seen, 0.98)))
        layers.append(("frames that looked", _scaled(seen / most), f"0 to {most:.0f}"))
    facts = {
        "low": low.tolist(),
        "extent": extent.tolist(),
        "layers": [{"name": name, "legend": legend} for name, _, legend in layers],
        "words": f"{len(surface.faces)} of {whole} triangles",
    }
    way = torch.empty(0, 3)
    if path_mm is not None:
        require_shapes(path_mm=(path_mm, "N 3"))
        require_finite(path_mm=path_mm)
        way = path_mm.cpu().float()
    blobs = {
        "places": packed.tobytes(),
        "faces": surface.faces.cpu().numpy().astype("<u4").tobytes(),
        "way": way.numpy().astype("<f4").tobytes(),
        **{f"layer{k}": colours.tobytes() for k, (_, colours, _) in enumerate(layers)},
    }
    coded = {name: b64encode(blob).decode("ascii") for name, blob in blobs.items()}
    return (
        PAGE.replace("@TITLE@", escape(title))
        .replace("@FACTS@", json.dumps(facts).replace("<", "\\u003c"))
        .replace("@DATA@", json.dumps(coded))
    )


def _bytes(colours: NDArray[np.float32]) -> NDArray[np.uint8]:
    packed: NDArray[np.uint8] = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
    return packed


def _scaled(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    steps = np.linspace(0, 1, len(_SCALE))
    channels = [np.interp(np.clip(share, 0, 1), steps, each) for each in np.array(_SCALE).T]
    packed: NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return packed
