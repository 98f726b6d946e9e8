"""Distances between surfaces."""

import math

import numpy as np
import pytest
import trimesh
from scipy.spatial.distance import cdist

from colondepth.errors import DataError
from evaluation.meshes import MESH_ERRORS, Surface, mesh_errors, sampled

RNG = np.random.default_rng
NONE = Surface(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))


def rectangle(width_mm, height_mm, z_mm=0.0, x_mm=0.0):
    corners = [(0, 0), (width_mm, 0), (width_mm, height_mm), (0, height_mm)]
    vertices = np.array([(x + x_mm, y, z_mm) for x, y in corners], dtype=np.float64)
    return Surface(vertices, np.array([[0, 1, 2], [0, 2, 3]]))


def ball(radius_mm):
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius_mm)
    return Surface(np.asarray(mesh.vertices), np.asarray(mesh.faces))


def errors_of(found, true, *, threshold_mm=1.0, points=5000, seed=0):
    return mesh_errors(found, true, threshold_mm=threshold_mm, points=points, rng=RNG(seed))


def test_areas_are_trimeshs():
    mesh = trimesh.creation.torus(major_radius=9, minor_radius=4)
    surface = Surface(np.asarray(mesh.vertices), np.asarray(mesh.faces))
    np.testing.assert_allclose(surface.areas_mm2, mesh.area_faces)


def test_points_fill_a_surface_evenly_whatever_its_triangles():
    # One large triangle and a fan of small ones make a rectangle of 3 by 2.
    vertices = np.array([(0, 0, 1), (3, 0, 1), (3, 2, 1), (0, 2, 1), (0, 1.9, 1), (0, 0.5, 1)])
    faces = np.array([[0, 1, 2], [2, 3, 4], [2, 4, 5], [2, 5, 0]])
    points = sampled(Surface(vertices, faces), 60_000, RNG(1))
    np.testing.assert_allclose(points[:, 2], 1, rtol=1e-12)
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(6, 4), range=((0, 3), (0, 2)))
    assert counts.sum() == 60_000
    np.testing.assert_allclose(counts, 2500, atol=5 * math.sqrt(2500))


def test_a_triangle_without_area_is_never_met():
    vertices = np.array([(0.0, 0, 0), (1, 0, 0), (0, 1, 0), (5, 5, 5)])
    faces = np.array([[3, 3, 3], [0, 1, 2], [3, 3, 0]])
    points = sampled(Surface(vertices, faces), 500, RNG(2))
    assert points.max() <= 1
    assert len(sampled(Surface(vertices, faces[:1]), 500, RNG(2))) == 0


def test_distances_agree_with_all_pairs_of_the_same_points():
    found, true = rectangle(6, 4, z_mm=0.7), rectangle(9, 3)
    errors = errors_of(found, true, threshold_mm=1.1, points=400, seed=5)
    assert errors.keys() == MESH_ERRORS.keys()
    rng = RNG(5)
    theirs, ours = sampled(true, 400, rng), sampled(found, 400, rng)
    distance, again = cdist(ours, theirs), cdist(sampled(true, 400, rng), theirs)
    to_true, to_found = distance.min(axis=1), distance.min(axis=0)
    precision, recall = (to_true <= 1.1).mean(), (to_found <= 1.1).mean()
    assert errors == pytest.approx(
        {
            "mesh_accuracy_mm": to_true.mean(),
            "mesh_completeness_mm": to_found.mean(),
            "mesh_chamfer_mm": (to_true.mean() + to_found.mean()) / 2,
            "mesh_precision": precision,
            "mesh_recall": recall,
            "mesh_f_score": 2 / (1 / precision + 1 / recall),
            "mesh_floor_mm": again.min(axis=1).mean(),
        }
    )


def test_balls_in_each_other_are_as_far_apart_as_their_radii():
    errors = errors_of(ball(21.5), ball(20), threshold_mm=1.0, points=20_000)
    assert errors["mesh_chamfer_mm"] == pytest.approx(1.5, abs=0.06)
    assert (errors["mesh_precision"], errors["mesh_f_score"]) == (0, 0)
    wide = errors_of(ball(21.5), ball(20), threshold_mm=2.5, points=20_000)
    assert wide["mesh_f_score"] == pytest.approx(1, abs=1e-3)


def test_a_surface_is_as_far_from_itself_as_the_floor_says():
    errors = errors_of(ball(20), ball(20), points=10_000)
    assert errors["mesh_chamfer_mm"] == pytest.approx(errors["mesh_floor_mm"], rel=0.03)
    # The nearest of random points of density rho is 1 / (2 sqrt(rho)) away on average.
    flat = errors_of(rectangle(100, 40), rectangle(100, 40), points=10_000)
    assert flat["mesh_floor_mm"] == pytest.approx(math.sqrt(4000 / 10_000) / 2, rel=0.05)


def test_half_of_a_surface_is_precise_and_recalls_a_half():
    errors = errors_of(rectangle(50, 40), rectangle(100, 40), threshold_mm=2, points=20_000)
    assert errors["mesh_precision"] == 1
    assert errors["mesh_recall"] == pytest.approx(0.52, abs=0.01)  # and 2 mm beyond its edge
    # The other half is 0 to 50 mm from it, 25 on average.
    assert errors["mesh_completeness_mm"] == pytest.approx(12.5, abs=0.3)
    assert errors["mesh_accuracy_mm"] < 0.3


def test_nothing_found_recalls_nothing_and_no_truth_gives_nan():
    errors = errors_of(NONE, ball(20))
    assert (errors["mesh_recall"], errors["mesh_f_score"]) == (0, 0)
    for name in ("accuracy_mm", "completeness_mm", "chamfer_mm", "precision"):
        assert math.isnan(errors[f"mesh_{name}"])
    assert all(math.isnan(value) for value in errors_of(ball(20), NONE).values())


def test_faces_beyond_the_vertices_and_thresholds_of_zero_are_refused():
    with pytest.raises(DataError, match="faces name vertices 0 to 3, expected 0 to 2"):
        Surface(np.eye(3), np.array([[0, 1, 3]]))
    with pytest.raises(DataError, match="NaN or infinite"):
        Surface(np.full((3, 3), np.nan), np.array([[0, 1, 2]]))
    with pytest.raises(DataError, match="threshold_mm is 0"):
        errors_of(ball(1), ball(1), threshold_mm=0)
