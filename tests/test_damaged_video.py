"""Videos that are cut off, damaged, mislabelled or none at all: one clear line each."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from films import FRAMES, RATE, film, number_of, picture, sound
from PIL import Image

from colondepth.data.reading import Opening
from colondepth.data.video import open_video, read_video
from colondepth.errors import DataError

STEP_S = 1 / RATE


def test_a_video_without_its_index_says_that_it_was_cut_off(tmp_path):
    data = film(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(DataError, match=r"cut\.mp4 begins as MP4 but its index \(moov\)"):
        read_video(tmp_path / "cut.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_video_cut_in_the_middle_gives_what_is_there_and_says_how_much(tmp_path, name):
    faststart = {"movflags": "faststart"} if name == "a.mp4" else {}
    pts = [number * 100 for number in range(FRAMES)]  # four seconds: Matroska tells seconds only
    timing = {"pts": pts, "tick_s": Fraction(1, 1000)} if name == "a.mkv" else {}
    path = film(tmp_path / name, container=faststart, **timing)
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][22]
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(path.read_bytes()[: packet.pos + 12])
    with pytest.raises(DataError, match=r"\d+(\.\d+)? of the \d+(\.\d+)? .*cut off.*skip_bad"):
        read_video(cut)
    opening = Opening(skip_bad=True)
    clip = open_video(cut, opening)
    numbers = [number_of(view["image"]) for view in clip]
    assert numbers[:19] == list(range(19))  # then one that refers to a lost one may be missing
    assert 20 <= len(clip) <= 23
    step_s = 0.1 if name == "a.mkv" else STEP_S
    times_s = [view["time_s"] for view in clip]
    assert times_s == pytest.approx([step_s * number for number in numbers])
    assert str(len(clip)) in opening.skipped[0].reason
    assert opening.skipped[0].path == cut


def test_a_damaged_frame_is_an_error_when_it_is_read_and_can_be_left_out(tmp_path):
    path = film(tmp_path / "a.avi", "mjpeg", pix_fmt="yuvj420p", b_frames=0)
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][25]
        data = bytearray(path.read_bytes())
        place = data.index(bytes(packet))
    data[place : place + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    opening = Opening(skip_bad=True)
    clip = open_video(path, opening)
    assert [number_of(view["image"]) for view in clip] == [n for n in range(FRAMES) if n != 25]
    assert (
        "39 of its 40 frames can be decoded, with faults near 1.00 s" in opening.skipped[0].reason
    )
    assert clip[25]["time_s"] == pytest.approx(26 * STEP_S)
    with pytest.raises(DataError, match="39 of its 40"):
        read_video(path)


def test_a_frame_damaged_beyond_the_probe_is_named_when_it_is_read(tmp_path):
    pictures = [picture(number) for number in range(80)]
    path = film(tmp_path / "a.avi", "mjpeg", pictures=pictures, pix_fmt="yuvj420p", b_frames=0)
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][70]
        data = bytearray(path.read_bytes())
        place = data.index(bytes(packet))
    data[place : place + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    clip = read_video(path)
    with pytest.raises(DataError, match="frame 000070 cannot be decoded"):
        clip[70]
    assert [number_of(clip[number]["image"]) for number in (69, 71, 79, 70 - 1)] == [69, 71, 79, 69]


def test_a_header_that_promises_more_than_there_is_is_not_believed(tmp_path):
    path = film(tmp_path / "a.avi", "mjpeg", pix_fmt="yuvj420p", b_frames=0)
    data = bytearray(path.read_bytes())
    for chunk, offset in ((b"strh", 8 + 32), (b"avih", 8 + 16)):
        place = data.index(chunk) + offset
        assert int.from_bytes(data[place : place + 4], "little") == FRAMES
        data[place : place + 4] = (9 * FRAMES).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match="40 of the 360 frames that its header promises"):
        read_video(path)
    assert len(open_video(path, Opening(skip_bad=True))) == FRAMES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"", "empty"),
        ("a.mp4", b"\x00abc" * 30, "cannot be opened as a video"),
        ("a.txt", b"The colon was clean.\n" * 90, "as a video|no video"),
        ("a" * 300 + ".mp4", None, "cannot be read"),
        ("missing.mp4", None, "No such file"),
    ],
)
def test_what_is_no_video_is_one_clear_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_video(tmp_path / name)
    assert "\n" not in str(error.value)


def test_sound_a_picture_and_a_folder_are_no_videos(tmp_path):
    with pytest.raises(DataError, match="no video stream; found: audio"):
        read_video(sound(tmp_path / "a.wav"))
    Image.fromarray(picture(1)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="is no video"):
        read_video(tmp_path / "a.png")
    with pytest.raises(DataError, match="is a folder"):
        read_video(tmp_path)


def test_a_file_without_permission_says_so(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4")

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything: a mode would not do
    with pytest.raises(DataError, match=r"a\.mp4 cannot be read: Permission denied"):
        read_video(path)
