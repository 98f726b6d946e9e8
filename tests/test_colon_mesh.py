import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from colondepth.centre_line import centre_line
from colondepth.errors import DataError
from synthetic_colons import marching
from synthetic_colons.anatomy import ColonDraw, Folds, PolypDraw, PolypKind
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.colon import Colon, build_colon
from synthetic_colons.colon_mesh import ColonMesh, colon_mesh
from synthetic_colons.mesh_columns import ground
from synthetic_colons.mesh_files import write_mesh
from synthetic_colons.wall import Wall
from synthetic_colons.wall_tables import COLUMNS, FAR_POLYP, rows_of, wall_tables

H, W, FOV_RAD = 120, 158, math.radians(105)
STALK_MM = 150.0  # arc length of the first polyp on a stalk


def polyp(arc_mm: float, angle_rad: float, size_mm: float, stalk_mm: float) -> PolypDraw:
    return PolypDraw(
        kind=PolypKind.STALKED,
        arc_mm=arc_mm,
        angle_rad=angle_rad,
        size_mm=size_mm,
        shape=0.8,
        height_mm=0.7 * size_mm,
        turn_rad=0.5,
        lobes=0.0,
        phase=0.0,
        stalk_mm=stalk_mm,
        stalk_radius_mm=1.6,
        lean=(0.3, -0.2),
    )


def numbers(folds: Folds) -> ColonDraw:
    draw = draw_colon(
        torch.Generator().manual_seed(11),
        folds=folds,
        relief=folds is Folds.HAUSTRAL,
        simple_polyps=False,
        findings=True,
        stool=folds is Folds.HAUSTRAL,
    )
    rest = [each for each in draw.polyps if each.kind is not PolypKind.STALKED]
    # Given out of order; the last one hangs in the caecum, into the blend with the cap.
    stalked = (
        polyp(draw.length_mm - 34.0, -1.0, 13.0, 9.0),
        polyp(STALK_MM, 1.0, 14.0, 7.0),
        polyp(0.5 * draw.length_mm, 2.5, 9.0, 11.0),
    )
    return replace(draw, polyps=(*rest, *stalked), collapsed=())


@cache
def drawn(folds: Folds) -> Colon:
    return build_colon(numbers(folds))


@cache
def thin() -> Colon:
    """Folds as thin as they are drawn and as deep as they can be."""
    draw = numbers(Folds.HAUSTRAL)
    folds = tuple(replace(each, thickness_mm=2.2, depth_share=0.5) for each in draw.folds)
    return build_colon(replace(draw, folds=folds))


@cache
def whole() -> ColonMesh:
    return colon_mesh(drawn(Folds.HAUSTRAL), along_mm=0.8, around=96)


@cache
def stretch() -> ColonMesh:
    return colon_mesh(drawn(Folds.HAUSTRAL), stretch=(100.0, 230.0))


@cache
def bent_tube(radius_mm: float) -> Colon:
    """A tube of one radius around a line that bends but never twice as sharply as it is wide."""
    controls = torch.tensor([[0.0, 0, 0], [0, 60, 5], [30, 110, -10], [110, 120, 40], [170, 90, 0]])
    line = centre_line(controls, length_mm=300.0)
    rows = rows_of(len(line.nodes))
    wall = Wall(
        torch.full((rows, COLUMNS), radius_mm),
        torch.zeros(rows, COLUMNS, dtype=torch.int16),
        torch.zeros(rows, COLUMNS),
    )
    stalked = torch.tensor([FAR_POLYP])[:0]
    tables = wall_tables(line, wall.radius_mm, stalked)
    return Colon(numbers(Folds.NONE), line, wall, stalked, (), tables)


def open_edges(mesh: ColonMesh) -> Tensor:
    """Edges (E, 2) of one triangle alone; no edge may be used twice in one direction."""
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    count = len(mesh.vertices)
    forth, back = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    assert len(forth.unique()) == len(forth)
    return edges[~torch.isin(forth, back)]


def normals(mesh: ColonMesh) -> tuple[Tensor, Tensor]:
    """Middles (F, 3) of triangles, and their normals, as long as twice their areas."""
    a, b, c = mesh.vertices[mesh.faces].unbind(dim=1)
    return (a + b + c) / 3, torch.linalg.cross(b - a, c - a)


@pytest.mark.parametrize("folds", list(Folds))
def test_every_edge_belongs_to_two_triangles_that_turn_the_same_way(folds):
    mesh = colon_mesh(drawn(folds), along_mm=1.0, around=80)
    assert len(open_edges(mesh)) == 0
    edges = mesh.faces.numel() // 2
    # A sphere, but for handles where a head touches the wall.
    euler = len(mesh.vertices) - edges + len(mesh.faces)
    assert euler <= 2
    assert euler % 2 == 0
    assert len(mesh.faces.unique()) == len(mesh.vertices)


def test_every_vertex_lies_on_the_surface():
    for folds, mesh in ((Folds.HAUSTRAL, whole()), (Folds.HAUSTRAL, stretch())):
        colon = drawn(folds)
        # In float32 the steep sides of folds turn a coordinate's last bit into 2e-4 mm.
        exact = replace(colon, tables=ground(colon).tables)
        assert float(exact.field(mesh.vertices).abs().max()) < 1e-4


def test_triangles_face_the_lumen():
    colon = drawn(Folds.HAUSTRAL)
    middle, across = normals(stretch())
    facing = (across * colon.normals(middle)).sum(dim=-1) / across.norm(dim=-1).clamp(min=1e-12)
    big = across.norm(dim=-1) > 1e-4
    assert float(facing[big].min()) > 0
    assert float(facing[big].quantile(0.001)) > 0.9
    # The flux of the place through a closed surface is three times what it holds: ours points in.
    middle, across = normals(whole())
    assert float((middle * across).sum()) / 6 < -math.pi * 10**2 * colon.length_mm


def test_a_tube_has_the_area_and_the_content_that_pappus_gives_it():
    radius, length = 13.0, 200.0
    mesh = colon_mesh(bent_tube(radius), stretch=(50.0, 50.0 + length))
    middle, across = normals(mesh)
    # The polygon around it is a little smaller than its circle; so is what it holds.
    side, share = math.sin(math.pi / 256) * 256 / math.pi, math.sin(math.tau / 256) * 256 / math.tau
    area = float(across.norm(dim=-1).sum()) / 2
    assert area == pytest.approx(2 * math.pi * radius * length * side, rel=2e-5)
    line = bent_tube(radius).line
    here, frame = line.at(torch.tensor([50.0, 50.0 + length]))
    discs = (here * frame[..., 2]).sum(dim=-1) * math.pi * radius**2 * share
    content = (float(discs[1] - discs[0]) - float((middle * across).sum()) / 2) / 3
    assert content == pytest.approx(math.pi * radius**2 * length * share, rel=5e-5)


def test_a_tube_without_polyps_closes_at_poles_that_lie_on_its_line():
    colon = bent_tube(13.0)
    mesh = colon_mesh(colon, along_mm=1.5, around=48)
    assert len(open_edges(mesh)) == 0
    assert len(mesh.vertices) - mesh.faces.numel() // 2 + len(mesh.faces) == 2
    for arc in (0.0, colon.length_mm):
        pole = mesh.vertices[mesh.arc_mm == arc]
        assert_close(pole, colon.line.at(torch.tensor([arc]))[0].double(), atol=1e-4, rtol=0)
    assert not mesh.label.any()


def test_a_stretch_is_open_in_two_planes():
    mesh = stretch()
    edges = open_edges(mesh)
    arc = mesh.arc_mm[edges]
    first, last = (arc == 100.0).all(dim=1), (arc == 230.0).all(dim=1)
    assert int(first.sum()) == int(last.sum()) == 256
    assert bool((first | last).all())
    # One ring each: as many vertices as edges, each of them in two.
    for there in (first, last):
        assert bool((edges[there].unique(return_counts=True)[1] == 2).all())


def test_a_stretch_may_be_cut_through_a_polyp_and_at_an_end_of_the_colon():
    colon = drawn(Folds.RINGS)
    mesh = colon_mesh(colon, along_mm=1.0, around=64, stretch=(STALK_MM, colon.length_mm))
    assert float((mesh.arc_mm[open_edges(mesh)] - STALK_MM).abs().max()) < 0.5
    assert len(open_edges(colon_mesh(colon, along_mm=1.0, around=64, stretch=(0.0, 60.0)))) == 64


def test_a_vertex_knows_its_arc_length_angle_label_and_segment():
    colon = drawn(Folds.HAUSTRAL)
    mesh = whole()
    some = torch.arange(0, len(mesh.vertices), 37)
    arc, angle, _ = colon.coordinates(mesh.vertices[some])
    # Between two nodes of a bend the line's parabolas differ by this much at the wall.
    assert_close(arc.double(), mesh.arc_mm[some], atol=0.02, rtol=0)
    turn = (angle - mesh.angle_rad[some] + math.pi).remainder(2 * math.pi) - math.pi
    assert float((turn.abs() * (mesh.arc_mm[some] > 1)).max()) < 2e-3
    agrees = colon.labels(mesh.vertices[some]) == mesh.label[some]
    assert float(agrees.float().mean()) > 0.999
    names = [mesh.segment_names[k] for k in mesh.segment[some].tolist()]
    assert names == [colon.segment_name(each) for each in mesh.arc_mm[some].tolist()]
    assert set(names) == set(mesh.segment_names)


def test_a_head_on_a_stalk_has_a_far_side():
    colon, mesh = drawn(Folds.HAUSTRAL), stretch()
    label = next(n for n in colon.stalked_numbers if colon.polyp(n).arc_mm == STALK_MM)
    own = (mesh.label == label).nonzero()[:, 0]
    assert len(own) > 1000
    _, frame = colon.line.at(mesh.arc_mm[own])
    angle = mesh.angle_rad[own, None]
    outward = angle.cos() * frame[..., 0] + angle.sin() * frame[..., 1]
    # The field's gradient points into the lumen, here outwards too: no height above the wall.
    along = (colon.normals(mesh.vertices[own]) * outward).sum(dim=-1)
    assert float((along > 0.5).float().mean()) > 0.1
    size = mesh.vertices[own].amax(dim=0) - mesh.vertices[own].amin(dim=0)
    assert 14.0 < float(size.max()) < 30.0


def test_a_bad_request_is_refused():
    colon = bent_tube(13.0)
    for bad in ((-1.0, 50.0), (50.0, 400.0), (80.0, 20.0), (20.0, 20.5)):
        with pytest.raises(DataError, match="no stretch from"):
            colon_mesh(colon, stretch=bad)
    with pytest.raises(DataError, match="along_mm is 0"):
        colon_mesh(colon, along_mm=0.0)
    with pytest.raises(DataError, match="around is 3"):
        colon_mesh(colon, around=3)


def view(colon: Colon, arc_mm: float, off_mm: tuple[float, float], look: tuple[float, ...]):
    """Origin (3,) and rays (R, 3) of a pinhole; `off_mm` and `look` along U, V and T there."""
    here, frame = colon.line.at(torch.tensor(arc_mm))
    origin = here + frame @ torch.tensor([*off_mm, 0.0])
    z = torch.nn.functional.normalize(frame @ torch.tensor(look), dim=0)
    x = torch.nn.functional.normalize(
        torch.linalg.cross(frame @ torch.tensor([0.3, 0.5, 0.8]), z), dim=0
    )
    y = torch.linalg.cross(z, x)
    focal = W / 2 / math.tan(FOV_RAD / 2)
    v, u = torch.meshgrid(torch.arange(H) - 0.47 * H, torch.arange(W) - 0.52 * W, indexing="ij")
    rays = u[..., None] * x + v[..., None] * y + focal * z
    return origin, torch.nn.functional.normalize(rays.reshape(-1, 3), dim=-1)


def at_fold(colon: Colon) -> tuple[float, tuple[float, float], tuple[float, float, float]]:
    """In the plane of a crescent, looking at its crest edge-on."""
    fold = next(each for each in colon.draw.folds if each.arc_mm > 180)
    c, s = math.cos(fold.angle_rad), math.sin(fold.angle_rad)
    return fold.arc_mm, (-4 * c, -4 * s), (c, s, 0.04)


CASES = {
    "plain, towards a stalk": (Folds.NONE, STALK_MM - 28, (3.0, -2.0), (0.2, 0.1, 1.0)),
    "plain, into the caecum": (Folds.NONE, -60.0, (3.0, -2.0), (0.1, 0.1, 1.0)),
    "rings, back at a stalk": (Folds.RINGS, STALK_MM + 25, (-4.0, 2.0), (0.2, -0.2, -1.0)),
    "rings, beside a stalk": (Folds.RINGS, STALK_MM - 11, (-3.0, -4.0), (0.6, 0.8, 0.7)),
    "haustral, towards a stalk": (Folds.HAUSTRAL, STALK_MM - 26, (2.0, -3.0), (0.1, 0.2, 1.0)),
    "haustral, into the caecum": (Folds.HAUSTRAL, -62.0, (1.0, 4.0), (-0.1, 0.2, 1.0)),
    "thin folds, along": (None, 200.0, (2.0, 1.0), (0.3, 0.1, -1.0)),
    "thin folds, edge-on": (None, None, None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_marched_depth_is_what_embree_sees_on_the_mesh(name, monkeypatch):
    pytest.importorskip("embreex")
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    monkeypatch.setattr(marching, "compiled", lambda function: function)  # no minute of compiling
    folds, arc, off, look = CASES[name]
    colon = drawn(folds) if folds else thin()
    if arc is None:
        arc, off, look = at_fold(colon)
    arc = arc if arc > 0 else colon.length_mm + arc
    origin, rays = view(colon, arc, off, look)
    assert float(colon.clearance_mm(origin[None])) > 3
    count = len(rays)
    hits = marching.cast(
        origin[:, None].expand(-1, count).contiguous(),
        rays.T.contiguous(),
        torch.zeros(count),
        torch.full((count,), arc),
        torch.zeros(count, dtype=torch.int32),
        colon.tables,
    )
    mesh = colon_mesh(colon, stretch=(max(0.0, arc - 150), min(colon.length_mm, arc + 150)))
    near = (mesh.vertices - origin.double()).float().numpy()  # the last bit is finer near 0
    scene = EmbreeScene()
    TriangleMesh(scene, near[mesh.faces.numpy()])
    zero = np.zeros((count, 3), np.float32)
    seen = torch.from_numpy(scene.run(zero, rays.numpy(), query="DISTANCE"))
    there = seen < 1e4  # the others leave through an open end
    assert float(there.float().mean()) > 0.98
    off_by = ((hits.distance_mm - seen).abs() / seen)[there]
    assert float(((off_by < 5e-3) & hits.arrived[there]).float().mean()) >= 0.995
    assert float(off_by.median()) <= 2e-4


def test_a_ply_file_holds_all_that_is_known_of_a_vertex(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    mesh = stretch()
    write_mesh(mesh, tmp_path / "mesh.ply")
    read = trimesh.load(tmp_path / "mesh.ply", process=False)
    np.testing.assert_allclose(read.vertices, mesh.vertices.numpy(), atol=5e-5)
    np.testing.assert_array_equal(read.faces, mesh.faces.numpy())
    held = read.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_allclose(held["arc_mm"].ravel(), mesh.arc_mm.numpy(), atol=5e-5)
    np.testing.assert_allclose(held["angle_rad"].ravel(), mesh.angle_rad.numpy(), atol=5e-6)
    np.testing.assert_array_equal(held["label"].ravel(), mesh.label.numpy())
    np.testing.assert_array_equal(held["segment"].ravel(), mesh.segment.numpy())
    assert b"comment segment 1 sigmoid\n" in (tmp_path / "mesh.ply").read_bytes()[:600]


@pytest.mark.parametrize("suffix", [".obj", ".stl", ".STL"])
def test_other_formats_hold_the_triangles(suffix, tmp_path):
    import pyvista

    mesh = colon_mesh(bent_tube(13.0), along_mm=2.0, around=24, stretch=(0.0, 40.0))
    write_mesh(mesh, tmp_path / f"mesh{suffix}")
    read = pyvista.read(tmp_path / f"mesh{suffix}")
    assert read.n_cells == len(mesh.faces)
    _, across = normals(mesh)
    assert read.area == pytest.approx(float(across.norm(dim=-1).sum()) / 2, rel=1e-5)
    if suffix != ".obj":
        head = np.frombuffer((tmp_path / f"mesh{suffix}").read_bytes()[84:], "<f4", 12)
        corners = mesh.vertices[mesh.faces[0]].flatten()
        np.testing.assert_allclose(head[3:], corners, atol=5e-5)
        np.testing.assert_allclose(head[:3], across[0] / across[0].norm(), atol=1e-6)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    mesh = colon_mesh(bent_tube(13.0), along_mm=2.0, around=24, stretch=(0.0, 40.0))
    path: Path = tmp_path / "mesh.obj"
    path.write_bytes(b"old")
    with pytest.raises(DataError, match=r"ends in '\.vtp'; expected one of \.ply, \.obj, \.stl"):
        write_mesh(mesh, tmp_path / "mesh.vtp")
    with pytest.raises(DataError, match=r"faces of shape \(\d+, 2\), expected \(V, 3\)"):
        write_mesh(replace(mesh, faces=mesh.faces[:, :2]), path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["mesh.obj"]
