import json

import av
import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from colondepth.commands.reconstruct import reconstruct
from colondepth.errors import DataError
from colondepth.films import film
from colondepth.reconstruction.polyp_tracks import PolypTracks
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.surface_files import read_surface, write_surface
from synthetic_colons.clip_files import ClipOrder, Layout, write_clip
from synthetic_colons.clips import SyntheticClip
from synthetic_colons.colon_mesh import colon_mesh


def run(*arguments):
    app = typer.Typer()
    app.command()(reconstruct)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    order = ClipOrder(
        level="3",
        seed=22,
        number=0,
        frames=14,
        height=64,
        width=80,
        frames_per_s=2.0,
        layout=Layout.C3VD,
        mesh=False,
    )
    return write_clip(order, tmp_path_factory.mktemp("clips"), device="cpu")


@pytest.fixture(scope="module")
def done(clip, tmp_path_factory):
    out = tmp_path_factory.mktemp("wall") / "out"
    result = run(clip, "--out", out, "--depth", "data", "--no-fly")
    assert result.exit_code == 0, result.output
    return out, result


def test_a_clip_becomes_a_folder_that_explains_itself(done):
    out, result = done
    assert "14 of 14 frames" in result.output
    names = {path.name for path in out.iterdir()}
    assert {"index.html", "viewer.html", "wall.ply", "wall.glb", "wall.stl", "wall.obj"} <= names
    assert {"README.txt", "trajectory.txt", "motion.json", "outside.png"} <= names
    wall = read_surface(out / "wall.ply")
    assert len(wall.faces) > 1000
    assert int(wall.seen.max()) > 3
    words = (out / "README.txt").read_text()
    assert "not for diagnosis" in words
    for name in names - {"README.txt"}:
        assert name in words, name
    page = (out / "index.html").read_text()
    assert "http:" not in page
    assert "https:" not in page
    json.loads((out / "motion.json").read_text())


def test_the_same_command_goes_on_and_another_is_refused(done, clip):
    out, _ = done
    before = (out / "motion.json").stat().st_mtime_ns
    again = run(clip, "--out", out, "--depth", "data", "--no-fly")
    assert again.exit_code == 0
    assert (out / "motion.json").stat().st_mtime_ns == before
    other = run(clip, "--out", out, "--depth", "data", "--no-fly", "--voxel-mm", 2)
    assert isinstance(other.exception, DataError)
    assert "voxel (mm) 1.0, not 2.0" in str(other.exception)


def test_a_single_image_gives_the_wall_of_its_view(clip, tmp_path):
    picture = next(iter(sorted(clip.glob("*_color.png"))))
    one = tmp_path / "one.png"
    with Image.open(picture) as image:
        image.resize((160, 128)).save(one)
    result = run(one, "--out", tmp_path / "out", "--backbone", "sfsnet_lite", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output[result.output.index("{") :])
    assert answer["frames"] == 1
    assert any("no coverage" in note for note in answer["notes"])
    assert any("camera is a guess" in note for note in answer["notes"])
    assert len(read_surface(tmp_path / "out" / "wall.ply").faces) > 5000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--motion", "magic"), "--motion is 'magic'"),
        (("--depth", "none"), "--depth is 'none'"),
        (("--trajectory", "/nowhere.txt"), "does not exist"),
        (("--motion", "data", "--trajectory", "x"), "stands beside"),
    ],
)
def test_wrong_options_are_answered_in_a_sentence(clip, tmp_path, options, words):
    result = run(clip, "--out", tmp_path / "out", *options)
    assert result.exit_code != 0
    assert isinstance(result.exception, DataError)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_known_mesh_is_asked_what_was_seen_of_it(clip, tmp_path):
    """Whichever way its triangles turn; what the wall of the depth says agrees."""
    made = SyntheticClip("3", seed=22, frames=14, height=64, width=80, frames_per_s=2)
    mesh = colon_mesh(made.colon, along_mm=1.0, around=128)
    shares = []
    for name, faces in (("in", mesh.faces), ("out", mesh.faces.flip(-1))):
        path = tmp_path / f"{name}.obj"
        write_surface(Surface(vertices_mm=mesh.vertices.float(), faces=faces), path)
        out = tmp_path / name
        options = ("--depth", "data", "--no-fly", "--mesh", path, "--json")
        result = run(clip, "--out", out, *options)
        assert result.exit_code == 0, result.output
        answer = json.loads(result.output[result.output.index("{") :])
        shares.append(answer["known_seen_share"])
        assert abs(answer["known_seen_share"] - answer["seen_share"]) < 0.1  # few, coarse frames
        assert "coverage_known.json" in (out / "README.txt").read_text()
    assert shares[0] == shares[1]


def test_a_mesh_without_poses_in_its_frame_or_in_metres_is_refused(clip, tmp_path):
    made = SyntheticClip("3", seed=22, frames=14, height=64, width=80, frames_per_s=2)
    mesh = colon_mesh(made.colon, along_mm=2.0, around=64)
    for name, factor in (("mm", 1.0), ("m", 1e-3)):
        surface = Surface(vertices_mm=mesh.vertices.float() * factor, faces=mesh.faces)
        write_surface(surface, tmp_path / f"{name}.ply")
    options = ("--depth", "data", "--no-fly", "--mesh")
    lost = run(clip, "--out", tmp_path / "a", *options, tmp_path / "mm.ply", "--motion", "sfm")
    assert "--mesh needs poses" in str(lost.exception)
    small = run(clip, "--out", tmp_path / "b", *options, tmp_path / "m.ply")
    assert "both in millimetres" in str(small.exception)


def test_what_colmap_cannot_place_is_said_and_the_rest_goes_on(clip, tmp_path):
    """A level 3 wall has no mark that a feature could be."""
    pytest.importorskip("pycolmap")
    out = tmp_path / "out"
    result = run(clip, "--out", out, "--depth", "data", "--no-fly", "--motion", "sfm")
    assert result.exit_code == 0, result.output
    assert "could not place any of 14 frames" in result.output
    assert "no wall" in result.output
    assert "COLMAP's models" in (out / "README.txt").read_text()
    again = run(clip, "--out", out, "--depth", "data", "--no-fly", "--motion", "sfm")
    assert "could not place any of 14 frames" in again.output


def test_a_folder_of_other_things_is_left_alone(clip, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    result = run(clip, "--out", tmp_path, "--depth", "data")
    assert "thesis.txt" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_frames_of_one_polyp_are_put_together(clip):
    made = SyntheticClip("3", seed=22, frames=14, height=64, width=80, frames_per_s=2)
    tracks = PolypTracks(made.camera)
    view = made[3].view
    polyp = torch.zeros(1, 64, 80, dtype=torch.bool)
    polyp[..., 20:32, 30:44] = True
    for name in ("a", "b"):
        tracks.add(name, view["depth_mm"], polyp, world_from_camera=view["world_from_camera"])
    far = view["world_from_camera"].clone()
    far[:3, 3] += 100
    tracks.add("c", view["depth_mm"], polyp, world_from_camera=far)
    assert [track.frames for track in tracks.tracks] == [["a", "b"], ["c"]]
    both = polyp.clone()
    both[..., 50:60, 60:70] = True
    assert len(tracks.add("d", view["depth_mm"], both)) == 2
    json.dumps([track.table() for track in tracks.tracks])


def test_a_film_has_its_pictures_and_times(tmp_path):
    with film(tmp_path / "f.mp4", height=33, width=41) as add:
        for k in range(5):
            add(torch.full((3, 33, 41), k / 5), k / 10)
    with av.open(str(tmp_path / "f.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [(f.height, f.width) for f in frames] == [(32, 40)] * 5
    assert np.allclose([f.time for f in frames], [0, 0.1, 0.2, 0.3, 0.4], atol=1e-3)
    levels = [f.to_ndarray(format="rgb24").mean() for f in frames]
    assert levels == sorted(levels)
