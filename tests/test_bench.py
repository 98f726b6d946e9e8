"""The benchmark measures what it says, beside code that nobody here wrote."""

import json
import math
import subprocess
import sys
from functools import cache

import pytest
import torch

from colondepth import cli
from colondepth.cameras import Camera
from colondepth.commands import bench as bench_group
from colondepth.errors import DataError
from colondepth.machine import peak_memory_mb
from colondepth.motion import rigid_motion
from synthetic_colons import bench as bench_module
from synthetic_colons import bench_rivals
from synthetic_colons.anatomy import SEGMENTS
from synthetic_colons.bench import BenchSettings, bench, rendered, spread
from synthetic_colons.bench_report import print_report
from synthetic_colons.bench_rivals import embree_ms, vtk_ms
from synthetic_colons.colon_mesh import ColonMesh

TINY = BenchSettings(level="1", frames=2, height=32, width=40)


def ended(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["colondepth", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


@pytest.fixture
def here(monkeypatch):
    """Time the renderer in this process, which has torch already."""
    measured = cache(lambda settings, frames: rendered(settings, frames))
    monkeypatch.setattr(
        bench_module,
        "_in_a_process",
        lambda settings, frames, cache: dict(measured(settings, frames)),
    )


def wall(half_mm: float) -> ColonMesh:
    """A square in the plane z = 30 mm, of two triangles."""
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    vertices = torch.tensor([(x * half_mm, y * half_mm, 30) for x, y in corners]).double()
    number = torch.zeros(4)
    return ColonMesh(
        vertices=vertices,
        faces=torch.tensor([[0, 2, 1], [0, 3, 2]]),
        arc_mm=number.double(),
        angle_rad=number.double(),
        label=number.short(),
        segment=number.short(),
        segment_names=tuple(each.name for each in SEGMENTS),
    )


def camera() -> Camera:
    return Camera.pinhole(fx=40.0, fy=40.0, cx=24.5, cy=19.5, height=40, width=50)


def looking_ahead() -> torch.Tensor:
    places = torch.tensor([[0.0, 0, 0], [1.0, 0, 5]]).double()
    return rigid_motion(torch.eye(3).double().expand(2, 3, 3), places)


def test_the_spread_is_the_median_and_the_quartiles():
    assert spread([5.0, 1, 4, 2, 3]) == {
        "median_ms": 3,
        "quartile_ms": 2,
        "third_quartile_ms": 4,
    }


def test_the_peak_of_memory_counts_what_was_held():
    before = peak_memory_mb()
    held = torch.ones(int(3e8 / 4))
    after = peak_memory_mb()
    del held
    assert after > before - 1  # the system counts in batches
    assert after > 299
    assert peak_memory_mb() > after - 1


def test_embree_meets_a_wall_with_the_rays_that_point_to_it():
    pytest.importorskip("embreex")
    found = embree_ms(wall(1000), camera(), looking_ahead())
    assert len(found["times_ms"]) == 2
    assert found["rays"] == 40 * 50
    assert found["hit_share"] == 1
    # Of rays with |x|, |y| < 0.2 z: 16 columns of 50 and 16 rows of 40, less where it comes nearer.
    half = embree_ms(wall(6), camera(), looking_ahead()[:1])
    assert half["hit_share"] == pytest.approx(16 * 16 / 2000, abs=0.02)


def test_without_embree_the_benchmark_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    assert "pip install embreex" in embree_ms(wall(6), camera(), looking_ahead())["missing"]


def test_vtk_draws_what_is_ahead_of_the_camera_and_not_what_is_behind():
    found = vtk_ms(wall(6), camera(), looking_ahead()[:1])
    # The field is 2 atan(20 / 40), of which a wall of 6 mm in 30 fills 0.4 of each side's 20 px.
    assert found["shown_share"] == pytest.approx(16 * 16 / 2000, abs=0.03)
    assert len(found["times_ms"]) == 1
    back = torch.diag(torch.tensor([-1.0, 1, -1, 1])).double()[None]
    assert vtk_ms(wall(6), camera(), back)["shown_share"] == 0
    assert found["version"]


def test_a_report_holds_the_renderer_and_its_rivals_in_the_same_run(here, capsys):
    told = []
    report = bench(TINY, tick=told.append)
    ours = report["renderer"]
    stages = sum(times["median_ms"] for times in ours["stages"].values())
    assert ours["frame"]["median_ms"] == pytest.approx(stages, rel=0.5)
    assert ours["frames_per_s"] == pytest.approx(1000 / ours["frame"]["median_ms"])
    for rival in ("embree", "vtk"):
        ratio = ours["frame"]["median_ms"] / report[rival]["frame"]["median_ms"]
        assert report[rival]["ours_to_this"] == pytest.approx(ratio)
    assert report["embree"]["hit_share"] > 0.99
    assert not ours["compiled"]
    assert ours["first_frame_cold_s"] is None
    assert not report["enough_frames"]
    assert report["settings"]["height"] == 32
    assert report["made_with"]["torch"] == torch.__version__
    assert "Embree" in told
    json.dumps(report, allow_nan=False)
    print_report(report)
    text = capsys.readouterr().out
    for words in ("Embree, rays only", "a trial", "not compiled", "32x40", torch.__version__):
        assert words in text
    report["embree"] = {"missing": "embreex is not installed"}
    report["machine"]["load_before"] = 3.14
    report["renderer"] |= {"compiled": True, "first_frame_cold_s": 41.2}
    print_report(report)
    text = capsys.readouterr().out
    assert "embreex is not installed" in text
    assert "a busy machine: 3.1 programs" in text
    assert "41.2 s with an empty cache" in text


def test_the_command_answers_in_json(here, monkeypatch, capsys):
    arguments = ("--level", "1", "--frames", "2", "--size", "32x40", "--json")
    assert ended(monkeypatch, "bench", "render", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["frames"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--level", "55"], "no level is called '55'"),
        (["--frames", "0"], "--frames"),
        (["--size", "32"], "expected HEIGHTxWIDTH"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, monkeypatch, capsys):
    assert ended(monkeypatch, "bench", "render", *arguments) == 2
    text = capsys.readouterr().err
    assert message in text
    assert len(text.strip().splitlines()) == 1
    with pytest.raises(DataError, match="0 frames"):
        bench(BenchSettings(frames=0))


def test_the_renderer_is_timed_in_a_process_with_its_own_cache(tmp_path):
    tiny = BenchSettings(level="1", frames=1, height=16, width=20)
    found = bench_module._in_a_process(tiny, 0, str(tmp_path))
    assert 0 < found["first_frame_s"] < math.inf
    assert "frame" not in found


def test_another_package_brings_its_own_benchmark(tmp_path, monkeypatch, capsys):
    info = tmp_path / "hospital-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hospital\nVersion: 1.2\n")
    lines = "ward = hospital_beds:ward\nsad = nowhere_to_be_found:sad\n"
    (info / "entry_points.txt").write_text(f"[colondepth.benchmarks]\n{lines}")
    (tmp_path / "hospital_beds.py").write_text('def ward():\n    print("3 beds/s")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(bench_group, "app", bench_group.group())
    assert ended(monkeypatch, "bench", "ward") == 0
    assert "3 beds/s" in capsys.readouterr().out
    assert ended(monkeypatch, "bench", "sad") == 2
    assert "nowhere_to_be_found" in " ".join(capsys.readouterr().err.split())
    assert ended(monkeypatch, "bench", "render", "--help") == 0


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from colondepth import cli\n"
        "sys.argv = ['colondepth', 'bench', 'render', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print([n for n in ('torch', 'numpy', 'vtk') if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert "Embree" in done.stdout


def test_a_missing_version_is_none():
    assert bench_rivals._version("no-such-package-here") is None
