"""Copies hold nothing of what says whose they are, and the log says what went without saying it."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from films import film
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tissue import behind, pil, tissue, write
from typer.testing import CliRunner

from colondepth.cameras import Camera, to_file
from colondepth.commands.camera import app as camera_app
from colondepth.commands.deidentify import deidentify
from colondepth.data.rasters import read_colour_counts, write_counts
from colondepth.deidentification import Removed, blank_frames, find_blanking, text_share
from colondepth.deidentified_files import deidentify_image, deidentify_video
from colondepth.errors import DataError
from colondepth.images import read_image

NAME = "MUSTERMANN-ERIKA-1964"
FRAMES = 14


def scope(seed: int = 0) -> np.ndarray:
    wall = tissue(seed)
    height, width = wall.shape[1:]
    v, u = np.mgrid[:height, :width]
    return behind(np.hypot(u - 205, v - 150) < 140, wall)


def frame(number: int, *, caption: bool) -> Image.Image:
    image = scope(number)
    if caption:
        image, _ = write(image, (90, 130, NAME), (6, 8, NAME[:10]), size=20, colour="white")
    return pil(image)


@pytest.fixture
def video(tmp_path) -> Path:
    """Moving tissue, a caption that one frame lacks, sound, and a name in every field."""
    path = tmp_path / "original.mkv"
    with av.open(str(path), "w") as container:
        container.metadata.update({"title": NAME, "artist": "Dr. Nobody", "comment": NAME})
        named = {"id": 1, "start": 0, "end": 700, "time_base": Fraction(1, 1000)}
        container.set_chapters([{**named, "metadata": {"title": NAME, "surgeon": "Nobody"}}])
        picture = container.add_stream("mpeg4", rate=10, options={"qscale": "2"})
        sound = container.add_stream("pcm_s16le", rate=8000)
        sound.layout = "mono"
        picture.metadata["title"] = NAME
        size = frame(0, caption=False).size
        picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        for number in range(FRAMES):
            pixels = np.asarray(frame(number, caption=number != 6))
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels)))
        noise = np.zeros((1, 8000), np.int16)
        heard = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        heard.sample_rate = 8000
        for stream, last in ((sound, heard), (sound, None), (picture, None)):
            container.mux(stream.encode(last))
    assert NAME.encode() in path.read_bytes()
    return path


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [each.to_ndarray(format="rgb24") for each in container.decode(video=0)]


def test_a_video_loses_name_sound_border_and_caption_and_keeps_its_wall(video, tmp_path):
    target = tmp_path / "out" / "copy.mp4"
    removed = deidentify_video(video, target)
    assert NAME.encode() not in target.read_bytes()
    with av.open(str(target)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert not container.chapters()
        kept = str(container.metadata) + str(container.streams[0].metadata)
        assert NAME not in kept
        assert "Nobody" not in kept
    before, after = decoded(video), decoded(target)
    assert len(before) == len(after) == FRAMES
    for number in range(FRAMES):
        border = after[number][:20, :60].astype(float)
        caption = after[number][128:152, 92:300].astype(float)
        assert border.max() < 24  # JPEG-like ringing, no letters
        assert (caption.min(axis=-1) > 150).mean() < 0.001
        wall = (slice(190, 250), slice(150, 250))
        same = np.abs(after[number][wall].astype(float) - before[number][wall]).mean()
        assert same < 6
    assert removed.streams == {"audio": 1, "chapter": 1}
    assert removed.frames_with_text == FRAMES  # the frame without a caption lies between others


def test_the_log_names_kinds_and_never_content(video, tmp_path):
    target = tmp_path / "copy.mp4"
    deidentify_video(video, target)
    text = (tmp_path / "copy.mp4.removed.json").read_text()
    log = json.loads(text)
    assert NAME not in text
    assert {"title", "artist", "comment", "surgeon"} <= {
        key.lower() for key in log["metadata_keys"]
    }
    assert log["frames"] == FRAMES
    assert 0.2 < log["blanked_outside"] / log["pixels"] < 0.7


def test_time_stamps_are_kept(video, tmp_path):
    deidentify_video(video, tmp_path / "copy.mp4")
    with av.open(str(video)) as a, av.open(str(tmp_path / "copy.mp4")) as b:
        theirs = [float(each.time) for each in a.decode(video=0)]
        ours = [float(each.time) for each in b.decode(video=0)]
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_a_copy_does_not_say_what_wrote_it(video, tmp_path):
    deidentify_video(video, tmp_path / "copy.mp4")
    copy = (tmp_path / "copy.mp4").read_bytes()
    for word in (b"x264", b"Lavc", b"Lavf", b"cabac="):
        assert word not in copy


def test_pixels_that_are_not_square_stay_so(tmp_path):
    pictures = [np.asarray(frame(number, caption=False)) for number in range(3)]
    film(tmp_path / "wide.mkv", "libx264", pictures=pictures, aspect=Fraction(59, 54))
    deidentify_video(tmp_path / "wide.mkv", tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "wide.mkv")) as a, av.open(str(tmp_path / "copy.mp4")) as b:
        theirs, ours = (each.streams.video[0].sample_aspect_ratio for each in (a, b))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-3)
    assert ours != 1


def test_colours_of_16_bits_keep_them_and_depth_maps_are_no_pictures(tmp_path):
    counts = (scope().transpose(1, 2, 0).clip(0, 1) * 65535).round().astype(np.uint16)
    write_counts(counts, tmp_path / "deep.png")
    deidentify_image(tmp_path / "deep.png", tmp_path / "copy.png")
    wall = (slice(190, 250), slice(150, 250))
    assert (read_colour_counts(str(tmp_path / "copy.png"))[wall] == counts[wall]).all()
    write_counts(counts[..., 0], tmp_path / "depth.png")
    with pytest.raises(DataError, match="is one value of 16 bits"):
        deidentify_image(tmp_path / "depth.png", tmp_path / "no.png")


def test_a_file_of_several_pictures_is_not_cut_to_the_first(tmp_path):
    pages = [frame(number, caption=False) for number in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="3 pictures in one file"):
        deidentify_image(tmp_path / "stack.tif", tmp_path / "copy.png")


def test_an_image_loses_its_fields_and_its_caption(tmp_path):
    fields = PngInfo()
    fields.add_text("PatientName", NAME)
    exif = Image.Exif()
    exif[0x013B] = NAME  # Artist
    frame(0, caption=True).save(tmp_path / "a.png", pnginfo=fields, exif=exif)
    removed = deidentify_image(tmp_path / "a.png", tmp_path / "out.png")
    assert NAME.encode() not in (tmp_path / "out.png").read_bytes()
    assert {"PatientName", "Artist"} <= set(removed.metadata_keys)
    with Image.open(tmp_path / "out.png") as copy:
        assert not copy.getexif()
        assert "PatientName" not in copy.info
    image = read_image(tmp_path / "out.png")
    assert (image[:, 128:152, 92:300].amin(dim=0) > 0.6).float().mean() == 0
    assert image[:, :20, :60].max() == 0


def test_frames_are_given_in_order_and_only_a_few_are_held():
    taken: list[int] = []

    def video():
        for number in range(30):
            taken.append(number)
            yield torch.full((3, 40, 50), 0.3 + number / 100)

    blanking = find_blanking([torch.full((3, 40, 50), 0.5)])
    given = blank_frames(video(), blanking, Removed())
    first = next(given)
    assert len(taken) <= 6
    levels = [float(first.max()), *(float(each.max()) for each in given)]
    assert levels == pytest.approx([0.3 + number / 100 for number in range(30)])


def test_on_screen_text_is_noticed_where_there_is_some():
    clean = torch.from_numpy(scope()).float().clamp(0, 1)
    written, _ = write(scope(), (90, 130, NAME), size=20, colour="white")
    assert text_share(clean) < 0.001
    assert text_share(torch.from_numpy(written).float()) > 0.005


def test_who_writes_pictures_with_a_caption_is_told(tmp_path):
    for name, caption in (("a", True), ("b", False)):
        frame(0, caption=caption).save(tmp_path / f"{name}.png")
    to_file(Camera.assumed(*scope().shape[1:]), tmp_path / "camera.json")
    options = ["--camera", str(tmp_path / "camera.json"), "--out", str(tmp_path / "straight")]
    told = {}
    for name in "ab":
        result = CliRunner().invoke(
            camera_app, ["undistort", str(tmp_path / f"{name}.png"), *options]
        )
        assert result.exit_code == 0, result.output
        told[name] = "on-screen text" in result.stderr
    assert told == {"a": True, "b": False}


def run(*arguments: object):
    import typer

    app = typer.Typer()
    app.command()(deidentify)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_writes_copies_and_logs_and_says_to_look(video, tmp_path):
    result = run(video, "--out", tmp_path / "d")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == [
        "original.mp4",
        "original.mp4.removed.json",
    ]
    assert "1 audio" in result.stdout


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v, t: deidentify_video(v, v), "the original itself"),
        (lambda v, t: deidentify_video(v, t / "copy.avi"), "written as .mp4"),
        (lambda v, t: deidentify_image(v, t / "copy.png"), "cannot be read as an image"),
        (lambda v, t: find_blanking([]), "no frame"),
    ],
)
def test_what_cannot_be_done_leaves_no_copy(video, tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        make(video, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["original.mkv"]


def test_a_truncated_video_leaves_no_copy(video, tmp_path):
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(video.read_bytes()[:3000])
    with pytest.raises(DataError):
        deidentify_video(broken, tmp_path / "copy.mp4")
    assert not (tmp_path / "copy.mp4").exists()
    assert isinstance(run(tmp_path / "nowhere.mp4").exception, DataError)
