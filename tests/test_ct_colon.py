import json
import math
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from colondepth.errors import DataError
from synthetic_colons.anatomy import SEGMENTS, Folds, PolypKind
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.colon import Colon, build_colon
from synthetic_colons.colon_mesh import ColonMesh, colon_mesh
from synthetic_colons.ct_colon import CtColon, EndsBy, ct_colon
from synthetic_colons.ct_distance import distance, sampled
from synthetic_colons.ct_line import middle_line
from synthetic_colons.ct_mesh import CtMesh, read_ct_mesh, welded
from synthetic_colons.ct_sections import Sections
from synthetic_colons.mesh_files import write_mesh

REAL = Path(__file__).parents[2] / "shared" / "data" / "colon_mesh" / "SBU_F_Intestine_Large.glb"
# From the file to the world of the drawn colon: a turn, and a place far away.
TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
SHIFT_CM = np.array([31.0, -12.0, 7.0])


@cache
def drawn() -> Colon:
    draw = draw_colon(
        torch.Generator().manual_seed(11),
        folds=Folds.HAUSTRAL,
        relief=False,
        simple_polyps=False,
        findings=False,
        stool=False,
    )
    polyps = tuple(each for each in draw.polyps if each.kind is not PolypKind.STALKED)
    return build_colon(replace(draw, polyps=polyps, collapsed=()))


@cache
def drawn_mesh() -> ColonMesh:
    return colon_mesh(drawn(), along_mm=2.0, around=60)


def in_file(points: np.ndarray) -> np.ndarray:
    """From the world of the drawn colon to that of its file, in cm."""
    return (points / 10) @ TURN.T + SHIFT_CM


@cache
def found() -> CtColon:
    """The mesh of a drawn colon, taken for one from CT; its rectum is told by a place."""
    mesh = drawn_mesh()
    faces = mesh.faces.numpy()
    file = CtMesh(
        in_file(mesh.vertices.numpy()), faces[:, ::-1].copy(), np.zeros(len(faces), int), ("",)
    )
    rectum = in_file(drawn().line.at(torch.tensor([80.0]))[0][0].double().numpy())
    return ct_colon(file, rectum_at=(float(rectum[0]), float(rectum[1]), float(rectum[2])))


def back(points: torch.Tensor) -> torch.Tensor:
    """From the world of the found colon, the file's in mm, to that of the drawn one."""
    return torch.from_numpy((points.double().numpy() - 10 * SHIFT_CM) @ TURN).float()


def test_the_stand_in_is_nearer_to_its_mesh_than_a_tenth_of_a_millimetre():
    for away in (found().to_mesh, found().from_mesh):
        assert away.median_mm < 0.03
        assert away.most_mm < 0.2
    assert found().hidden_share < 0.005
    assert found().filled_share < 0.005
    assert found().limited_share < 0.01


def own_place_share(colon: Colon) -> float:
    """The share of the wall whose nearest place of the line is its own, by looking at all nodes."""
    arc = torch.arange(25.0, colon.length_mm - 25, 1.5)[:, None].expand(-1, 64).flatten()
    angle = (torch.arange(64) * math.tau / 64).repeat(len(arc) // 64)
    radius = colon.wall.radius_mm[(arc * 2).long(), (angle * 256 / math.tau).round().long()]
    nearest = colon.coordinates(colon.line.point(arc, angle, radius))[0]
    return float(((nearest - arc).abs() < 1.0).float().mean())


def test_every_place_of_the_wall_belongs_to_its_own_piece_of_the_line():
    assert own_place_share(found().colon) > 0.9999


def test_the_distances_are_what_the_drawn_colon_says_too():
    colon = found().colon
    arc = torch.arange(40.0, colon.length_mm - 40, 7.3)
    angle = (arc * 2.4).remainder(2 * math.pi)
    wall = colon.wall.radius_mm[
        (arc / 0.5).round().long(), (angle * 256 / math.tau).round().long() % 256
    ]
    points = colon.line.point(
        (arc / 0.5).round() * 0.5, (angle * 256 / math.tau).round() * math.tau / 256, wall
    )
    # The drawn colon's field is a difference of radii, and its mesh has 2 mm between vertices.
    field = drawn().field(back(points)).abs()
    assert float(field.median()) < 0.1
    assert float(field.quantile(0.95)) < 0.6


def test_a_unit_is_told_from_the_length_of_a_colon():
    assert (found().unit, found().mm_per_unit) == ("cm", 10.0)
    assert found().colon.length_mm == pytest.approx(drawn().length_mm, rel=0.02)


def test_the_line_runs_in_the_middle_from_the_rectum_to_the_caecum():
    nodes = back(found().colon.line.nodes[:, :3])
    arc, _, away = drawn().coordinates(nodes)
    assert float(away.median()) < 1.0
    assert float(away.max()) < 6.0
    assert float(arc[0]) < 15 < drawn().length_mm - 15 < float(arc[-1])
    assert bool((arc.diff() > 0).all())
    assert found().ends_by is EndsBy.PLACE


def test_folds_of_the_drawn_colon_are_found_as_crests():
    colon = found().colon
    arc = torch.arange(60.0, colon.length_mm - 60, 2.0)[:, None].expand(-1, 32).flatten()
    angle = (torch.arange(32) * math.tau / 32).repeat(len(arc) // 32)
    crest = colon.wall.fold[(arc * 2).long(), (angle * 256 / math.tau).round().long()]
    own_arc, own_angle, _ = drawn().coordinates(
        back(colon.line.point(arc, angle, torch.tensor(10.0)))
    )
    row, column = (own_arc * 2).round().long(), (own_angle * 256 / math.tau).round().long() % 256
    true = drawn().wall.fold[row, column]
    assert float(torch.corrcoef(torch.stack([crest, true]))[0, 1]) > 0.7


def test_a_colon_from_ct_answers_as_a_drawn_one_does():
    colon = found().colon
    inside = colon.line.at(torch.arange(30.0, colon.length_mm - 30, 11.0))[0]
    assert bool((colon.field(inside) > 0).all())
    assert bool((colon.clearance_mm(inside) > 0).all())
    assert colon.segment_name(1.0) == "rectum"
    assert colon.segment_name(colon.length_mm - 1) == "caecum"
    assert colon.draw.polyps == colon.draw.folds == ()
    assert not colon.labels(inside).any()
    mesh = colon_mesh(colon, along_mm=2.0, around=40)
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).sort(dim=1).values
    assert bool((edges.unique(dim=0, return_counts=True)[1] == 2).all())


def tube(radius: float, length: float, count: int) -> CtMesh:
    """An open tube along (0.6, 0, 0.8)."""
    turn = np.arange(count) * math.tau / count
    axis, u, v = np.array([0.6, 0, 0.8]), np.array([0.8, 0, -0.6]), np.array([0, 1.0, 0])
    ring = radius * (np.cos(turn)[:, None] * u + np.sin(turn)[:, None] * v)
    rings = np.concatenate([ring + k * axis for k in np.linspace(0, length, 41)])
    i, k = np.meshgrid(np.arange(count), np.arange(40))
    a, b = (k * count + i).ravel(), (k * count + (i + 1) % count).ravel()
    faces = np.concatenate([np.stack([a, b, a + count], 1), np.stack([b, b + count, a + count], 1)])
    return CtMesh(rings, faces, np.zeros(len(faces), np.int64), ("",))


def test_a_section_is_where_rays_leave_a_tube():
    mesh = tube(20.0, 80.0, 900)
    place = 37.3 * np.array([0.6, 0, 0.8]) + 5.0 * np.array([0.8, 0, -0.6]) + np.array([0, 2.0, 0])
    frame = np.stack([[0.8, 0, -0.6], [0, 1.0, 0], [0.6, 0, 0.8]], axis=1)
    radius = Sections(mesh.vertices, mesh.faces).radius_mm(place, frame, 128)
    turn = np.arange(128) * math.tau / 128
    along = 5.0 * np.cos(turn) + 2.0 * np.sin(turn)
    np.testing.assert_allclose(radius, np.sqrt(along**2 + 400 - 29) - along, atol=2e-3)
    beyond = place + 60 * np.array([0.6, 0, 0.8])
    assert not np.isfinite(Sections(mesh.vertices, mesh.faces).radius_mm(beyond, frame, 64)).any()


def test_a_section_sees_what_embree_sees():
    pytest.importorskip("embreex")
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    mesh = drawn_mesh()
    vertices, faces = mesh.vertices.numpy(), mesh.faces.numpy()
    sections = Sections(vertices, faces)
    for arc in (133.0, 402.0, 777.0):
        here, frame = (each[0].double().numpy() for each in drawn().line.at(torch.tensor([arc])))
        radius = sections.radius_mm(here, frame, 96)
        turn = np.arange(96) * math.tau / 96
        rays = np.cos(turn)[:, None] * frame[:, 0] + np.sin(turn)[:, None] * frame[:, 1]
        scene = EmbreeScene()
        TriangleMesh(scene, (vertices - here).astype(np.float32)[faces])
        zero = np.zeros((96, 3), np.float32)
        seen = scene.run(zero, rays.astype(np.float32), query="DISTANCE")
        np.testing.assert_allclose(radius, seen, rtol=1e-4)


def test_distances_are_what_vtk_measures():
    import pyvista

    mesh = tube(14.0, 50.0, 24)
    corners = mesh.vertices[mesh.faces]
    points = np.random.default_rng(3).uniform([-10, -20, -10], [40, 20, 50], (200, 3))
    surface = pyvista.PolyData.from_regular_faces(mesh.vertices, mesh.faces)
    _, closest = surface.find_closest_cell(points, return_closest_point=True)
    expected = np.linalg.norm(points - closest, axis=1)
    np.testing.assert_allclose(distance(points, corners, 0.5), expected, atol=1e-2)
    on, owners = sampled(corners, 500)
    assert distance(on, corners, 0.5).max() < 1e-6
    # As dense everywhere: as many points as area, in either half of the tube.
    low = (on @ np.array([0.6, 0, 0.8]) < 25).mean()
    assert low == pytest.approx(0.5, abs=0.02)
    assert len(np.unique(owners)) > 300


def glb(parts: dict[str, tuple[np.ndarray, np.ndarray, dict[str, list[float]]]]) -> bytes:
    """A GLB file; parts are nodes below a root that moves them, and indices are 16 bits."""
    binary, accessors, views = b"", [], []

    def add(array: np.ndarray, kind: int, form: str) -> int:
        nonlocal binary
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
        size = len(array)
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": kind, "type": form, "count": size}
        )
        binary += array.tobytes() + b"\0" * (-array.nbytes % 4)
        return len(accessors) - 1

    nodes, meshes = [{"children": list(range(1, len(parts) + 1)), "translation": [1, 2, 3]}], []
    for name, (vertices, faces, motion) in parts.items():
        own = {
            "attributes": {"POSITION": add(vertices.astype("<f4"), 5126, "VEC3")},
            "indices": add(faces.astype("<u2").ravel(), 5123, "SCALAR"),
        }
        meshes.append({"primitives": [own, {**own, "mode": 1}]})  # edges too: they are passed over
        nodes.append({"mesh": len(meshes) - 1, "name": name, **motion})
    tree = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        **{"nodes": nodes, "meshes": meshes, "accessors": accessors, "bufferViews": views},
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text
    body += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body


def test_a_glb_file_is_read_with_names_and_motions(tmp_path):
    flat = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 4]], float)
    faces = np.array([[0, 1, 2], [0, 3, 1]])
    half = math.sqrt(0.5)
    motion = {"rotation": [0, 0, half, half], "scale": [2, 3, 5], "translation": [10, 20, 30]}
    # Column by column; x becomes y, y becomes z, z becomes x.
    matrix = {"matrix": [0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 7, 8, 9, 1]}
    path = tmp_path / "two.glb"
    path.write_bytes(glb({"rectum": (flat, faces, motion), "colon": (flat, faces, matrix)}))
    read = read_ct_mesh(path)
    assert read.names == ("rectum", "colon")
    one, other = (read.vertices[read.faces[read.part == k]] for k in (0, 1))
    # A quarter turn about z takes (2 x, 3 y, 5 z) to (-3 y, 2 x, 5 z).
    np.testing.assert_allclose(one[0], [[11, 22, 33], [11, 24, 33], [5, 22, 33]], atol=1e-5)
    np.testing.assert_allclose(other[1], [[8, 10, 12], [12, 10, 12], [8, 11, 12]], atol=1e-5)


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj"])
def test_what_is_written_is_read_again(suffix, tmp_path):
    mesh = drawn_mesh()
    path = tmp_path / f"mesh{suffix}"
    write_mesh(mesh, path)
    read = read_ct_mesh(path)
    assert read.faces.shape == tuple(mesh.faces.shape)
    assert read.vertices.shape == tuple(mesh.vertices.shape)
    middle = read.vertices[read.faces].mean(axis=1)
    np.testing.assert_allclose(middle, mesh.vertices[mesh.faces].mean(dim=1), atol=2e-4)


def test_a_file_that_is_no_mesh_is_refused(tmp_path):
    whole = glb({"rectum": (np.eye(3), np.array([[0, 1, 2]]), {})})
    for name, content, message in (
        ("a.glb", b"no", "is not a GLB file"),
        ("b.glb", whole[:-20], "is not a GLB file that can be read: it is shorter"),
        ("c.glb", b"glTF" + struct.pack("<II", 1, 12), "no glTF 2.0"),
        ("d.xyz", b"", "ends in '.xyz'; expected .glb, .ply"),
        ("e.ply", b"ply\nnonsense", "e.ply"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_ct_mesh(tmp_path / name)
    with pytest.raises(DataError, match="is not a file"):
        read_ct_mesh(tmp_path / "none.glb")


def test_double_vertices_become_one():
    vertices = np.array(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1e-9], [1, 0, 0], [5, 5, 5]], float
    )
    faces = np.array([[0, 1, 2], [3, 4, 5], [2, 3, 5]])
    read = welded(CtMesh(vertices, faces, np.array([0, 1, 1]), ("a", "b")))
    assert len(np.unique(read.faces)) == 4
    assert read.part.tolist() == [0, 1]


def test_a_mesh_that_is_no_colon_is_refused():
    mesh = tube(20.0, 300.0, 40)
    with pytest.raises(DataError, match="fits neither mm, cm nor m; say mm_per_unit"):
        ct_colon(mesh)
    with pytest.raises(DataError, match="mm_per_unit is -1"):
        ct_colon(mesh, mm_per_unit=-1.0)
    way = np.linspace([0, 0, 0], [0, 60.0, 0], 40)
    with pytest.raises(DataError, match="60 mm long, too short for a colon"):
        middle_line(way, Sections(mesh.vertices, mesh.faces))


def test_a_straight_open_tube_is_found_with_its_radius_and_without_names():
    mesh = tube(18.0, 300.0, 60)
    found = ct_colon(mesh, mm_per_unit=1.0)
    radius = found.colon.wall.radius_mm[60:-60]
    # The polygon is between its inscribed circle and the tube.
    assert float(radius.mean()) == pytest.approx(18.0 * (1 + math.cos(math.pi / 60)) / 2, abs=0.02)
    assert found.colon.length_mm == pytest.approx(300, abs=8)
    assert (found.unit, found.ends_by, found.named) == ("mm", EndsBy.WIDTH, False)
    shares = np.cumsum([sum(each.length_share) for each in SEGMENTS])
    ends = np.array(found.colon.draw.segment_ends_mm) / found.colon.length_mm
    np.testing.assert_allclose(ends, shares / shares[-1])
    assert found.from_mesh.median_mm < 0.05


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason="../shared/data/colon_mesh is not here")
def test_a_mesh_with_two_sides_and_ten_parts_becomes_a_colon():
    found = ct_colon(read_ct_mesh(REAL))
    assert (found.unit, found.ends_by, found.named) == ("m", EndsBy.NAMES, True)
    assert {each.split("_", 2)[2] for each in found.left_out} == {
        "vermiform_appendix",
        "ileocecal_valve",
    }
    assert 700 < found.colon.length_mm < 950
    ends = found.colon.draw.segment_ends_mm
    assert all(b - a > 30 for a, b in zip((0.0, *ends), ends, strict=False))
    # Its sigmoid turns about within the width of the lumen: that bend is lost, the rest is there.
    assert found.to_mesh.median_mm < 0.03
    assert found.to_mesh.most_mm < 0.6
    assert found.from_mesh.median_mm < 0.05
    assert found.from_mesh.most_mm < 2.0
    assert found.hidden_share < 0.1
    assert own_place_share(found.colon) > 0.999
