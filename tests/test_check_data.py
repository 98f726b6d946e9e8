"""`check-data` finds a sound dataset sound, and names what was done to a damaged one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import H, W, cameras
from tissue import tissue, write
from typer.testing import CliRunner

from colondepth.cameras import Camera, to_file
from colondepth.commands.check_data import check_data
from colondepth.data import open_clips
from colondepth.data.checking import Weight, check_clip, reading_findings
from colondepth.data.conventions import DepthReading, PoseReading, find_conventions
from colondepth.errors import DataError
from colondepth.geometry import distance_from_depth
from colondepth.motion import inverse, se3_exp
from colondepth.trajectories import Trajectory, TrajectoryForm, read_trajectory, write_trajectory
from colondepth.views import Clip, View
from synthetic_colons.analytic import Plane, Sphere, Tube, look

SCENE = [
    Tube(point_mm=(3, -2, 0), along=(0.12, -0.06, 1), radius_mm=24),
    Plane(point_mm=(0, 0, 90), across=(0.4, 0.1, 1)),
    Sphere(centre_mm=(-12, 9, 42), radius_mm=9),
]
# A camera that advances, drifts aside and turns: neither motion nor view is symmetric.
TWIST = torch.tensor([0.9, -0.5, 2.1, 0.02, -0.035, 0.05], dtype=torch.float64)
START = se3_exp(torch.tensor([5.0, 3, 1, 0.2, 0.3, -0.25], dtype=torch.float64))
POSES = torch.stack([START @ se3_exp(number * TWIST) for number in range(8)])
REAL = Path(__file__).parents[2] / "shared" / "data" / "simcol3d"
MIRROR = torch.diag(torch.tensor([1.0, -1, 1, 1], dtype=torch.float64))


def transposed(poses):
    new = poses.clone()
    new[:, :3, :3] = poses[:, :3, :3].mT
    return new


def longer(factor):
    def scaled(poses):
        new = poses.clone()
        new[:, :3, 3] *= factor
        return new

    return scaled


DAMAGES = {
    "sound": (lambda p: p, DepthReading.Z, "as read"),
    "transposed": (transposed, DepthReading.Z, "rotations transposed"),
    "inverted": (inverse, DepthReading.Z, "poses inverted"),
    "left-handed": (lambda p: MIRROR @ p @ MIRROR, DepthReading.Z, "left-handed (y mirrored)"),
    "range": (lambda p: p, DepthReading.RANGE, "depth is distance along the ray, not z"),
    "centimetres": (longer(0.1), DepthReading.Z, "lengths of the poses times 10"),
    "metres": (longer(0.001), DepthReading.Z, "lengths of the poses times 1000"),
    "both": (
        lambda p: MIRROR @ p @ MIRROR,
        DepthReading.RANGE,
        "left-handed (y mirrored), depth is distance along the ray, not z",
    ),
}


@pytest.fixture(params=["pinhole", "omnidirectional"])
def camera(request) -> Camera:
    return cameras()[request.param].resized(2 * H, 2 * W)


@pytest.mark.parametrize("name", DAMAGES)
def test_the_mistake_that_was_made_is_the_one_that_is_named(camera, name):
    damage, kind, words = DAMAGES[name]
    depth_mm = look(SCENE, camera, POSES).depth_mm
    if kind is DepthReading.RANGE:
        depth_mm = distance_from_depth(depth_mm, camera)
    verdict = find_conventions(depth_mm, camera, damage(POSES), frames=range(8))
    assert verdict.best.words == words
    assert verdict.decided
    assert verdict.sound == (name == "sound")
    assert verdict.best.cure or name == "sound"
    assert verdict.as_read.error >= verdict.best.error


def test_poses_of_another_clip_fit_under_no_reading(camera):
    depth_mm = look(SCENE, camera, POSES).depth_mm
    other = torch.stack([se3_exp(-3 * n * TWIST.roll(1)) for n in range(8)])
    verdict = find_conventions(depth_mm, camera, other, frames=range(8))
    assert not verdict.decided
    assert not verdict.sound


def test_one_frame_or_no_depth_cannot_be_compared(camera):
    depth_mm = look(SCENE, camera, POSES).depth_mm
    empty = torch.zeros_like(depth_mm)
    empty[3] = depth_mm[3]
    with pytest.raises(DataError, match="1 of 8 frames have depth"):
        find_conventions(empty, camera, POSES, frames=range(8))


def test_every_reading_is_its_own_undoing():
    for reading in PoseReading:
        from colondepth.data.conventions import _read_poses

        assert torch.allclose(_read_poses(_read_poses(POSES, reading), reading), POSES)


def clip_of(camera: Camera, poses, *, broken: int | None = None, scale: float = 1.0) -> Clip:
    def read(number: int) -> View:
        if number == broken:
            raise DataError("0003.png cannot be read as an image: truncated")
        view = look(SCENE, camera, POSES[number])
        return View(
            image=view.image.float(),
            camera=camera,
            depth_mm=view.depth_mm * scale,
            world_from_camera=poses[number],
        )

    return Clip(read, [f"{number:04d}" for number in range(8)], camera=camera, name="ascending")


def scope_image() -> np.ndarray:
    return tissue()


def words(check) -> str:
    return " | ".join(f"{f.weight}: {f.words}" for f in check.findings)


def test_a_frame_that_cannot_be_read_is_named_and_the_rest_is_checked():
    camera = cameras()["pinhole"]
    check = check_clip(clip_of(camera, POSES, broken=3))
    assert (check.tally.frames, check.tally.unreadable, check.tally.with_depth) == (8, 1, 7)
    assert [f.where for f in check.findings if f.weight is Weight.BAD] == ["ascending/0003"]


def test_a_depth_of_kilometres_and_a_jump_are_found():
    camera = cameras()["pinhole"]
    assert "median depth" in words(check_clip(clip_of(camera, POSES, scale=1000)))
    jumped = POSES.clone()
    jumped[5:, 0, 3] += 400
    assert "jumps 1 times, at frame 5" in words(check_clip(clip_of(camera, jumped)))


def test_a_camera_that_stands_still_is_a_note():
    camera = cameras()["pinhole"]
    still = POSES[:1].expand(8, 4, 4)
    assert "stands still" in words(check_clip(clip_of(camera, still)))


def test_a_caption_in_the_pictures_is_a_note():
    camera = Camera.assumed(*scope_image().shape[1:])
    written, _ = write(scope_image(), (90, 130, "MUSTERMANN 1964"), size=20, colour="white")

    def read(number: int) -> View:
        return View(image=torch.from_numpy(written).float().clamp(0, 1), camera=camera)

    check = check_clip(Clip(read, ["a"], camera=camera, name="x"))
    assert "on-screen text" in words(check)


def test_a_sample_reads_only_so_many_frames():
    opened: list[int] = []
    camera = cameras()["pinhole"]
    clip = clip_of(camera, POSES)
    check = check_clip(clip, most_frames=3, seen=lambda: opened.append(1))
    assert check.tally.frames == len(opened) == 3


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A clip in our own form: images, depth in hundredths, poses and camera."""
    camera = cameras()["pinhole"].resized(2 * H, 2 * W)
    root = tmp_path / "mine"
    (root / "depth").mkdir(parents=True)
    for number in range(8):
        view = look(SCENE, camera, POSES[number])
        pixels = (view.image * 255).round().byte().movedim(0, -1).numpy()
        Image.fromarray(pixels).save(root / f"{number:04d}.png")
        counts = (view.depth_mm[0] * 100).round().numpy().astype(np.uint16)
        Image.fromarray(counts).save(root / "depth" / f"{number:04d}.png")
    to_file(camera, root / "camera.json")
    (root / "dataset.json").write_text(
        '{"mm_per_count": 0.01, "depth_kind": "z", "trajectory_mm_per_unit": 1}'
    )
    _write_poses(root, POSES)
    return root


def _write_poses(root: Path, poses: torch.Tensor) -> None:
    trajectory = Trajectory(poses, torch.arange(len(poses), dtype=torch.float64) / 25)
    write_trajectory(trajectory, root / "trajectory.txt", form=TrajectoryForm.TUM, mm_per_unit=1)


def run(*arguments: object):
    import typer

    app = typer.Typer()
    app.command()(check_data)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_sound_dataset_passes_and_its_report_stands_alone(dataset, tmp_path):
    result = run(dataset, "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert "agree as read" in result.output
    page = (tmp_path / "report" / "report.html").read_text()
    assert "http:" not in page
    assert "https:" not in page
    assert "not for diagnosis" in page
    answer = json.loads((tmp_path / "report" / "report.json").read_text())
    assert answer["clips"][0]["reads_as"] == "as read"
    with Image.open(tmp_path / "report" / "pictures" / "clip_000.png") as picture:
        assert picture.width > 1000


def test_a_damaged_dataset_fails_with_the_damage_and_its_cure(dataset, tmp_path):
    _write_poses(dataset, transposed(POSES))
    result = run(dataset, "--out", tmp_path / "report", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    (bad,) = [f for f in answer["clips"][0]["findings"] if f["weight"] == "bad"]
    assert "rotations transposed" in bad["words"]
    assert "transpose" in bad["cure"]


def test_a_truncated_frame_is_named_and_skipped_only_when_asked(dataset, tmp_path):
    whole = (dataset / "0004.png").read_bytes()
    (dataset / "0004.png").write_bytes(whole[: len(whole) // 2])
    result = run(dataset, "--out", tmp_path / "report")
    assert result.exit_code == 1 or isinstance(result.exception, DataError)
    assert "0004" in result.output + str(result.exception)


def test_a_folder_of_nothing_says_what_was_looked_for(tmp_path):
    result = run(tmp_path, "--out", tmp_path / "report")
    assert isinstance(result.exception, DataError)
    assert not (tmp_path / "report").exists()


def test_doubts_of_the_reader_become_findings(dataset):
    (dataset / "camera.json").unlink()
    reading = open_clips(dataset)
    assert any("assumed" in finding.words for finding in reading_findings(reading))


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_the_real_simcol3d_sample_and_copies_damaged_in_every_way(tmp_path, name):
    if not REAL.is_dir():
        pytest.skip(f"no {REAL}; the samples are not part of the project")
    shutil.copytree(REAL, tmp_path / "copy")
    scene = tmp_path / "copy" / "SyntheticColon_I"
    damage, kind, expected = DAMAGES[name]
    position = scene / "SavedPosition_S1.txt"
    whole = read_trajectory(position, form=TrajectoryForm.SIMCOL3D)
    damaged = Trajectory(damage(whole.world_from_camera))
    write_trajectory(damaged, position, form=TrajectoryForm.SIMCOL3D)
    if kind is DepthReading.RANGE:
        for path in sorted(scene.glob("Frames_S1/Depth_*.png")):
            counts = torch.from_numpy(np.array(Image.open(path)).astype(np.float64))[None]
            camera = open_clips(REAL).clips[0].camera
            distance = distance_from_depth(counts, camera)[0].round().numpy().astype(np.uint16)
            Image.fromarray(distance).save(path)
    (clip,) = open_clips(tmp_path / "copy").clips
    check = check_clip(clip)
    assert check.verdict.best.words == expected
    assert check.verdict.sound == (name == "sound")
