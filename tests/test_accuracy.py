"""The renderer agrees with Embree, and the benchmark that says so would say it if it did not."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from straight_colon import inside_tube, tube
from torch import Tensor
from torch.testing import assert_close

from colondepth import cli
from colondepth.errors import DataError, MissingExtraError
from colondepth.motion import rigid_motion, so3_exp
from synthetic_colons import accuracy, accuracy_poses, bench_accuracy
from synthetic_colons.accuracy import (
    AccuracySettings,
    angle_deg,
    by_kind,
    compared,
    figures,
    measure,
    quantile,
    silhouettes,
)
from synthetic_colons.accuracy_poses import PoseKind, check_poses, edge_on
from synthetic_colons.clips import draw_level_colon
from synthetic_colons.colon_mesh import ColonMesh, colon_mesh
from synthetic_colons.levels import level
from synthetic_colons.mesh_hits import first_crossing_mm, mesh_hits

# The wall's radius bends towards a floor far below it: it is 20 mm and a little more.
RADIUS_MM = float(tube().wall.radius_mm[300].double().mean())
H, W = 30, 38
SMALL = AccuracySettings(
    levels=("3",), frames=3, seed=4, height=H, width=W, along_mm=0.35, around=360
)
COARSE = {"along_mm": 0.7, "around": 180}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Mesh less, search less, and draw shorter clips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "REACH_MM", 60.0)
        patch.setattr(accuracy, "LOOKED_INTO", 20)
        patch.setattr(accuracy_poses, "CLIP_FRAMES", 40)
        yield


def ended(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["colondepth", "bench", "accuracy", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def tube_rays(count: int) -> Tensor:
    """Unit rays (R, 3) ahead, none along the axis; seeded."""
    generator = torch.Generator().manual_seed(3)
    aside = 0.3 + 1.2 * torch.rand(count, generator=generator)
    turn = math.tau * torch.rand(count, generator=generator)
    rays = torch.stack([aside * turn.cos(), aside * turn.sin(), torch.ones(count)], dim=-1)
    return torch.nn.functional.normalize(rays, dim=-1)


def tube_truth(pose: Tensor, rays: Tensor, shift_mm: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Distances (R,) to a round tube and its normals (R, 3) in the camera's frame, closed form."""
    _, frame = tube().line.at(torch.tensor(150.0))
    turn = frame.double().T @ pose[:3, :3]  # tube from camera
    own = rays.double() @ turn.T
    x, y = shift_mm
    a = own[:, 0] ** 2 + own[:, 1] ** 2
    b = own[:, 0] * x + own[:, 1] * y
    c = x * x + y * y - RADIUS_MM**2
    distance = (-b + (b * b - a * c).sqrt()) / a
    across = torch.tensor([x, y]).double() + distance[:, None] * own[:, :2]
    inwards = torch.cat([-across / RADIUS_MM, torch.zeros(len(rays), 1).double()], dim=-1)
    return distance, inwards @ turn


@pytest.mark.parametrize("name", ["3", "5"])
def test_a_level_agrees_with_embree(name):
    pytest.importorskip("embreex")
    told = []
    (found,) = measure(replace(SMALL, levels=(name,)), tick=told.append)["levels"]
    assert told == [name] * 3
    assert found["holds"]
    assert found["kinds"].keys() == {"clip", "view", "fold"}
    assert found["given_up"] == found["not_met"] == 0
    assert found["beyond_share"] < 0.2
    assert found["normals"]["smooth"]["median_deg"] < found["normals"]["facet"]["median_deg"] < 1
    own = found["against_the_field"]
    assert own["pixels"] == 60
    assert own["renderer_median"] < 1e-5 < own["mesh_median"]


@pytest.fixture(scope="module")
def pose():
    pytest.importorskip("embreex")
    return next(check_poses("1", seed=2, frames=1, height=H, width=W))


@pytest.fixture(scope="module")
def good(pose):
    return compared(pose, **COARSE)


def test_what_is_wrong_with_a_rendering_is_found_and_not_blamed_on_the_mesh(
    pose, good, monkeypatch
):
    generator = torch.Generator().manual_seed(6)
    far, lost = torch.rand(2, 1, 1, H, W, generator=generator)
    tilt = so3_exp(torch.tensor([0.0, 0.0, math.radians(3.0)]))

    def off(*arguments, **named):
        own = render(*arguments, **named)
        turned = torch.einsum("ij,bjhw->bihw", tilt, own.normals)
        return replace(
            own,
            distance_mm=own.distance_mm * torch.where(far < 0.25, 1.01, 1.002),
            normals=turned,
            valid=own.valid & (lost > 0.1),
        )

    render = accuracy.render
    monkeypatch.setattr(accuracy, "REACH_MM", 200.0)  # nothing is beyond
    monkeypatch.setattr(accuracy, "render", off)
    found = figures([compared(pose, **COARSE)])
    assert figures([good])["holds"]
    assert not found["holds"]
    wrong = (far < 0.25) | (lost <= 0.1)
    assert found["pixels"] == H * W
    assert found["given_up"] == int((lost <= 0.1).sum())
    assert found["wrong"] == pytest.approx(int(wrong.sum()), abs=12)  # of a coarse mesh
    assert found["share_close"] == pytest.approx(1 - found["wrong"] / (H * W))
    assert found["median"] == pytest.approx(2e-3, rel=0.1)
    assert found["percentile_99"] is None  # one in ten has no answer
    field = found["against_the_field"]
    assert field["renderer_alone_is_off"] == field["wrong_looked_into"] == 20
    assert field["renderer_median"] == pytest.approx(2e-3, rel=0.01)
    # A turn by 3 degrees about z tilts a normal by 3 degrees times its sine to z, or less.
    assert 1 < found["normals"]["smooth"]["median_deg"] < 3.01


def test_where_embree_meets_nothing_the_pixel_is_beyond_the_ends_or_wrong(pose, monkeypatch):
    def holed(*arguments, **named):
        mesh = colon_mesh(*arguments, **named)
        middle = (mesh.arc_mm[mesh.faces].mean(dim=1) / 7).remainder(1)  # holes 7 mm apart
        return replace(mesh, faces=mesh.faces[middle > 0.3])

    def short(colon, *, stretch, **named):
        middle = sum(stretch) / 2
        return colon_mesh(colon, stretch=(middle - 20, middle + 20), **named)

    monkeypatch.setattr(accuracy, "colon_mesh", holed)
    found = figures([compared(pose, **COARSE)])
    assert found["not_met"] > 50
    assert found["wrong"] >= found["not_met"]
    monkeypatch.setattr(accuracy, "colon_mesh", short)
    monkeypatch.setattr(accuracy, "REACH_MM", 20.0)
    found = figures([compared(pose, **COARSE)])
    assert found["beyond_share"] > 0.02
    assert found["not_met"] == 0
    assert found["share_close"] > 0.99


def test_a_level_holds_only_if_each_kind_of_camera_does(good):
    few = slice(0, 5)
    bad = replace(
        good,
        kind="fold",
        error=good.error[few] + 1,
        smooth_deg=good.smooth_deg[few],
        facet_deg=good.facet_deg[few],
        silhouette=good.silhouette[few],
    )
    found = by_kind([good, bad])
    assert found["share_close"] > 0.98
    assert found["share_close_of_worst_frame"] == 0
    assert found["kinds"]["clip"]["holds"]
    assert not found["kinds"]["fold"]["holds"]
    assert not found["holds"]


def test_embree_meets_a_tube_where_it_is():
    pytest.importorskip("embreex")
    shift = (6.0, -3.0)
    turn = so3_exp(torch.tensor([0.1, -0.2, 0.4]))
    pose = inside_tube(arc_mm=150.0, shift_mm=shift, turn=turn)
    mesh = colon_mesh(tube(), along_mm=0.8, around=256, stretch=(140.0, 390.0))
    rays = tube_rays(300)
    found = mesh_hits(mesh, pose, rays)
    distance, normals = tube_truth(pose, rays, shift)
    assert found.met.all()
    assert_close(found.distance_mm, distance, rtol=1.5e-4, atol=0)
    assert float(angle_deg(found.smooth, normals).max()) < 0.05
    facet = angle_deg(found.facet, normals)
    assert 0.1 < float(facet.max()) < 360 / 256
    outside = mesh_hits(mesh, rigid_motion(pose[:3, :3], pose[:3, 3] + 3 * RADIUS_MM), rays)
    assert not outside.met.any()
    assert not outside.distance_mm.any()


def test_the_search_finds_the_tube_and_nothing_where_it_does_not_look():
    shift = (6.0, -3.0)
    pose = inside_tube(arc_mm=150.0, shift_mm=shift, turn=so3_exp(torch.tensor([0.1, -0.2, 0.4])))
    rays = tube_rays(40)
    distance, _ = tube_truth(pose, rays, shift)
    world = rays.double() @ pose[:3, :3].T
    near = distance * torch.linspace(0.7, 0.99, 40).double()
    found = first_crossing_mm(tube(), pose[:3, 3], world, near, distance * 1.02)
    assert_close(found, distance, rtol=1e-6, atol=0)
    assert first_crossing_mm(tube(), pose[:3, 3], world, near, near + 1e-3).isnan().all()
    assert first_crossing_mm(tube(), pose[:3, 3], world, distance + 1, distance + 2).isnan().all()


def test_a_slanting_plane_has_no_silhouette_and_a_step_has_one():
    v, u = torch.meshgrid(torch.arange(12.0), torch.arange(17.0), indexing="ij")
    plane = 1 / (0.02 + 0.003 * u - 0.001 * v)
    assert not silhouettes(plane).any()
    step = torch.where(u < 7, 20.0, 30.0)
    found = silhouettes(step)
    assert found[:, 6:8].all()
    assert not found[:, [0, 5, 8, 16]].any()
    hole = torch.where((u == 9) & (v == 4), math.nan, plane)
    assert not silhouettes(hole).any()


def test_quantiles_and_angles_in_closed_form():
    values = torch.arange(1.0, 101.0)[torch.randperm(100)]
    assert quantile(values, 0.5) == 50
    assert quantile(values, 0.99) == 99
    assert quantile(torch.tensor([1.0, math.inf, math.nan, 2.0]), 0.5) == 2
    assert quantile(torch.tensor([1.0, math.inf]), 0.9) is None
    assert quantile(torch.tensor([math.nan]), 0.5) is None
    small = 1e-6
    one = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).double()
    other = torch.tensor([[math.cos(small), math.sin(small), 0], [0, -1, 0]]).double()
    assert_close(angle_deg(one, other), torch.tensor([math.degrees(small), 180]).double())


def test_cameras_come_from_clips_views_and_folds_by_turns():
    found = list(check_poses("2", seed=5, frames=7, height=H, width=W))
    kinds = [PoseKind.CLIP, PoseKind.VIEW, PoseKind.FOLD]
    assert [each.kind for each in found] == [*kinds, *kinds, PoseKind.CLIP]
    assert [each.clip.number for each in found] == [0] * 6 + [1]
    again = list(check_poses("2", seed=5, frames=2, height=H, width=W))
    for one, other in zip(found, again, strict=False):
        assert torch.equal(one.world_from_camera, other.world_from_camera)
    assert not torch.equal(found[0].world_from_camera, found[3].world_from_camera)
    for each in found:
        place = each.world_from_camera[None, :3, 3].float()
        assert float(each.clip.colon.clearance_mm(place)) >= 1.49
    smooth = [each.kind for each in check_poses("1", seed=5, frames=3, height=H, width=W)]
    assert smooth == [PoseKind.CLIP, PoseKind.VIEW, PoseKind.VIEW]


def test_a_camera_at_a_fold_looks_at_a_crest_across_the_lumen():
    colon = draw_level_colon(level("2"), 3, 0, "cpu")
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        pose = edge_on(generator, colon).double()
        assert_close(pose[:3, :3].T @ pose[:3, :3], torch.eye(3).double(), atol=1e-6, rtol=0)
        ahead = pose[:3, 3] + pose[:3, 2] * torch.linspace(0, 25, 251).double()[:, None]
        inside = colon.field(ahead) > 0
        wall = ahead[int(inside.int().argmin())]  # the first behind the surface
        arc, angle, _ = (each.item() for each in colon.coordinates(wall[None]))
        _, frame = colon.line.at(torch.tensor(arc))
        assert abs(float(frame[:, 2].double() @ pose[:3, 2])) < 0.35
        near = torch.arange(-4.0, 4.01, 0.5)
        radius = colon.wall.radius_mm[:, round(angle / math.tau * 256) % 256]
        beside = radius[((arc + near) / 0.5).round().long()]
        assert abs(float(near[beside.argmin()])) <= 2.5
        assert float(beside.max() - beside.min()) > 1
    with pytest.raises(DataError, match="no folds"):
        edge_on(generator, tube())


def test_the_command_prints_a_table_and_writes_its_figures(monkeypatch, capsys, tmp_path):
    pytest.importorskip("embreex")
    monkeypatch.setattr(
        accuracy, "measure", lambda own, *, tick: measure(replace(own, **COARSE), tick=tick)
    )
    arguments = ("--level", "2", "--frames", "3", "--size", "18x22", "--seed", "9")
    assert ended(monkeypatch, *arguments, "--out", str(tmp_path / "new" / "place")) == 0
    text = capsys.readouterr().out
    for words in ("asked: 99.5 % of pixels", "seed 9, 3 frames a level, 18x22", "a trial"):
        assert words in text
    path = tmp_path / "new" / "place" / "accuracy.json"
    assert [each.name for each in path.parent.iterdir()] == ["accuracy.json"]
    report = json.loads(path.read_text())
    (own,) = report["levels"]
    assert (own["level"], own["seed"], own["clips"], own["frames"]) == ("2", 9, [0], 3)
    beyond = own["beyond_share"] * 3 * 18 * 22
    assert own["pixels"] == 3 * 18 * 22 - round(beyond)
    assert own["kinds"].keys() == {"clip", "view", "fold"}
    assert own["mesh"]["along_mm"] == 0.7
    assert {"commit", "embreex", "torch"} <= report["made_with"].keys()
    assert "Embree in float32" in report["how"]
    assert not report["compiled"]
    monkeypatch.setattr(accuracy, "measure", lambda own, *, tick: report)
    assert ended(monkeypatch, *arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out) == report
    own |= {"holds": True}
    bench_accuracy.print_report(report)
    assert "NO" not in capsys.readouterr().out
    own |= {"holds": False, "median": None}
    own["against_the_field"]["renderer_alone_is_off"] = 17
    bench_accuracy.print_report(report)
    text = capsys.readouterr().out
    assert "NO" in text
    assert "renderer alone is off in 17" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--level", "55"], "no level is called '55'"),
        (["--frames", "0"], "--frames"),
        (["--size", "32"], "expected HEIGHTxWIDTH"),
        (["--out", __file__], "is a file, expected a folder"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, monkeypatch, capsys):
    assert ended(monkeypatch, *arguments) == 2
    text = capsys.readouterr().err
    assert message in text
    assert len(text.strip().splitlines()) == 1
    with pytest.raises(DataError, match="0 frames"):
        measure(replace(SMALL, frames=0))


def test_without_embree_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    monkeypatch.setattr(bench_accuracy, "prepare_kernels", lambda: None)
    assert ended(monkeypatch, "--level", "1", "--frames", "1") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "embreex" in line
    assert "pip install embreex" in line
    empty = torch.zeros(0, 3)
    none = torch.zeros(0, dtype=torch.int16)
    mesh = ColonMesh(empty.double(), empty.long(), none.double(), none.double(), none, none, ())
    with pytest.raises(MissingExtraError):
        mesh_hits(mesh, torch.eye(4).double(), empty)


def test_a_report_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "accuracy.json").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        bench_accuracy.write_report({}, tmp_path)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from colondepth import cli\n"
        "sys.argv = ['colondepth', 'bench', 'accuracy', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print([n for n in ('torch', 'numpy', 'embreex') if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert "edge-on" in done.stdout
