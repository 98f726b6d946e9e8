"""Files of surfaces, read by programs that nobody here wrote."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scenes import at, cameras

from colondepth.errors import DataError, MissingExtraError
from colondepth.reconstruction import surface_pictures, triangle_files
from colondepth.reconstruction.surface import Surface, view_surface
from colondepth.reconstruction.surface_files import read_surface, write_surface
from colondepth.reconstruction.surface_pictures import surface_picture
from colondepth.reconstruction.triangle_files import Triangles, write_triangles
from synthetic_colons.analytic import Tube, look

SUFFIXES = (".ply", ".obj", ".stl", ".glb")
TUBE = Tube(point_mm=(4, -3, 0), along=(0.1, 0.2, 1), radius_mm=22)


@pytest.fixture(scope="module")
def surface() -> Surface:
    camera = cameras()["omnidirectional"]
    view = look([TUBE], camera, at(1, 2, 3))
    std = torch.full_like(view.depth_mm, 0.07)
    return view_surface(view.image, view.depth_mm, camera, log_depth_std=std)


def plain(surface: Surface) -> Surface:
    return Surface(vertices_mm=surface.vertices_mm, faces=surface.faces)


def as_read(path: Path) -> trimesh.Trimesh:
    return trimesh.load(path, process=False, force="mesh")


def test_ply_gives_back_all_that_was_known(surface, tmp_path):
    write_surface(surface, tmp_path / "a" / "wall.ply")
    read = read_surface(tmp_path / "a" / "wall.ply")
    for name in ("vertices_mm", "faces", "std_mm", "seen"):
        torch.testing.assert_close(getattr(read, name), getattr(surface, name), rtol=0, atol=0)
    assert (read.colours - surface.colours).abs().max() <= 0.5 / 255 + 1e-6
    write_surface(read, tmp_path / "again.ply")
    assert (tmp_path / "again.ply").read_bytes() == (tmp_path / "a" / "wall.ply").read_bytes()


def test_what_is_not_known_is_still_not_known(surface, tmp_path):
    write_surface(plain(surface), tmp_path / "wall.ply")
    read = read_surface(tmp_path / "wall.ply")
    assert read.colours is read.std_mm is read.seen is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_trimesh_reads_the_same_triangles(surface, suffix, tmp_path):
    path = tmp_path / f"wall{suffix}"
    write_surface(surface, path)
    read = as_read(path)
    points = np.asarray(read.vertices)
    if suffix == ".glb":  # metres, y up, z towards the viewer
        points = points * (1000, -1000, -1000)
    wanted = surface.vertices_mm[surface.faces].numpy()
    np.testing.assert_allclose(points[read.faces], wanted, atol=1e-4)


def test_trimesh_reads_the_colours(surface, tmp_path):
    wanted = np.rint(surface.colours.numpy() * 255)
    for suffix in (".ply", ".obj"):
        write_surface(surface, tmp_path / f"wall{suffix}")
        read = as_read(tmp_path / f"wall{suffix}").visual.vertex_colors[:, :3]
        assert np.abs(read - wanted).max() <= 1


def test_the_colours_of_a_glb_are_in_proportion_to_light(tmp_path):
    import pyvista

    grey = torch.tensor([[0.0, 0.02, 0.25], [0.5, 0.75, 1.0], [0.1, 0.9, 0.4]])
    square = Surface(vertices_mm=torch.eye(3), faces=torch.tensor([[0, 1, 2]]), colours=grey)
    write_surface(square, tmp_path / "wall.glb")
    read = pyvista.read(tmp_path / "wall.glb").combine().point_data["COLOR_0"]
    # From tables of sRGB (IEC 61966-2-1), not from the formula.
    wanted = [[0, 0.00155, 0.0509], [0.2140, 0.5225, 1], [0.0100, 0.7874, 0.1329]]
    np.testing.assert_allclose(read, wanted, atol=1e-4)


def test_trimesh_reads_how_sure_a_ply_is(surface, tmp_path):
    write_surface(surface, tmp_path / "wall.ply")
    held = as_read(tmp_path / "wall.ply").metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(held["std_mm"].ravel(), surface.std_mm.numpy())
    np.testing.assert_array_equal(held["seen"].ravel(), surface.seen.numpy())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("coloured", [True, False])
def test_pyvista_reads_the_same_area(surface, suffix, coloured, tmp_path):
    import pyvista

    write_surface(surface if coloured else plain(surface), tmp_path / f"wall{suffix}")
    read = pyvista.read(tmp_path / f"wall{suffix}")
    if isinstance(read, pyvista.MultiBlock):
        read = read.combine().extract_surface(algorithm="dataset_surface")
    scale = 1e-6 if suffix == ".glb" else 1.0
    assert read.n_cells == len(surface.faces)
    assert read.area == pytest.approx(scale * float(surface.areas_mm2().double().sum()), rel=1e-5)


def test_a_glb_is_laid_out_as_the_standard_says(surface, tmp_path):
    write_surface(surface, tmp_path / "wall.glb")
    held = (tmp_path / "wall.glb").read_bytes()
    magic, version, total, length, kind = np.frombuffer(held, "<u4", 5)
    assert (bytes(held[:4]), version, total) == (b"glTF", 2, len(held))
    assert (held[16:20], length % 4, magic) == (b"JSON", 0, int.from_bytes(b"glTF", "little"))
    assert kind == int.from_bytes(b"JSON", "little")
    content = json.loads(held[20 : 20 + length])
    rest, binary = np.frombuffer(held, "<u4", 2, offset=20 + length)
    assert (binary, rest) == (0x004E4942, content["buffers"][0]["byteLength"])
    assert len(held) == 28 + length + rest
    assert all(view["byteOffset"] % 4 == 0 for view in content["bufferViews"])
    place = content["accessors"][0]
    assert place["min"] == surface.vertices_mm.amin(dim=0).tolist()
    assert place["max"] == surface.vertices_mm.amax(dim=0).tolist()
    assert [each["count"] for each in content["accessors"]] == [
        len(surface.vertices_mm),
        len(surface.vertices_mm),
        3 * len(surface.faces),
    ]


def test_a_ply_of_another_program_is_read(tmp_path):
    box = trimesh.creation.box(extents=(1, 2, 3))
    box.visual.vertex_colors = [[10, 20, 30, 255]] * 8
    box.export(tmp_path / "box.ply")
    read = read_surface(tmp_path / "box.ply")
    assert float(read.areas_mm2().sum()) == pytest.approx(22)
    assert read.colours[3].tolist() == pytest.approx([10 / 255, 20 / 255, 30 / 255])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_not_finished_leaves_the_old_one(surface, suffix, tmp_path, monkeypatch):
    path = tmp_path / f"wall{suffix}"
    path.write_bytes(b"old")
    whole = triangle_files._WRITERS[suffix]

    def stopped(triangles, file):
        whole(triangles, file)
        raise OSError("no space left")

    monkeypatch.setitem(triangle_files._WRITERS, suffix, stopped)
    with pytest.raises(OSError, match="no space left"):
        write_surface(surface, path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faces": np.zeros((0, 3), int)}, r"3 vertices and no triangle"),
        ({"faces": np.array([[0, 1, 3]])}, r"faces name vertices 0 to 3, expected 0 to 2"),
        ({"faces": np.array([[0, 1, -1]])}, r"faces name vertices -1 to 1, expected 0 to 2"),
        ({"vertices_mm": np.full((3, 3), np.nan)}, r"9 of 9 vertices are NaN or infinite"),
        ({"colours": np.full((3, 3), np.inf)}, r"9 of 9 colours are NaN or infinite"),
        ({"colours": np.zeros((2, 3))}, r"2 colours of 3 vertices"),
        ({"known": {"std_mm": np.full(3, np.nan)}}, r"3 of 3 std_mm are NaN"),
    ],
)
def test_no_file_is_made_of_what_is_no_surface(change, message, suffix, tmp_path):
    sound = {"vertices_mm": np.eye(3, dtype=np.float32), "faces": np.array([[0, 1, 2]])}
    with pytest.raises(DataError, match=message):
        write_triangles(Triangles(**(sound | change)), tmp_path / f"wall{suffix}")
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_format_are_refused(surface, tmp_path):
    with pytest.raises(DataError, match=r"ends in '\.vtp'; expected one of \.ply, \.obj"):
        write_surface(surface, tmp_path / "wall.vtp")
    with pytest.raises(DataError, match=r"read from \.ply alone"):
        read_surface(tmp_path / "wall.obj")
    with pytest.raises(DataError, match=r"cannot read .*none\.ply: No such file"):
        read_surface(tmp_path / "none.ply")


def damaged() -> Iterator[tuple[str, bytes, bytes, str]]:
    yield "ascii", b"binary_little_endian", b"ascii", "no binary little-endian PLY"
    yield "no x", b"float x", b"float w", "expected vertices with x, y, z"
    yield "type", b"float x", b"quad x", "type 'quad', which does not exist"
    yield "line", b"property int seen", b"proverb int seen", "'proverb int seen'"
    yield "order", b"element vertex", b"element face", "expected vertices|is not understood"
    yield "count", b"\x03\x00\x00\x00\x00", b"\x04\x00\x00\x00\x00", "no triangles"


@pytest.mark.parametrize(
    ("old", "new", "message"), [each[1:] for each in damaged()], ids=[each[0] for each in damaged()]
)
def test_a_damaged_ply_is_one_clear_error(old, new, message, tmp_path):
    path = tmp_path / "wall.ply"
    three = torch.arange(9.0).reshape(3, 3) / 7
    seen = torch.tensor([7, 8, 9])
    write_surface(Surface(vertices_mm=three, faces=torch.tensor([[0, 1, 2]]), seen=seen), path)
    held = path.read_bytes()
    assert old in held
    path.write_bytes(held.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_surface(path)


def test_a_ply_that_is_cut_off_or_goes_on_is_refused(surface, tmp_path):
    path = tmp_path / "wall.ply"
    write_surface(surface, path)
    held = path.read_bytes()
    path.write_bytes(held[:-1])
    with pytest.raises(DataError, match="it is cut off"):
        read_surface(path)
    path.write_bytes(held + b"\n")
    with pytest.raises(DataError, match="goes on behind its last face"):
        read_surface(path)


def test_a_picture_shows_all_of_the_surface_in_its_colours():
    corners = torch.tensor([[-5.0, -5, 0], [5, -5, 0], [5, 5, 0], [-5, 5, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    colours = torch.tensor([[0.2, 0.6, 0.4]]).expand(4, 3)
    square = Surface(vertices_mm=corners, faces=faces, colours=colours)
    picture = surface_picture(square, height=60, width=90, direction=(0, 0, -2))
    assert picture.shape == (60, 90, 3)
    green = np.abs(picture.astype(int) - (51, 153, 102)).max(axis=-1) <= 2
    rows, columns = green.any(axis=1).nonzero()[0], green.any(axis=0).nonzero()[0]
    assert (rows[0], rows[-1]) == pytest.approx((3, 56), abs=1)  # 1.1 times as high as the square
    assert (columns[0], columns[-1]) == pytest.approx((18, 71), abs=1)
    assert green.sum() == pytest.approx(len(rows) * len(columns), rel=0.02)
    assert (picture[~green] > 240).mean() > 0.9
    assert surface_picture(square, height=6, width=9, direction=(0, 1, 0)).shape == (6, 9, 3)


def test_up_in_a_picture_is_up_for_the_camera():
    corners = torch.tensor([[-5.0, -5, 0], [5, -5, 0], [5, 5, 0], [-5, 5, 0]])
    bright = torch.tensor([1.0, 0.5, 0, 0])[:, None].expand(4, 3)  # top left, top right, the rest
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    square = Surface(vertices_mm=corners, faces=faces, colours=bright)
    picture = surface_picture(square, height=60, width=60, direction=(0, 0, -1))[..., 0]
    assert picture[8, 8] > 180
    assert 100 < picture[8, 51] < 180
    assert picture[51, 51] < 60


def test_no_picture_is_made_of_nothing_or_from_nowhere(surface, monkeypatch):
    nothing = Surface(vertices_mm=torch.zeros(0, 3), faces=torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(DataError, match="no triangle"):
        surface_picture(nothing)
    with pytest.raises(DataError, match="three numbers that are not all 0"):
        surface_picture(surface, direction=(0, 0, 0))
    with pytest.raises(DataError, match="0x640 pixels"):
        surface_picture(surface, height=0)
    assert not hasattr(surface_pictures, "pyvista")
    monkeypatch.setitem(__import__("sys").modules, "pyvista", None)
    with pytest.raises(MissingExtraError, match="pip install pyvista"):
        surface_picture(surface)
