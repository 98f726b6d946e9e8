"""Videos as clips: frame k is frame k, at its own time, whatever the container and however read."""

import pickle
import random
from fractions import Fraction
from itertools import chain
from threading import active_count

import av
import numpy as np
import pytest
import torch
from films import (
    FRAMES,
    HEIGHT,
    INTERLACED_FLAGS,
    RATE,
    WIDTH,
    fields,
    film,
    number_of,
    picture,
)
from torch.utils.data import DataLoader

from colondepth.cameras import Camera
from colondepth.data.prefetch import prefetched
from colondepth.data.reading import Opening
from colondepth.data.video import Deinterlace, open_video, read_video
from colondepth.data.video_index import index_video
from colondepth.errors import DataError
from colondepth.views import require_view

H264 = "libx264" in av.codecs_available
needs_h264 = pytest.mark.skipif(not H264, reason="this PyAV has no libx264")
STEP_S = 1 / RATE
KINDS = {
    "mpeg4.mp4": {},
    "mpeg4.mov": {"b_frames": 0},
    "mpeg4.avi": {},
    "mpeg4.mkv": {},
    "mpeg2.mpg": {"codec": "mpeg2video", "form": "mpeg"},
    "mpeg2.vob": {"codec": "mpeg2video", "form": "vob"},
    "mpeg2.ts": {"codec": "mpeg2video", "form": "mpegts"},
    "raw.m2v": {"codec": "mpeg2video"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "b_frames": 0},
    "ffv1.mkv": {"codec": "ffv1", "b_frames": 0},
    "wmv2.wmv": {"codec": "wmv2", "b_frames": 0},
}
H264_KINDS = {
    "h264.mp4": {},
    "h264.mov": {"b_frames": 3},
    "h264.ts": {"form": "mpegts"},
    "h264.avi": {},  # whose container orders the frames wrongly
    "raw.h264": {},  # which has no time stamps
    "open.mkv": {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3"}},
    "fields.ts": {"form": "mpegts", "options": {"x264-params": "interlaced=1:keyint=10"}},
}
ALL_KINDS = [
    *KINDS.items(),
    *((name, {"codec": "libx264", **kind}) for name, kind in H264_KINDS.items() if H264),
]


@pytest.mark.parametrize(("name", "kind"), ALL_KINDS, ids=[name for name, _ in ALL_KINDS])
def test_a_frame_is_the_same_in_sequence_and_at_random_and_has_its_own_time(tmp_path, name, kind):
    clip = read_video(film(tmp_path / name, **kind))
    in_order = list(clip)
    assert [number_of(view["image"]) for view in in_order] == list(range(FRAMES))
    for number in random.Random(3).sample(range(FRAMES), FRAMES // 2):
        assert torch.equal(clip[number]["image"], in_order[number]["image"])
    tick_s = 0.0006  # Matroska rounds to milliseconds
    for number, view in enumerate(in_order):
        assert view["time_s"] == pytest.approx(number * STEP_S, abs=tick_s)


def test_a_view_of_a_video_is_a_view_with_the_stated_guess_for_a_camera(tmp_path):
    clip = read_video(film(tmp_path / "Darmspiegelung größer 大腸.mp4"))
    view = clip[7]
    require_view(view)
    assert view["image"].shape == (3, HEIGHT, WIDTH)
    assert view["frame_id"] == "000007"
    assert not view["camera"].calibrated
    assert clip.name == "Darmspiegelung größer 大腸"


def test_a_camera_that_is_given_is_kept_and_one_of_another_size_is_refused(tmp_path):
    path = film(tmp_path / "a.mp4")
    given = Camera.pinhole(fx=90, fy=95, cx=81, cy=47, height=HEIGHT, width=WIDTH)
    assert read_video(path, camera=given)[3]["camera"] is given
    with pytest.raises(DataError, match="resized"):
        read_video(path, camera=given.resized(2 * HEIGHT, WIDTH))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_time_stamps_of_a_variable_frame_rate_are_the_written_ones(tmp_path, name):
    gaps_ms = random.Random(1).choices([20, 40, 41, 133, 2000], k=FRAMES)
    pts = np.cumsum(gaps_ms).tolist()
    clip = read_video(film(tmp_path / name, pts=pts, tick_s=Fraction(1, 1000)))
    times_s = [view["time_s"] for view in clip]
    assert times_s == pytest.approx([ms / 1000 for ms in pts], abs=1e-6)
    assert number_of(clip[31]["image"]) == 31


@pytest.mark.parametrize(
    ("turn_deg", "size", "corner"),
    [
        # The green block lies at the left edge, below the middle.
        (-90, (WIDTH, HEIGHT), np.s_[:, 2:14, HEIGHT - 62 : HEIGHT - 50]),  # clockwise: on top
        (90, (WIDTH, HEIGHT), np.s_[:, WIDTH - 14 : WIDTH - 2, 50:62]),
        (180, (HEIGHT, WIDTH), np.s_[:, HEIGHT - 62 : HEIGHT - 50, WIDTH - 14 : WIDTH - 2]),
    ],
)
def test_frames_are_turned_as_the_file_says(tmp_path, turn_deg, size, corner):
    clip = read_video(film(tmp_path / "a.mp4", rotation_deg=turn_deg))
    image = clip[5]["image"]
    assert image.shape[1:] == size == (clip.camera.height, clip.camera.width)
    red, green, blue = image[corner].mean(dim=(1, 2)).tolist()
    assert green > 0.7
    assert max(red, blue) < 0.3


def test_a_clockwise_turn_is_the_one_that_telephones_write(tmp_path):
    path = film(tmp_path / "a.mp4", rotation_deg=-90)
    data = path.read_bytes()
    matrix = np.frombuffer(data, ">i4", count=5, offset=data.index(b"tkhd") + 44)
    # ISO 14496-12: x' = a x + c y, y' = b x + d y with a b u c d; right becomes down.
    assert matrix.tolist() == [0, 1 << 16, 0, -1 << 16, 0]


def combing(image: torch.Tensor) -> float:
    """Return how much each line of the moving part differs from both its neighbours."""
    lines = image[0, 66:94]
    return (lines[1:-1] - (lines[:-2] + lines[2:]) / 2).abs().mean().item()


@pytest.mark.parametrize("name", ["a.ts", "a.mpg"])
def test_interlaced_frames_are_made_whole_and_the_same_at_random(tmp_path, name):
    path = film(
        tmp_path / name,
        "mpeg2video",
        pictures=[fields(number) for number in range(FRAMES)],
        flags=INTERLACED_FLAGS,
        form="mpegts" if name == "a.ts" else "mpeg",
    )
    assert index_video(path).interlaced
    clip = read_video(path)
    in_order = [view["image"] for view in clip]
    assert [number_of(image) for image in in_order] == list(range(FRAMES))
    for number in (39, 0, 21, 20, 3, 38):
        assert torch.equal(clip[number]["image"], in_order[number])
    combed = read_video(path, deinterlace=Deinterlace.NEVER)
    assert combing(combed[20]["image"]) > 0.04
    # What is left is colour: the test's own pictures lose the fields of their chroma.
    assert combing(in_order[20]) < 0.5 * combing(combed[20]["image"])


def test_a_progressive_video_is_left_alone_unless_deinterlacing_is_asked_for(tmp_path):
    pictures = [fields(number) for number in range(12)]  # a recorder that forgot to say
    path = film(tmp_path / "a.mkv", "ffv1", pictures=pictures, b_frames=0)
    assert combing(read_video(path)[6]["image"]) > 0.04
    whole = read_video(path, deinterlace=Deinterlace.ALWAYS)
    assert combing(whole[6]["image"]) < 0.02
    assert number_of(whole[11]["image"]) == 11


@needs_h264
def test_colours_follow_the_matrix_that_the_file_names(tmp_path):
    colour = np.array([200, 60, 40], np.uint8)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        stream.codec_context.colorspace = 1  # BT.709
        # The matrix of BT.709 in closed form, limited range.
        red, green, blue = colour / 255
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        planes = [16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556]
        planes.append(128 + 224 * (red - luma) / 1.5748)
        yuv = np.empty((3, HEIGHT, WIDTH), np.uint8)
        yuv[:] = np.round(planes)[:, None, None]
        frame = av.VideoFrame.from_ndarray(yuv, format="yuv444p")
        frame.colorspace = 1
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    seen = read_video(path)[0]["image"].mean(dim=(1, 2)) * 255
    assert seen.tolist() == pytest.approx(colour.tolist(), abs=2.5)


def test_the_assumed_camera_follows_pixels_that_are_not_square(tmp_path):
    path = film(tmp_path / "a.mpg", "mpeg2video", aspect=Fraction(64, 45), form="mpeg")
    with av.open(str(path)) as file:
        aspect = float(file.streams.video[0].codec_context.sample_aspect_ratio)
    assert aspect > 1.05
    opening = Opening()
    camera = open_video(path, opening).camera
    assert (camera.linear[1, 1] / camera.linear[0, 0]).item() == pytest.approx(aspect, rel=0.01)
    assert any("pixels" in warning for warning in opening.warnings)


def test_two_recordings_joined_in_one_stream_are_one_after_the_other(tmp_path):
    one = film(tmp_path / "one.ts", "mpeg2video", form="mpegts").read_bytes()
    (tmp_path / "two.ts").write_bytes(one + one)
    clip = read_video(tmp_path / "two.ts")
    assert [number_of(view["image"]) for view in clip] == 2 * list(range(FRAMES))
    assert np.diff([view["time_s"] for view in clip]).min() > 0.9 * STEP_S
    assert number_of(clip[FRAMES + 17]["image"]) == 17


def test_a_stream_that_begins_within_a_group_says_so_or_begins_at_its_first_key_frame(tmp_path):
    whole = film(tmp_path / "a.ts", "mpeg2video", form="mpegts").read_bytes()
    with av.open(str(tmp_path / "a.ts")) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    tables = whole[: packets[0].pos]
    (tmp_path / "b.ts").write_bytes(tables + whole[packets[4].pos :])
    with pytest.raises(DataError, match="before its beginning"):
        read_video(tmp_path / "b.ts")
    opening = Opening(skip_bad=True)
    clip = open_video(tmp_path / "b.ts", opening)
    first = number_of(clip[0]["image"])
    assert first >= 8
    assert [number_of(view["image"]) for view in clip] == list(range(first, FRAMES))
    assert opening.skipped


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12
def test_a_clip_travels_to_the_workers_of_a_loader(tmp_path):
    clip = read_video(film(tmp_path / "a.mp4"))
    assert number_of(clip[3]["image"]) == 3  # the file is open, and a decoder runs, in this process
    loader = DataLoader(
        clip, batch_size=4, num_workers=2, collate_fn=_numbers, multiprocessing_context="fork"
    )
    assert list(chain.from_iterable(loader)) == list(range(FRAMES))
    assert number_of(pickle.loads(pickle.dumps(clip))[33]["image"]) == 33
    assert number_of(clip[4]["image"]) == 4


def test_a_slice_reads_the_frames_it_names(tmp_path):
    clip = read_video(film(tmp_path / "a.mkv"))
    assert [number_of(view["image"]) for view in clip[37:5:-8]] == [37, 29, 21, 13]


def test_prefetched_frames_come_in_order_and_leaving_ends_the_thread(tmp_path):
    clip = read_video(film(tmp_path / "a.mp4"))
    assert [number_of(view["image"]) for view in prefetched(clip)] == list(range(FRAMES))
    before = active_count()
    for view in prefetched(clip, ahead=2):
        if number_of(view["image"]) == 5:
            break
    del view
    assert active_count() <= before
    with pytest.raises(DataError, match="ahead is 0"):
        next(prefetched(clip, ahead=0))


def test_a_file_that_changed_since_it_was_opened_is_not_read(tmp_path):
    path = film(tmp_path / "a.mp4")
    clip = read_video(path)
    film(path, pictures=[picture(number) for number in range(20, 30)])
    with pytest.raises(DataError, match="changed"):
        clip[0]


def _numbers(views):
    return [number_of(view["image"]) for view in views]
