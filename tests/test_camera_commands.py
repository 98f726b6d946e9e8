"""`colondepth camera`: one success and one failure of each command."""

import json

import pytest
import torch
from scenes import H, W, at, cameras
from typer.testing import CliRunner

from colondepth.cameras import Camera, from_file, to_file
from colondepth.commands.camera import app
from colondepth.errors import DataError
from colondepth.images import read_image, write_image
from synthetic_colons.analytic import Tube, look

TUBE = Tube(point_mm=(4, -3, 0), along=(0.1, 0.2, 1), radius_mm=22)


def invoke(*arguments: object):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def camera(tmp_path) -> Camera:
    made = cameras()["fisheye"].resized(3 * H, 3 * W)
    to_file(made, tmp_path / "camera.json")
    return made


def test_show_tells_the_lens_and_the_field_of_view(tmp_path, camera):
    words = invoke("show", tmp_path / "camera.json").stdout
    assert "fisheye" in words
    assert "108" in words
    facts = json.loads(invoke("show", tmp_path / "camera.json", "--json").stdout)
    across = camera.field_of_view_rad()[0].rad2deg().item()
    assert facts["field_of_view_deg"]["width"] == pytest.approx(across, abs=1e-3)
    assert facts["centre_px"] == camera.centre.tolist()


def test_convert_writes_the_same_camera_in_another_form(tmp_path, camera):
    invoke("convert", tmp_path / "camera.json", tmp_path / "camera.yaml")
    back = from_file(tmp_path / "camera.yaml")
    assert torch.equal(back.rays(3 * H, 3 * W), camera.rays(3 * H, 3 * W))
    with pytest.raises(DataError, match="polynomial cameras, not a Fisheye"):
        invoke("convert", tmp_path / "camera.json", tmp_path / "camera.txt", "--to", "c3vd")
    assert invoke("convert", "a", "b", "--to", "c3vdd").exit_code == 2


def test_undistort_writes_what_a_pinhole_would_have_seen(tmp_path, camera):
    write_image(look([TUBE], camera, at(0, 0, 0)).image, tmp_path / "a.png")
    out = tmp_path / "out"
    result = invoke(
        "undistort", tmp_path / "a.png", "--camera", tmp_path / "camera.json", "--out", out,
        "--field", 60,
    )  # fmt: skip
    assert "1 images" in result.stdout
    ideal = from_file(out / "camera.json")
    assert ideal.field_of_view_rad()[0].rad2deg().item() == pytest.approx(60)
    truth = look([TUBE], ideal, at(0, 0, 0)).image.float()
    straight = read_image(out / "a.png")
    gain = (truth.mean() / straight.mean()).item()  # the two were exposed for their own fields
    assert (straight * gain - truth).abs().median() < 0.03
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "camera.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nowhere.json"], "does not exist"),
        (["show", "camera.json", "--size", "12by4"], "HEIGHTxWIDTH"),
        (["show", "camera.json", "--size", "12x4"], "expected 12x4"),
        (["undistort", "a.png", "--camera", "camera.json", "--out", "o"], "a.png does not exist"),
        (["undistort", "a/x.png", "b/x.png", "--camera", "camera.json", "--out", "o"], "one name"),
        (["undistort", "a", "--camera", "camera.json", "--out", "o", "--field", "170"], "fisheye"),
    ],
)
def test_a_mistake_is_named(tmp_path, camera, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        invoke(*arguments)
    assert not (tmp_path / "o").exists()


def test_an_image_of_another_size_than_the_camera_leaves_no_file(tmp_path, camera):
    write_image(torch.zeros(3, H, W), tmp_path / "a.png")
    arguments = ["undistort", tmp_path / "a.png", "--camera", tmp_path / "camera.json"]
    with pytest.raises(ValueError, match="resized"):
        invoke(*arguments, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()
