import math
import re
from pathlib import Path

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.testing import assert_close
from winding import winding

from colondepth.errors import DataError, ShapeError
from colondepth.motion import inverse, quaternion_from_rotation
from colondepth.trajectories import (
    STATED_MM_PER_UNIT,
    Trajectory,
    TrajectoryForm,
    guess_form,
    read_trajectory,
    write_trajectory,
)

SIMCOL3D = Path(__file__).parents[2] / "shared/data/simcol3d/SyntheticColon_I/SavedPosition_S1.txt"
UNIT = {TrajectoryForm.TUM: 1000.0, TrajectoryForm.KITTI: 10.0}
NAME = {form: "SavedPosition_S7.txt" if form == "simcol3d" else "a.txt" for form in TrajectoryForm}

# A camera 1, 2, 3 off the origin, turned a quarter about z: its x looks along the world's y.
KITTI = "0 -1 0 1 1 0 0 2 0 0 1 3\n"
ROWS = "0,-1,0,1,1,0,0,2,0,0,1,3,0,0,0,1\n"
COLUMNS = "0,1,0,0,-1,0,0,0,0,0,1,0,1,2,3,1\n"
TUM = f"# t tx ty tz qx qy qz qw\n\n7.5 1 2 3 0 0 {math.sqrt(0.5)!r} {math.sqrt(0.5)!r}\n"
QUARTER = torch.tensor(
    [[[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]], dtype=torch.double
)


def in_mm(mm_per_unit: float) -> torch.Tensor:
    matrix = QUARTER.clone()
    matrix[:, :3, 3] *= mm_per_unit
    return matrix


def write(folder: Path, text: str, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def simcol3d(folder: Path, position: str, rotation: str) -> Path:
    write(folder, rotation, "SavedRotationQuaternion_S7.txt")
    return write(folder, position, "SavedPosition_S7.txt")


@pytest.mark.parametrize(
    ("form", "text", "mm_per_unit"),
    [("tum", TUM, 1000.0), ("kitti", KITTI, 10.0), ("c3vd", ROWS, 1.0), ("c3vd", COLUMNS, 1.0)],
)
def test_a_quarter_turn_is_read_from_every_form(
    tmp_path: Path, form: str, text: str, mm_per_unit: float
) -> None:
    path = write(tmp_path, text)
    assert guess_form(path) == form
    trajectory = read_trajectory(path, form=TrajectoryForm(form), mm_per_unit=mm_per_unit)
    assert_close(trajectory.world_from_camera, in_mm(mm_per_unit))
    assert (trajectory.time_s is None) == (form != "tum")


def test_simcol3d_is_mirrored_into_a_right_handed_world_in_mm(tmp_path: Path) -> None:
    # In Unity the camera turns by q about (x, y, z); seen in the mirror y -> -y the axis, which is
    # a pseudovector, becomes (-x, y, -z) while places become (x, -y, z).
    quaternion = torch.tensor([0.1, 0.7, -0.5, 0.5], dtype=torch.double)
    text = "0.1 0.7 -0.5 0.5\n"
    path = simcol3d(tmp_path, "1 2 3\n", text)
    trajectory = read_trajectory(path, form=TrajectoryForm.SIMCOL3D)
    matrix = trajectory.world_from_camera[0]
    assert matrix[:3, 3].tolist() == [10, -20, 30]
    mirrored = quaternion * torch.tensor([-1, 1, -1, 1])
    expected = Rotation.from_quat(mirrored.numpy()).as_matrix()
    assert_close(matrix[:3, :3], torch.from_numpy(expected))
    partner = tmp_path / "SavedRotationQuaternion_S7.txt"
    assert guess_form(path) == guess_form(partner) == "simcol3d"
    again = read_trajectory(partner, form=TrajectoryForm.SIMCOL3D, mm_per_unit=10)
    assert_close(again.world_from_camera, trajectory.world_from_camera)


@pytest.mark.parametrize("form", TrajectoryForm)
def test_writing_and_reading_loses_nothing(tmp_path: Path, form: TrajectoryForm) -> None:
    path = tmp_path / NAME[form]
    before = winding(9)
    write_trajectory(before, path, form=form, mm_per_unit=UNIT.get(form))
    assert guess_form(path) == form
    after = read_trajectory(path, form=form, mm_per_unit=UNIT.get(form))
    assert_close(after.world_from_camera, before.world_from_camera, atol=1e-12, rtol=1e-14)
    if form is TrajectoryForm.TUM:
        assert_close(after.time_s, before.time_s, atol=0, rtol=0)


def test_c3vd_is_written_as_it_is_published(tmp_path: Path) -> None:
    write_trajectory(Trajectory(QUARTER), tmp_path / "pose.txt", form=TrajectoryForm.C3VD)
    values = [float(word) for word in (tmp_path / "pose.txt").read_text().split(",")]
    assert values == [float(word) for word in COLUMNS.split(",")]


@pytest.mark.parametrize("transposed", [False, True])
def test_c3vd_reads_a_file_whose_first_frame_sits_at_the_origin(
    tmp_path: Path, transposed: bool
) -> None:
    matrices = inverse(winding(4).world_from_camera[:1]) @ winding(4).world_from_camera
    rows = (matrices.mT if transposed else matrices).flatten(1).tolist()
    path = write(tmp_path, "".join(",".join(map(repr, row)) + "\n" for row in rows))
    read = read_trajectory(path, form=TrajectoryForm.C3VD).world_from_camera
    assert_close(read, matrices, atol=1e-12, rtol=0)


def test_c3vd_at_the_origin_is_readable_only_while_nothing_turns(tmp_path: Path) -> None:
    still = write(tmp_path, "1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1\n" * 3)
    read = read_trajectory(still, form=TrajectoryForm.C3VD).world_from_camera
    assert_close(read, torch.eye(4, dtype=torch.double).expand(3, 4, 4))
    turning = write(tmp_path, "0,1,0,0,-1,0,0,0,0,0,1,0,0,0,0,1\n")
    with pytest.raises(DataError, match="nothing tells whether the numbers are row-major"):
        read_trajectory(turning, form=TrajectoryForm.C3VD)


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        ("tum", TUM + "8 1 2 3 0 0 0\n", "line 4 has 7 values, expected 8: t tx ty tz qx qy qz qw"),
        ("tum", TUM + "8 1 2 3 0 0 0 x\n", "line 4: 'x' is not a finite number"),
        ("tum", TUM + "8 1 nan 3 0 0 0 1\n", "line 4: 'nan' is not a finite number"),
        ("tum", TUM + "8 1 2 3 0 0 0 0\n", "line 4: the quaternion qx qy qz qw has length 0"),
        ("tum", TUM + "8 0 0 0 1 1 2 3\n", "line 4: the quaternion qx qy qz qw has length 3.873"),
        ("tum", TUM + TUM, r"time_s\[1\] is 7.5, expected more than the 7.5 before it"),
        ("tum", "# nothing\n\n", "holds no frames; expected one line a frame: t tx ty"),
        ("tum", "", "holds no frames"),
        ("tum", TUM + "8 1\N{MINUS SIGN}2 3 4 0 0 0 1\n", "line 4: '1\N{MINUS SIGN}2' is not a"),
        ("kitti", KITTI + "\n" + KITTI, "line 2 has 0 values, expected 12: r11 r12"),
        ("kitti", KITTI + KITTI.replace("-1", "1"), r"from 0: .*\[1\] is left-handed"),
        ("kitti", KITTI + KITTI.replace("-1", "-2"), r"from 0: .*\[1\] is no rotation"),
        ("kitti", "1_0 " + KITTI[2:], "line 1: '1_0' is not a finite number"),
        ("c3vd", COLUMNS + ROWS, "line 2: expected 0,0,0,1 as every fourth number"),
        ("c3vd", ROWS * 2 + COLUMNS, "line 3: expected 0,0,0,1 as every fourth number"),
        ("c3vd", ROWS.replace("3,0,0", "3,4,0"), "line 1: expected 0,0,0,1 as every"),
        ("c3vd", ROWS.replace(",", " "), "line 1 has 1 values, expected 16: m11,m21"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(
    tmp_path: Path, form: str, text: str, words: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=words) as caught:
        read_trajectory(path, form=TrajectoryForm(form), mm_per_unit=1)
    assert str(path) in str(caught.value)


def test_files_that_are_not_text_or_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "utf16.txt").write_bytes(TUM.encode("utf-16"))
    with pytest.raises(DataError, match=r"utf16\.txt is not UTF-8 text"):
        read_trajectory(tmp_path / "utf16.txt", form=TrajectoryForm.KITTI, mm_per_unit=1)
    with pytest.raises(DataError, match=r"cannot read .*absent\.txt: No such file"):
        read_trajectory(tmp_path / "absent.txt", form=TrajectoryForm.KITTI, mm_per_unit=1)
    with pytest.raises(DataError, match="Is a directory"):
        read_trajectory(tmp_path, form=TrajectoryForm.KITTI, mm_per_unit=1)


def test_a_byte_order_mark_is_no_part_of_the_first_number(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(KITTI, encoding="utf-8-sig")
    assert len(read_trajectory(path, form=TrajectoryForm.KITTI, mm_per_unit=1)) == 1


def test_a_simcol3d_pair_must_be_whole_and_of_one_length(tmp_path: Path) -> None:
    path = simcol3d(tmp_path, "1 2 3\n" * 3, "0 0 0 1\n" * 2)
    with pytest.raises(DataError, match=r"S7.txt has 3 frames, SavedRotation\w+_S7.txt has 2"):
        read_trajectory(path, form=TrajectoryForm.SIMCOL3D)
    partner = tmp_path / "SavedRotationQuaternion_S7.txt"
    partner.unlink()
    with pytest.raises(DataError, match=re.escape(f"has no partner: looked for {partner}")):
        read_trajectory(path, form=TrajectoryForm.SIMCOL3D)
    with pytest.raises(DataError, match="expected a name like SavedPosition_S1"):
        read_trajectory(write(tmp_path, "1 2 3\n"), form=TrajectoryForm.SIMCOL3D)


@pytest.mark.parametrize("form", TrajectoryForm)
def test_a_unit_is_asked_for_exactly_where_the_file_states_none(
    tmp_path: Path, form: TrajectoryForm
) -> None:
    path = tmp_path / NAME[form]
    write_trajectory(winding(3), path, form=form, mm_per_unit=UNIT.get(form))
    if form in STATED_MM_PER_UNIT:
        wrong, words = 25.0, "mm_per_unit is 25, but .* leave it out"
    else:
        wrong, words = None, "states no unit of length; give mm_per_unit .1000 for metres"
    with pytest.raises(DataError, match=words):
        read_trajectory(path, form=form, mm_per_unit=wrong)
    with pytest.raises(DataError, match=words):
        write_trajectory(winding(3), path, form=form, mm_per_unit=wrong)
    for useless in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(DataError, match="expected a positive number"):
            read_trajectory(path, form=form, mm_per_unit=useless)


def test_tum_is_not_written_without_times(tmp_path: Path) -> None:
    path = write(tmp_path, "before")
    with pytest.raises(DataError, match="tum needs a time for every frame"):
        write_trajectory(Trajectory(QUARTER), path, form=TrajectoryForm.TUM, mm_per_unit=1)
    assert path.read_text() == "before"


@pytest.mark.parametrize("text", ["hello\n", "1 2 3\n", "1,2,3\n", "1 2 3 4\n", ROWS[:-3]])
def test_no_form_is_guessed_for_other_texts(tmp_path: Path, text: str) -> None:
    assert guess_form(write(tmp_path, text)) is None


def test_an_empty_file_has_no_form_to_guess(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no frames"):
        guess_form(write(tmp_path, "# only words\n"))


def test_a_trajectory_checks_itself() -> None:
    good = winding(5)
    broken = good.world_from_camera.clone()
    broken[3, 0, 0] = math.nan
    with pytest.raises(DataError, match=r"world_from_camera\[3\] holds NaN"):
        Trajectory(broken)
    with pytest.raises(DataError, match="without frames"):
        Trajectory(good.world_from_camera[:0])
    with pytest.raises(DataError, match="world_from_camera holds float32, expected float64"):
        Trajectory(good.world_from_camera.float())
    with pytest.raises(ShapeError, match="time_s has shape"):
        Trajectory(good.world_from_camera, torch.arange(4.0).double())
    with pytest.raises(DataError, match=r"time_s\[2\] is 1.5, expected more than the 1.5"):
        Trajectory(good.world_from_camera, torch.tensor([0, 1.5, 1.5, 3, 2]).double())
    with pytest.raises(DataError, match="time_s has 1 of 5 values that are NaN"):
        Trajectory(good.world_from_camera, torch.tensor([0, 1, math.nan, 3, 4]).double())
    with pytest.raises(ShapeError, match="world_from_camera has shape"):
        Trajectory(good.world_from_camera[0])


def test_steps_and_turns_are_those_of_a_staircase() -> None:
    angles = torch.tensor([0, 0.1, 0.4], dtype=torch.double)
    matrices = torch.eye(4, dtype=torch.double).repeat(3, 1, 1)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angles.cos()
    matrices[:, 1, 0], matrices[:, 0, 1] = angles.sin(), -angles.sin()
    matrices[:, :3, 3] = torch.tensor([[0, 0, 5], [3, 4, 5], [3, 4, 17]])
    staircase = Trajectory(matrices)
    assert_close(staircase.step_mm(), torch.tensor([5.0, 12], dtype=torch.double))
    assert_close(staircase.turn_rad(), torch.tensor([0.1, 0.3], dtype=torch.double))


@pytest.mark.skipif(not SIMCOL3D.is_file(), reason=f"the SimCol3D sample {SIMCOL3D} is not here")
def test_the_published_simcol3d_sample_is_read_in_mm() -> None:
    trajectory = read_trajectory(SIMCOL3D, form=TrajectoryForm.SIMCOL3D)
    assert len(trajectory) == 10
    expected = torch.tensor([-305.0459, -163.406, -34.15047], dtype=torch.double)  # its line 1
    assert_close(trajectory.world_from_camera[0, :3, 3], expected)
    quaternion = quaternion_from_rotation(trajectory.world_from_camera[0, :3, :3])
    expected = torch.tensor([-0.1051013, 0.7266055, -0.1119277, 0.6696793], dtype=torch.double)
    assert_close(quaternion, expected, atol=1e-6, rtol=0)
