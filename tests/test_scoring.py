"""Frames are scored as the papers' scripts do it, each once, and a run goes on where it stopped."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import CX, CY, FX, FY, H, W, cameras
from torch.testing import assert_close

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.geometry import distance_from_depth
from colondepth.views import Clip, View
from evaluation.alignment import Alignment
from evaluation.depth_sources import DepthSource, Found, MapDepth, NetworkDepth
from evaluation.evidence import Gathering
from evaluation.prediction_maps import NEGATIVE, NO_MAP, NOT_FINITE, PredictionMaps
from evaluation.protocols.names import named_protocol
from evaluation.protocols.picture import Crop
from evaluation.protocols.protocol import Length, Mask, Protocol, Region
from evaluation.score_journal import ScoreJournal
from evaluation.scored_frames import NO_DEPTH, NO_DEPTH_FILE, NO_TRUTH, UNREADABLE, Settings
from evaluation.scoring import BESIDE, quantities, score_clips, worst_frames

PINHOLE = Camera.pinhole(fx=FX, fy=FY, cx=CX, cy=CY, height=H, width=W)
PLAIN = named_protocol("synthetic")
FRAMES = 7


def maps(seed: int, *, low: float = 5, high: float = 90) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(FRAMES, 1, H, W, generator=generator)


TRUE = maps(0)
FOUND = TRUE * torch.exp(0.2 * torch.randn(TRUE.shape, generator=torch.Generator().manual_seed(1)))


def clip_of(true_mm=TRUE, *, name="S5", camera=PINHOLE, **more) -> Clip:
    def read(number: int) -> View:
        image = torch.full((3, H, W), number / 10)
        view = View(image=image, camera=camera, depth_mm=true_mm[number].clone())
        return view | {key: values[number] for key, values in more.items()}

    return Clip(read, [f"{n:04d}" for n in range(len(true_mm))], camera=camera, name=name)


class Said(DepthSource):
    """Depth that is known before; counts how often each frame is asked for."""

    def __init__(self, found_mm=FOUND, *, ahead: bool = False, stop_at: int | None = None) -> None:
        self.found_mm, self.ahead, self.stop_at = found_mm, ahead, stop_at
        self.asked: list[int] = []

    def lacking(self, clip: Clip) -> Mapping[str, str]:
        return {}

    def depth(self, clip: str, own: View, view: View) -> Found:
        number = int(own["frame_id"])
        if number == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(number)
        return Found(depth_mm=self.found_mm[number])


def gathering(protocol: Protocol) -> Gathering:
    return Gathering(far_mm=protocol.far_mm, quantity="abs_rel", lower_is_better=True)


def scored(folder, protocol, source=None, clips=None, *, run=None, seen=None, **settings):
    with ScoreJournal(folder, run or {}) as journal:
        score_clips(
            clips or [clip_of()],
            protocol,
            source or Said(),
            journal,
            gathering=seen or gathering(protocol),
            settings=Settings(**settings),
        )
    return journal


def column(journal: ScoreJournal, name: str) -> np.ndarray:
    frames = sorted(journal.frames.values(), key=lambda each: each.frame)
    return np.array([each.scores[name] for each in frames])


def reasons(journal: ScoreJournal) -> dict[str, str]:
    return {each.frame: each.why for each in journal.exclusions.values()}


def means(per_pixel: np.ndarray) -> np.ndarray:
    return per_pixel.reshape(len(per_pixel), -1).mean(axis=1)


@pytest.mark.parametrize("readers", [1, 3])
def test_metric_scores_are_those_of_the_formulas(tmp_path: Path, readers: int) -> None:
    journal = scored(tmp_path, PLAIN, readers=readers)
    y, f = TRUE.double().numpy(), FOUND.double().numpy()
    assert column(journal, "abs_rel") == pytest.approx(means(np.abs(f - y) / y))
    assert column(journal, "rmse_mm") == pytest.approx(np.sqrt(means((f - y) ** 2)))
    within = means(np.maximum(f / y, y / f) < 1.25)
    assert column(journal, "delta_1_25") == pytest.approx(within)
    assert (column(journal, "answered") == 1).all()
    assert set(next(iter(journal.frames.values())).scores) == set(quantities(PLAIN))


def test_other_alignments_stand_beside_under_names_of_their_own(tmp_path: Path) -> None:
    journal = scored(tmp_path, PLAIN, Said(FOUND * 3))
    f, y = 3 * FOUND.double().numpy(), TRUE.double().numpy()
    ratio = np.median(y.reshape(FRAMES, -1), 1) / np.median(f.reshape(FRAMES, -1), 1)
    aligned = f * ratio[:, None, None, None]
    assert column(journal, "abs_rel_by_median") == pytest.approx(means(np.abs(aligned - y) / y))
    assert column(journal, "abs_rel") == pytest.approx(means(np.abs(f - y) / y))
    beside = [name for name in quantities(PLAIN) if "_by_" in name]
    assert len(beside) == len(BESIDE) * len(PLAIN.beside) == 9
    assert not [name for name in quantities(named_protocol("sfsnet")) if "_by_" in name]


def test_sfsnet_compares_8_bit_distances_of_every_pixel(tmp_path: Path) -> None:
    camera = cameras()["fisheye"]
    journal = scored(tmp_path, named_protocol("sfsnet"), clips=[clip_of(camera=camera)])
    # Slowly: ranges, 8-bit codes with gamma, the decoder's table of 8 bits, then plain errors.
    y = distance_from_depth(TRUE.double(), camera).numpy()
    f = distance_from_depth(FOUND.double(), camera).numpy()
    code = np.round(255 * (np.clip(f, 1, 250) / 250) ** (1 / 1.5))
    f = np.maximum(np.floor(255 * (code / 255) ** 1.5 + 1e-9), 1) / 255 * 250
    assert column(journal, "abs_rel") == pytest.approx(means(np.abs(f - y) / y), rel=1e-3)
    log10 = means(np.abs(np.log10(f) - np.log10(y)))
    assert column(journal, "log10") == pytest.approx(log10, rel=1e-3)


def test_simcol3d_fits_one_scale_to_the_means_of_a_trajectorys_frames(tmp_path: Path) -> None:
    protocol = named_protocol("simcol3d")
    drift = torch.linspace(0.5, 1.6, FRAMES)[:, None, None, None]
    source = Said(FOUND * drift)
    journal = scored(tmp_path, protocol, source)
    y = TRUE.double().numpy()
    shares = np.minimum((FOUND * drift).numpy() / np.float32(200), 1).astype(np.float16)
    f = shares.astype(np.float32).astype(np.float64) * 200
    of_y, of_f = means(y), means(f)
    scale = (of_y * of_f).sum() / (of_f * of_f).sum()
    assert journal.fits["S5"][0] == pytest.approx(scale)
    assert column(journal, "l1_mm") == pytest.approx(means(np.abs(scale * f - y)))
    assert column(journal, "rmse_mm") == pytest.approx(np.sqrt(means((scale * f - y) ** 2)))
    median = np.median((np.abs(scale * f - y) / y).reshape(FRAMES, -1), axis=1)
    assert column(journal, "median_rel") == pytest.approx(median)
    assert sorted(source.asked) == list(range(FRAMES))  # once each, though twice looked at
    assert {path.name for path in tmp_path.iterdir()} == {"scores.jsonl"}


def test_median_scaling_comes_before_the_limits(tmp_path: Path) -> None:
    protocol = replace(named_protocol("scared"), cap_mm=60.0)
    journal = scored(tmp_path, protocol, Said(FOUND * 7))
    for number, frame in enumerate(sorted(journal.frames.values(), key=lambda each: each.frame)):
        y, f = TRUE[number].double().numpy(), 7 * FOUND[number].double().numpy()
        y, f = y[TRUE[number].numpy() <= 60], f[TRUE[number].numpy() <= 60]
        f = np.clip(f * np.median(y) / np.median(f), 1e-3, 60)
        assert frame.scores["abs_rel"] == pytest.approx(np.mean(np.abs(f - y) / y))


def poisoned(where: torch.Tensor) -> torch.Tensor:
    return torch.where(where, 1e5, TRUE)


def test_pixels_that_a_protocol_leaves_out_do_not_count(tmp_path: Path) -> None:
    region = Region(top=0.25, bottom=0.75, left=0.1, right=0.5, name="a part")
    protocol = replace(PLAIN, near_mm=20.0, cap_mm=70.0, region=region)
    valid = maps(3, low=0, high=1) > 0.2
    out = ~region.inside(H, W) | (TRUE < 20) | (TRUE > 70) | ~valid
    clips = [clip_of(valid=valid)]
    journal = scored(tmp_path / "a", protocol, Said(poisoned(out)), clips)
    assert column(journal, "abs_rel").max() == 0
    # "No mask" takes the pixels that are not valid too.
    unmasked = scored(tmp_path / "b", replace(protocol, mask=Mask.NONE), Said(poisoned(out)), clips)
    assert column(unmasked, "abs_rel").min() > 1


def test_pixels_without_an_answer_have_no_error_and_are_counted(tmp_path: Path) -> None:
    silent = torch.where(maps(4, low=0, high=1) < 0.25, 0, TRUE * 1.1)
    journal = scored(tmp_path, PLAIN, Said(silent))
    share = (silent > 0).double().mean(dim=(1, 2, 3)).numpy()
    assert column(journal, "answered") == pytest.approx(share)
    assert column(journal, "abs_rel") == pytest.approx(0.1, abs=1e-6)
    shifted = scored(
        tmp_path / "shift", replace(PLAIN, alignment=Alignment.SCALE_SHIFT), Said(silent)
    )
    assert column(shifted, "answered") == pytest.approx(share)


def test_frames_with_nothing_to_score_are_listed(tmp_path: Path) -> None:
    true_mm, found_mm = TRUE.clone(), FOUND.clone()
    true_mm[2], found_mm[4], true_mm[5] = 0, 0, 95.0
    protocol = replace(PLAIN, cap_mm=92.0)
    journal = scored(tmp_path, protocol, Said(found_mm), [clip_of(true_mm)])
    assert reasons(journal) == {"0002": NO_TRUTH, "0004": NO_DEPTH, "0005": NO_TRUTH}
    assert len(journal.frames) == FRAMES - 3


def test_a_clip_without_depth_is_an_error_or_listed(tmp_path: Path) -> None:
    def read(number: int) -> View:
        return View(image=torch.zeros(3, H, W), camera=PINHOLE)

    clips = [Clip(read, ["0000", "0001"], camera=PINHOLE, name="screening")]
    with pytest.raises(DataError, match="no depth to compare with"):
        scored(tmp_path / "a", PLAIN, clips=clips)
    journal = scored(tmp_path / "b", PLAIN, clips=clips, skip_bad=True)
    assert set(reasons(journal).values()) == {NO_DEPTH_FILE}


def test_a_frame_that_cannot_be_read_is_an_error_or_listed(tmp_path: Path) -> None:
    good = clip_of()

    def read(number: int) -> View:
        if number == 3:
            raise DataError("0003.png is cut short")
        return good[number]

    clips = [Clip(read, good.frame_ids, camera=PINHOLE, name="S5")]
    with pytest.raises(DataError, match="cut short"):
        scored(tmp_path / "a", PLAIN, clips=clips)
    journal = scored(tmp_path / "b", PLAIN, clips=clips, skip_bad=True)
    assert reasons(journal) == {"0003": UNREADABLE}
    assert len(journal.frames) == FRAMES - 1


@pytest.mark.parametrize("name", ["synthetic", "simcol3d"])
def test_a_stopped_run_goes_on_and_ends_as_if_never_stopped(tmp_path: Path, name: str) -> None:
    protocol = named_protocol(name)
    clips = [clip_of(name="S5"), clip_of(TRUE + 1, name="S10")]
    whole = scored(tmp_path / "whole", protocol, Said(), clips)
    stopped = Said(stop_at=5)
    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path / "part", protocol, stopped, clips)
    part = tmp_path / "part" / "scores.jsonl"
    part.write_bytes(part.read_bytes() + b'{"clip": "S5", "fra')  # killed while it wrote
    again = Said()
    journal = scored(tmp_path / "part", protocol, again, clips)
    assert journal.frames == whole.frames
    assert journal.fits == whole.fits
    asked = len(stopped.asked) + len(again.asked)
    kept = 4 if name == "synthetic" else 5  # two at a time, but what waits is kept each
    assert len(again.asked) == 2 * FRAMES - kept
    assert asked <= 2 * FRAMES + 1
    third = Said()
    assert scored(tmp_path / "part", protocol, third, clips).frames == whole.frames
    assert not third.asked


def test_a_journal_of_another_run_is_refused(tmp_path: Path) -> None:
    scored(tmp_path, PLAIN, run={"weights": "aa", "protocol": "synthetic"})
    with pytest.raises(DataError, match="weights was 'aa' and is 'bb'; take another --out"):
        scored(tmp_path, PLAIN, run={"weights": "bb", "protocol": "synthetic"})
    with pytest.raises(DataError, match="is a file"):
        ScoreJournal(tmp_path / "scores.jsonl", {})


def test_a_damaged_journal_says_where(tmp_path: Path) -> None:
    scored(tmp_path, PLAIN)
    path = tmp_path / "scores.jsonl"
    lines = path.read_text().splitlines()
    for broken in ("not JSON", json.dumps({"clip": "S5"}), "[1]"):
        path.write_text("\n".join([*lines[:3], broken, *lines[4:]]) + "\n")
        with pytest.raises(DataError, match="line 4 is damaged"):
            ScoreJournal(tmp_path, {})
    path.write_text('{"some": "file"}\n')
    with pytest.raises(DataError, match="does not begin"):
        ScoreJournal(tmp_path, {})


def test_an_undefined_score_survives_the_journal(tmp_path: Path) -> None:
    from evaluation.summary import FrameScore

    with ScoreJournal(tmp_path, {}) as journal:
        journal.add([FrameScore("a", "1", {"x": float("nan"), "y": 0.1})])
        journal.add_fit("a", float("nan"), float("nan"))
    again = ScoreJournal(tmp_path, {})
    assert np.isnan(again.frames["a", "1"].scores["x"])
    assert again.frames["a", "1"].scores["y"] == 0.1
    assert np.isnan(again.fits["a"]).all()


def test_a_wrong_unit_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="multiplied by 10 to fit the truth"):
        scored(tmp_path / "a", PLAIN, Said(TRUE / 10), check_unit=True)
    assert not ScoreJournal(tmp_path / "a", {}).frames
    assert scored(tmp_path / "b", PLAIN, Said(TRUE * 4), check_unit=True).frames
    assert scored(tmp_path / "c", PLAIN, Said(TRUE / 10)).frames


def test_worst_frames_are_those_with_the_worst_scores(tmp_path: Path) -> None:
    wrong = torch.tensor([1.1, 1.5, 1.0, 1.9, 1.2, 1.3, 1.4])[:, None, None, None]
    source, clips = Said(TRUE * wrong), [clip_of()]
    with ScoreJournal(tmp_path, {}) as journal:
        score_clips(clips, PLAIN, source, journal, gathering=gathering(PLAIN), settings=Settings())
        worst = worst_frames(clips, PLAIN, source, journal, settings=Settings(), count=2)
    assert [(each.frame, each.quantity) for each in worst] == [
        ("0003", "abs_rel"),
        ("0001", "abs_rel"),
    ]
    assert worst[0].score == pytest.approx(0.9)
    assert_close(worst[0].found_mm, TRUE[3] * 1.9)
    assert worst[0].image.unique().item() == pytest.approx(0.3)


def test_the_report_is_told_of_aligned_depth(tmp_path: Path) -> None:
    protocol = replace(named_protocol("scared"), clamped=False)
    seen = gathering(protocol)
    scored(tmp_path, protocol, Said(TRUE * 4), seen=seen)
    evidence = seen.evidence()
    assert evidence.frames == FRAMES
    assert (evidence.true_pixels == evidence.found_pixels).all()


def saved(folder: Path, values: torch.Tensor) -> PredictionMaps:
    folder.mkdir(parents=True)
    for number, each in enumerate(values):
        np.save(folder / f"{number:04d}.npy", each[0].numpy())
    return PredictionMaps(folder, 1.0)


def maps_source(maps: PredictionMaps, picture=None, length=Length.DEPTH, *, skip_bad=False):
    return MapDepth(maps, length=length, picture=picture, alone=True, skip_bad=skip_bad)


def test_maps_are_scored_as_a_network_is(tmp_path: Path) -> None:
    source = maps_source(saved(tmp_path / "maps", FOUND))
    of_maps = scored(tmp_path / "a", PLAIN, source)
    assert of_maps.frames == scored(tmp_path / "b", PLAIN, Said()).frames


def test_maps_of_distance_become_depth(tmp_path: Path) -> None:
    camera = cameras()["fisheye"]
    ranges = distance_from_depth(FOUND.double(), camera).float()
    source = maps_source(saved(tmp_path / "maps", ranges), length=Length.DISTANCE)
    journal = scored(tmp_path / "a", PLAIN, source, [clip_of(camera=camera)])
    expected = scored(tmp_path / "b", PLAIN, Said())
    assert column(journal, "abs_rel") == pytest.approx(column(expected, "abs_rel"), rel=1e-4)


def test_maps_of_the_whole_frame_are_cropped_like_it(tmp_path: Path) -> None:
    picture = Crop(of=(H, W), top=4, left=7, height=20, width=30)
    protocol = replace(PLAIN, picture=picture)
    whole = maps_source(saved(tmp_path / "whole", FOUND), picture)
    cut = maps_source(saved(tmp_path / "cut", FOUND[..., 4:24, 7:37]), picture)
    frames = scored(tmp_path / "a", protocol, whole).frames
    assert frames == scored(tmp_path / "b", protocol, cut).frames
    y, f = (m[..., 4:24, 7:37].double().numpy() for m in (TRUE, FOUND))
    found = [each.scores["abs_rel"] for each in frames.values()]
    assert found == pytest.approx(means(np.abs(f - y) / y))


def test_bad_maps_are_errors_or_listed_by_reason(tmp_path: Path) -> None:
    values = FOUND.clone()
    values[1, 0, 0, 0], values[3, 0, 2, 2] = float("nan"), -1
    maps = saved(tmp_path / "maps", values)
    (tmp_path / "maps" / "0005.npy").unlink()
    with pytest.raises(DataError, match="have no predicted map: 0005"):
        scored(tmp_path / "a", PLAIN, maps_source(maps))
    source = maps_source(maps, skip_bad=True)
    with pytest.raises(DataError, match=r"0001.npy has 1 values that are NaN"):
        scored(tmp_path / "b", PLAIN, source)
    journal = scored(tmp_path / "c", PLAIN, source, skip_bad=True)
    assert reasons(journal) == {"0001": NOT_FINITE, "0003": NEGATIVE, "0005": NO_MAP}
    assert len(journal.frames) == FRAMES - 3


def test_a_network_is_asked_for_what_the_protocol_scores() -> None:
    class Network:
        def predict(self, image, camera):
            assert image.shape == (3, 20, 30)
            assert (camera.height, camera.width) == (20, 30)
            depth = torch.full((1, 1, 20, 30), 9.0)
            depth[..., 0, 0], depth[..., 0, 1], depth[..., 0, 2] = float("nan"), -3, 7
            valid = torch.ones(1, 1, 20, 30, dtype=torch.bool)
            valid[..., 0, 2] = False

            class Answer:
                class prediction:  # noqa: N801
                    depth_mm, log_depth_std = depth, depth / 10

            Answer.prediction.valid = valid
            return Answer

    picture = Crop(of=(H, W), top=4, left=7, height=20, width=30)
    own = clip_of()[0]
    found = NetworkDepth(Network()).depth("S5", own, picture.applied(own))
    assert found.depth_mm[0, 0, :4].tolist() == [0, 0, 0, 9]
    assert found.log_depth_std[0, 5, 5].item() == pytest.approx(0.9)
