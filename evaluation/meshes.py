"""How far a reconstructed surface is from the true one, by points drawn evenly from both.

Accuracy is the mean distance from the found surface to the true one, completeness that from the
true one to the found one (Seitz et al. 2006 named them, Aanaes et al. 2016 average them as here);
Chamfer is the mean of the two. Precision, recall and F-score count the points within a threshold
(Knapitsch et al., "Tanks and Temples", 2017). Papers also call Chamfer the sum of
the two, or of their squares: compare only what is defined alike.
Both surfaces lie in one frame, in millimetres; nothing is aligned and nothing is cut off here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from colondepth.errors import DataError
from evaluation.quantities import Quantity

Points = NDArray[np.float64]  # (N, 3)
MESH_ERRORS: Mapping[str, Quantity] = {
    "mesh_accuracy_mm": Quantity("mean distance from found to true surface", "mm", True),
    "mesh_completeness_mm": Quantity("mean distance from true to found surface", "mm", True),
    "mesh_chamfer_mm": Quantity("mean of accuracy and completeness", "mm", True),
    "mesh_precision": Quantity("found surface within the threshold of the true one", "", False),
    "mesh_recall": Quantity("true surface within the threshold of the found one", "", False),
    "mesh_f_score": Quantity("harmonic mean of mesh precision and recall", "", False),
    "mesh_floor_mm": Quantity("Chamfer of two perfect surfaces drawn as densely", "mm", True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Triangles in millimetres; one without any is a surface that was not found."""

    vertices_mm: Points  # (V, 3)
    faces: NDArray[np.int64]  # (F, 3), places in `vertices_mm`

    def __post_init__(self) -> None:
        """Refuse what is no mesh."""
        for name, array in (("vertices_mm", self.vertices_mm), ("faces", self.faces)):
            if array.ndim != 2 or array.shape[1] != 3:
                raise DataError(f"{name} has shape {array.shape}, expected (N, 3)")
        if not np.issubdtype(self.faces.dtype, np.integer):
            raise DataError(f"faces hold {self.faces.dtype}, expected whole numbers")
        if not np.isfinite(self.vertices_mm).all():
            raise DataError("vertices_mm has values that are NaN or infinite")
        if len(self.faces) and not 0 <= self.faces.min() <= self.faces.max() < len(
            self.vertices_mm
        ):
            raise DataError(
                f"faces name vertices {self.faces.min()} to {self.faces.max()}, expected 0 to"
                f" {len(self.vertices_mm) - 1}"
            )

    @property
    def areas_mm2(self) -> NDArray[np.float64]:
        """Return the area of every triangle, (F,)."""
        a, b, c = self.vertices_mm.astype(np.float64)[self.faces].transpose(1, 0, 2)
        areas: NDArray[np.float64] = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        return areas


def sampled(surface: Surface, points: int, rng: np.random.Generator) -> Points:
    """Draw points evenly over a surface; none from one without area.

    Each triangle is met in proportion to its area (systematically: to the nearest whole point),
    and points within it are even (Osada et al., "Shape distributions", 2002).
    """
    if points < 1:
        raise DataError(f"points is {points}, expected 1 or more")
    reach = surface.areas_mm2.cumsum()
    if len(reach) == 0 or reach[-1] == 0:
        return np.zeros((0, 3))
    marks = (np.arange(points) + rng.random()) / points * reach[-1]
    face = np.searchsorted(reach, marks, side="right").clip(max=len(reach) - 1)
    a, b, c = surface.vertices_mm.astype(np.float64)[surface.faces[face]].transpose(1, 0, 2)
    root, share = np.sqrt(rng.random(points))[:, None], rng.random(points)[:, None]
    drawn: Points = (1 - root) * a + root * (1 - share) * b + root * share * c
    return drawn


def mesh_errors(
    found: Surface,
    true: Surface,
    *,
    threshold_mm: float,
    points: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Return the errors of one surface, named as in `MESH_ERRORS`.

    The distance is to the nearest point drawn, not to the nearest triangle, so even the true
    surface is some way from itself: `mesh_floor_mm`, measured between two draws from it, about
    half the root of the area that a point stands for. Draw enough points for it to be well below
    what is told.

    Without a found surface recall and F-score are 0, accuracy, completeness, Chamfer and precision
    nan; without a true one all are nan.

    Args:
        found: the reconstruction.
        true: only where it could be seen, else completeness judges the camera's path.
        threshold_mm: how near counts for precision, recall and F-score.
        points: drawn from each surface.
        rng: the same generator gives the same figures.
    """
    if not (isfinite(threshold_mm) and threshold_mm > 0):
        raise DataError(f"threshold_mm is {threshold_mm:g}, expected a positive number")
    errors = dict.fromkeys(MESH_ERRORS, nan)
    true_points = sampled(true, points, rng)
    if len(true_points) == 0:
        return errors
    found_points = sampled(found, points, rng)
    true_tree = cKDTree(true_points)
    errors["mesh_floor_mm"] = float(true_tree.query(sampled(true, points, rng))[0].mean())
    if len(found_points) == 0:
        return {**errors, "mesh_recall": 0.0, "mesh_f_score": 0.0}
    to_true_mm = true_tree.query(found_points)[0]
    to_found_mm = cKDTree(found_points).query(true_points)[0]
    accuracy_mm, completeness_mm = float(to_true_mm.mean()), float(to_found_mm.mean())
    precision, recall = (float((d <= threshold_mm).mean()) for d in (to_true_mm, to_found_mm))
    both = precision + recall
    return {
        **errors,
        "mesh_accuracy_mm": accuracy_mm,
        "mesh_completeness_mm": completeness_mm,
        "mesh_chamfer_mm": (accuracy_mm + completeness_mm) / 2,
        "mesh_precision": precision,
        "mesh_recall": recall,
        "mesh_f_score": 2 * precision * recall / both if both > 0 else 0.0,
    }
