"""Clips as folders: read back as they were rendered, gone on with, refused in one line."""

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from colondepth import cli
from colondepth.cameras import from_file
from colondepth.data import open_clips
from colondepth.errors import DataError
from colondepth.geometry import unproject
from colondepth.images import read_image
from colondepth.trajectories import TrajectoryForm, read_trajectory
from synthetic_colons import clip_files, looks
from synthetic_colons.camera_path import follow
from synthetic_colons.clip_files import ClipOrder, Layout, is_written, read_colon, write_clip
from synthetic_colons.clip_truth import ClipTruth
from synthetic_colons.clips import SyntheticClip
from synthetic_colons.colon import build_colon
from synthetic_colons.draw_json import from_json, to_json
from synthetic_colons.gallery import gallery
from synthetic_colons.ground_truth import Coverage, facing
from synthetic_colons.levels import level
from synthetic_colons.path_moves import PathDraw

H, W, FRAMES = 32, 40, 3
C3VD = ClipOrder(
    level="5",
    seed=1,
    number=0,
    frames=FRAMES,
    height=H,
    width=W,
    frames_per_s=30.0,
    layout=Layout.C3VD,
    mesh=True,
)
RUANO = replace(C3VD, level="6", number=1, layout=Layout.RUANO, mesh=False)
SMALL = ("--level", "1", "--clips", "2", "--frames", "2", "--size", f"{H}x{W}", "--no-mesh")
Usage = namedtuple("Usage", "total used free")


@cache
def rendered(order: ClipOrder) -> SyntheticClip:
    """Make the clip without files; what it keeps must not be changed."""
    return SyntheticClip(
        order.level,
        seed=order.seed,
        number=order.number,
        frames=order.frames,
        height=order.height,
        width=order.width,
    )


@pytest.fixture(scope="module")
def c3vd(tmp_path_factory) -> Path:
    return write_clip(C3VD, tmp_path_factory.mktemp("c3vd"))


@pytest.fixture(scope="module")
def ruano(tmp_path_factory) -> Path:
    return write_clip(RUANO, tmp_path_factory.mktemp("ruano"))


def ended(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["colondepth", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def parameters(folder: Path) -> dict:
    return json.loads((folder / "parameters.json").read_text())


def test_c3vd_files_read_back_as_what_was_rendered(c3vd):
    reading = open_clips(c3vd.parent)
    (clip,) = reading.clips
    assert (reading.dataset, clip.name, len(clip)) == ("c3vd", c3vd.name, FRAMES)
    assert not reading.warnings
    for view, frame in zip(clip, rendered(C3VD), strict=True):
        own = frame.view
        near = own["depth_mm"] < 99.9
        step = 100 / 65535
        assert (view["depth_mm"] - own["depth_mm"]).abs()[near].max() <= 0.51 * step
        assert (view["depth_mm"][own["depth_mm"] > 100] == 0).all()
        assert (view["image"] - own["image"]).abs().max() <= 0.51 / 255
        assert_close(view["world_from_camera"], own["world_from_camera"], atol=1e-6, rtol=0)
        assert_close(view["normals"], own["normals"], atol=1e-4, rtol=0)
        if frame.flow_to_previous_px is not None:
            known = view["flow_to_previous_known"]
            assert known.float().mean() > 0.3
            assert (known <= frame.flow_to_previous_known).all()
            off = (view["flow_to_previous_px"] - frame.flow_to_previous_px).abs()
            assert off[known.expand(2, -1, -1)].max() < 1e-3
        else:
            assert not view["flow_to_previous_known"].any()


def test_check_data_calls_a_written_clip_sound(c3vd, monkeypatch, tmp_path, capsys):
    code = ended(monkeypatch, "check-data", str(c3vd), "--out", str(tmp_path), "--json")
    assert code == 0, capsys.readouterr().out


def test_ruano_files_read_back_as_what_was_rendered(ruano):
    clip = rendered(RUANO)
    reading = open_clips(ruano, camera=from_file(ruano / "camera.json"))
    assert reading.dataset == "ruano"
    step = 250 / 255
    for view, frame in zip(reading.clips[0], clip, strict=True):
        assert (view["distance_mm"] - frame.view["distance_mm"]).abs().max() <= 1.51 * step
        assert (view["image"] - frame.view["image"]).abs().mean() < 3 / 255
        assert torch.equal(view["polyp"], frame.view["polyp"])
    way = read_trajectory(ruano / "trajectory.txt", form=TrajectoryForm.TUM, mm_per_unit=1)
    assert_close(way.world_from_camera, clip.path.world_from_camera, atol=1e-6, rtol=0)
    assert_close(way.time_s, clip.path.times_s, atol=1e-9, rtol=0)


def test_ruanos_layout_calls_unknown_what_it_cannot_reach(monkeypatch, tmp_path):
    order = replace(RUANO, level="1", frames=1)
    far = rendered.__wrapped__(order)[0]
    far.view["distance_mm"][0, 3, 5] = 300
    monkeypatch.setattr(SyntheticClip, "_frame", lambda clip, index: far)
    folder = write_clip(order, tmp_path)
    assert open_clips(folder).clips[0][0]["distance_mm"][0, 3, 5] < 2 * 250 / 255


def test_parameters_make_the_same_colon_and_the_same_path_again(c3vd):
    clip = rendered(C3VD)
    draw = read_colon(c3vd)
    assert draw == clip.colon.draw
    assert torch.equal(build_colon(draw).wall.radius_mm, clip.colon.wall.radius_mm)
    written = parameters(c3vd)
    path = from_json(PathDraw, written["path"])
    again = follow(path, clip.colon, frames=FRAMES, frames_per_s=30.0)
    assert torch.equal(again.world_from_camera, clip.path.world_from_camera)


@pytest.mark.parametrize("order", [C3VD, RUANO], ids=lambda order: order.layout)
def test_parameters_hold_all_that_the_clip_was_made_of(order, c3vd, ruano, monkeypatch):
    drawn = []
    own = looks.draw_tissue
    keep = lambda *given: drawn.append(own(*given)) or drawn[-1]  # noqa: E731
    monkeypatch.setattr(looks, "draw_tissue", keep)
    clip = rendered.__wrapped__(order)
    written = parameters(c3vd if order is C3VD else ruano)
    assert written["tissue"] == json.loads(json.dumps(to_json(drawn[0])))
    assert written["level"] == to_json(level(order.level))
    assert written["camera"]["fx"] == float(clip.camera.linear[0, 0])
    assert written["asked"] == to_json(order)
    assert written["made_with"].keys() >= {"colondepth", "commit", "torch", "device"}
    lamps = clip.lamps.numbers[0]
    assert len(written["lamps"]) == int((lamps[:, 6:9] > 0).any(dim=1).sum())
    for lamp, numbers in zip(written["lamps"], lamps, strict=False):
        assert [*lamp["place_mm"], *lamp["axis"], *lamp["power_rgb"]] == numbers[:9].tolist()
    if order is C3VD:
        assert written["sensor"] is None
    else:
        made = to_json(clip._sensor.clip)
        assert written["sensor"] == json.loads(json.dumps(made))
        assert written["sensor"]["meter_weight"] == {"map": [1, 1, H, W]}


def test_polyps_are_counted_where_they_are_seen():
    # A frame of level 5 with a polyp in view is rare; labels are put on one instead.
    clip = rendered.__wrapped__(C3VD)
    truth = ClipTruth(clip)
    polyps = clip.colon.draw.polyps
    for number, frame in enumerate(clip):
        frame.rendering.label.zero_()
        frame.rendering.label[..., 4 : 6 + number, 3:10] = 2  # valid rows
        frame.rendering.label[..., 20, 3:10] = 201  # the valve is no polyp
        truth.add(number, frame)
    found = truth.polyps()
    assert len(found) == len(polyps)
    assert found[1]["seen"] == [{"frame": k, "pixels": (2 + k) * 7} for k in range(FRAMES)]
    assert found[0]["seen"] == []
    assert found[1]["label"] == 2
    assert found[1]["size_mm"] == polyps[1].size_mm
    assert found[1]["segment"] == clip.colon.segment_name(polyps[1].arc_mm)
    with pytest.raises(DataError, match="frame 7 comes after 3"):
        truth.add(7, clip[0])


def test_coverage_is_the_share_that_ground_truth_counts(c3vd):
    clip = rendered(C3VD)
    rays = clip.camera.rays(H, W)
    written = json.loads((c3vd / "coverage.json").read_text())
    for name in ("passed", "looked_at"):
        low, high = written[name]["stretch_mm"]
        own = Coverage(clip.colon, (low, high))
        truth = [own.add(f.rendering, facing(f.rendering, rays)) for f in clip]
        assert_close(written[name]["seen_share"], truth, atol=1e-5, rtol=0)
        assert_close(written[name]["area_mm2"], float(own.area_mm2.sum()), rtol=1e-4, atol=0)
    assert 0.05 < written["looked_at"]["seen_share"][-1] < 1
    assert written["segment"] == [frame.segment for frame in clip]


def test_the_mesh_is_the_wall_that_the_frames_show(c3vd):
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.load(c3vd / "mesh.ply", process=False)
    view = rendered(C3VD)[1].view
    own = unproject(view["depth_mm"].double(), view["camera"].to(torch.zeros(()).double()))
    pose = view["world_from_camera"].double()
    seen = own.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
    vertices = torch.from_numpy(np.asarray(mesh.vertices))
    away = torch.stack([(vertices - point).norm(dim=1).min() for point in seen[::7]])
    assert away.median() < 0.4  # half a cell of the mesh
    assert away.max() < 1.0


def test_a_folder_explains_itself(c3vd, ruano):
    for folder in (c3vd, ruano):
        text = (folder / "README.txt").read_text()
        patterns = {path.name.lstrip("0123456789") for path in folder.rglob("*") if path.is_file()}
        for name in patterns - {"README.txt", ".jpg"}:
            assert name in text, name
        assert "left out" in text
        assert max(map(len, text.splitlines())) <= 100
    assert "mesh.ply" not in (ruano / "README.txt").read_text()


def test_a_killed_run_goes_on_where_it_was(monkeypatch, capsys, tmp_path):
    own = clip_files._write

    def killed(order, folder, *rest) -> None:
        own(order, folder, *rest)
        if order.number == 1:
            raise KeyboardInterrupt

    command = ("synth", *SMALL, "--out", str(tmp_path / "out"))
    with monkeypatch.context() as patch:
        patch.setattr(clip_files, "_write", killed)
        assert ended(patch, *command) == 130
    assert "goes on with level1_seed1_clip1" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["level1_seed1_clip0"]
    first = tmp_path / "out/level1_seed1_clip0/parameters.json"
    before = first.stat().st_mtime_ns
    torn = tmp_path / "out/.level1_seed1_clip1.unfinished"  # what a power cut leaves
    torn.mkdir()
    (torn / "0000_color.png").write_bytes(b"half")
    assert ended(monkeypatch, *command) == 0
    assert "1 of them were there" in capsys.readouterr().out
    assert first.stat().st_mtime_ns == before
    assert not torn.exists()
    assert len(open_clips(tmp_path / "out").clips) == 2
    assert ended(monkeypatch, *command, "--json") == 0
    assert json.loads(capsys.readouterr().out)["were_there"] == 2


def test_other_clips_and_other_peoples_folders_are_not_overwritten(c3vd, tmp_path):
    assert is_written(C3VD, c3vd.parent)
    with pytest.raises(DataError, match="was made with frames 3, now 9; nothing is overwritten"):
        is_written(replace(C3VD, frames=9), c3vd.parent)
    foreign = tmp_path / C3VD.name
    foreign.mkdir()
    assert not is_written(C3VD, tmp_path)
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="has no parameters"):
        is_written(C3VD, tmp_path)
    with pytest.raises(DataError, match="cannot write"):
        write_clip(replace(C3VD, level="1", frames=1, mesh=False, seed=1), foreign / "notes.txt")
    for text in ("{", "[]"):
        (foreign / "parameters.json").write_text(text)
        with pytest.raises(DataError, match=r"parameters\.json"):
            is_written(C3VD, tmp_path)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10**9, 10**9, 1000))
    folder = tmp_path / "deep/out"
    assert ended(monkeypatch, "synth", "--level", "5", "--out", str(folder)) == 2
    text = capsys.readouterr().err
    assert "0.00 GB free" in text
    assert f"needs up to {(4 * (200 * 256 * 320 * 18 + 300_000 + 45_000_000)) / 1e9:.2f}" in text
    assert not folder.exists()


def test_what_is_needed_is_more_than_what_is_written(c3vd, ruano):
    for order, folder in ((C3VD, c3vd), (RUANO, ruano)):
        written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert written < clip_files._bytes(order)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--level", "5"], "--out is missing"),
        (["--out", "x"], "--level is missing"),
        (["--level", "7", "--out", "x"], "no level is called '7'"),
        (["--level", "5", "--out", "x", "--size", "256"], "expected HEIGHTxWIDTH"),
        (["--level", "5", "--out", "x", "--size", "4x90"], "16 pixels or more"),
        (["--level", "5", "--out", "x", "--clips", "-1"], "--clips"),
        (["--level", "5", "--out", "x", "--frames", "0"], "--frames"),
        (["--level", "5", "--out", "x", "--layout", "kitti"], "kitti"),
        (["--level", "5", "--out", "x", "--device", "abacus"], "--device abacus"),
        (["--level", "5", "--out", __file__], "is a file, expected a folder"),
        (["--level", "5", "gallery"], "--level stands before gallery"),
        (["gallery", "--out", "sheet.txt"], "expected an image file"),
        (["gallery", "--levels", "1,9"], "no level is called '9'"),
        (["mesh", "--level", "5", "--out", "colon.xyz"], "expected a file in .ply, .obj, .stl"),
        (["mesh", "--level", "5", "--out", "a.ply", "--stretch", "5"], "expected FROM:TO"),
        (["mesh", "--level", "5", "--out", "a.ply", "--stretch", "9:2"], "no stretch from 9"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    arguments, message, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert ended(monkeypatch, "synth", *arguments) == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    assert message in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_gallery_shows_each_level_in_a_row_beside_its_depth(monkeypatch, tmp_path, capsys):
    path = tmp_path / "sheet.png"
    options = ("--levels", "1,2", "--columns", "1", "--size", f"{H}x{W}", "--seed", "2")
    assert ended(monkeypatch, "synth", "gallery", "--out", str(path), *options) == 0
    assert "2 levels" in capsys.readouterr().out
    sheet = read_image(path)
    rows, columns = sheet.shape[-2:]
    assert rows > 2 * H
    assert columns > 2 * W
    clip = SyntheticClip("2", seed=2, frames=90, height=H, width=W)
    assert _holds(sheet, clip[45].view["image"])
    assert not _holds(sheet, 1 - clip[45].view["image"])
    with pytest.raises(DataError, match="0 levels by 2 columns"):
        gallery([], columns=2, height=H, width=W, seed=1)


def test_a_mesh_is_written_for_a_stretch(monkeypatch, tmp_path, capsys):
    trimesh = pytest.importorskip("trimesh")
    path = tmp_path / "colon.ply"
    arguments = ("--level", "2", "--seed", "3", "--clip", "1", "--stretch", "200:210")
    assert ended(monkeypatch, "synth", "mesh", "--out", str(path), *arguments) == 0
    faces = len(trimesh.load(path, process=False).faces)
    assert f"{faces} triangles" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["synth"], ["synth", "gallery"], ["synth", "mesh"]])
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys; from colondepth import cli\n"
        f"sys.argv = ['colondepth', *{command!r}, '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print([n for n in ('torch', 'numpy', 'matplotlib') if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert "Usage" in done.stdout


def _holds(sheet: Tensor, picture: Tensor) -> bool:
    """Look for a picture (3, H, W) anywhere in a sheet."""
    height, width = picture.shape[-2:]
    corner = sheet[:, : 1 - height, : 1 - width] - picture[:, :1, :1]
    return any(
        (sheet[:, v : v + height, u : u + width] - picture).abs().max() < 0.01
        for v, u in (corner.abs().amax(dim=0) < 0.01).nonzero().tolist()
    )
