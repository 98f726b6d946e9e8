"""What an evaluation writes is what is read back, and nothing goes missing in silence."""

import json
from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest

from colondepth.errors import DataError
from evaluation.quantities import Quantity
from evaluation.statistics import Average
from evaluation.summary import (
    Exclusion,
    FrameScore,
    Made,
    frame_list_sha256,
    read_exclusions,
    read_scores,
    read_summary,
    summarise,
    write_summary,
)

QUANTITIES = {
    "abs_rel": Quantity("mean relative error", "", lower_is_better=True),
    "delta_1_25": Quantity("share within 1.25", "", lower_is_better=False),
}
MADE = Made(
    protocol="sfsnet",
    settings={"size": "480x640", "cap": "none"},
    dataset="ruano, test",
    alignment="none",
    mask="none",
    cap_mm=None,
    average=Average.MACRO,
    backbone="sfsnet_lite",
    weights_sha256="ab" * 32,
    commit="0123abc",
)
HOSTILE = 'a,"b"\n<script>;=1+1'


def score(clip, frame, abs_rel, delta=0.9):
    return FrameScore(clip, frame, {"abs_rel": abs_rel, "delta_1_25": delta})


def some_frames(clips=7, each=3):
    rng = np.random.default_rng(0)
    return [
        score(f"clip {c}", f"{f:04d}", float(rng.uniform(0.05, 0.3)), float(rng.uniform(0.7, 1)))
        for c in range(clips)
        for f in range(each + c)
    ]


def summed_up(frames, exclusions=(), *, made=MADE, **more):
    return summarise(frames, exclusions, made=made, quantities=QUANTITIES, **more)


def test_the_figures_are_the_protocols_average_and_the_other_is_there_too():
    frames = [
        score("a", "0", 0.1),
        score("a", "1", 0.1),
        score("a", "2", 0.1),
        score("b", "0", 0.5),
    ]
    summary = summed_up(frames)
    assert summary.figures["abs_rel"].mean == pytest.approx(0.3)
    assert summary.micro["abs_rel"].mean == pytest.approx(0.2)
    by_frame = summed_up(frames, made=replace(MADE, average=Average.MICRO))
    assert by_frame.figures["abs_rel"].mean == pytest.approx(0.2)


def test_clips_and_reasons_are_counted():
    frames = [score("a", "0", 0.1), score("a", "1", nan), score("b", "0", 0.5)]
    out = [
        Exclusion("a", "2", "no prediction"),
        Exclusion("c", "0", "no prediction"),
        Exclusion("c", "1", "NaN in the prediction"),
    ]
    summary = summed_up(frames, out)
    assert summary.frames == 3
    assert summary.excluded == {"NaN in the prediction": 1, "no prediction": 2}
    assert [(row.clip, row.frames, row.excluded) for row in summary.clips] == [
        ("a", 2, 1),
        ("b", 1, 0),
        ("c", 0, 2),
    ]
    assert summary.clips[0].means["abs_rel"] == 0.1  # the mean of what is defined
    assert isnan(summary.clips[2].means["abs_rel"])
    assert summary.macro["abs_rel"].values == 2


def test_the_frames_of_one_patient_are_drawn_together():
    frames = some_frames()
    patients = {f"clip {c}": f"patient {c // 2}" for c in range(7)}
    grouped = summed_up(
        frames, made=replace(MADE, group_by="patient"), labels={"patient": patients}
    )
    assert grouped.figures["abs_rel"].groups == 4
    assert isnan(grouped.figures["abs_rel"].low)  # four patients are too few
    assert grouped.clips[3].group == "patient 1"
    assert not grouped.tables
    assert summed_up(frames).figures["abs_rel"].groups == 7


def test_a_label_of_clips_gives_a_table():
    frames = some_frames(clips=14)
    levels = {f"clip {c}": str(1 + c % 2) for c in range(14)}
    summary = summed_up(frames, labels={"level": levels})
    assert list(summary.tables["level"]) == ["1", "2"]
    expected = summed_up([frame for frame in frames if levels[frame.clip] == "2"])
    assert summary.tables["level"]["2"] == expected.figures


def test_everything_is_read_back_as_it_was_written(tmp_path):
    frames = [*some_frames(), score(HOSTILE, HOSTILE, 1 / 3, nan), score("empty", "", 1e-300)]
    out = [Exclusion(HOSTILE, "9", "a reason, with a comma")]
    levels = {frame.clip: "1" for frame in frames}
    made = replace(MADE, cap_mm=100.0)
    summary = summed_up(frames, out, made=made, labels={"level": levels})
    write_summary(tmp_path, summary, frames, out)
    assert repr(read_summary(tmp_path)) == repr(summary)  # nan differs from itself, its name not
    assert read_summary(tmp_path / "summary.json").made.average is Average.MACRO
    assert repr(read_scores(tmp_path)) == repr(tuple(frames))
    assert read_exclusions(tmp_path) == tuple(out)
    assert "NaN" not in (tmp_path / "summary.json").read_text()  # which JSON does not know


def test_a_run_in_which_no_frame_was_scored_is_written_too(tmp_path):
    out = [Exclusion("a", "0", "no depth")]
    write_summary(tmp_path, summed_up([], out), [], out)
    again = read_summary(tmp_path)
    assert again.frames == 0
    assert isnan(again.figures["abs_rel"].mean)


def test_the_digest_knows_the_frames_and_not_their_order():
    frames = some_frames()
    assert frame_list_sha256(frames) == frame_list_sha256(frames[::-1])
    assert frame_list_sha256(frames) != frame_list_sha256(frames[1:])
    apart = [score("a", "b c", 0.1)], [score("a b", "c", 0.1)]
    assert frame_list_sha256(apart[0]) != frame_list_sha256(apart[1])


@pytest.mark.parametrize(
    ("frames", "out", "words"),
    [
        ([score("a", "0", 0.1), score("a", "0", 0.2)], [], "'0' of clip 'a' is there twice"),
        ([score("a", "0", 0.1)], [Exclusion("a", "0", "x")], "is there twice"),
        ([FrameScore("a", "0", {"abs_rel": 1})], [], r"scores \['delta_1_25'\]"),
        ([score("a", "0", float("inf"))], [], "infinite abs_rel"),
    ],
)
def test_scores_that_cannot_be_are_refused(frames, out, words):
    with pytest.raises(DataError, match=words):
        summed_up(frames, out)


def test_labels_must_know_every_clip_and_the_group():
    frames = some_frames()
    with pytest.raises(DataError, match=r"says nothing of the clips \['clip 1'"):
        summed_up(frames, labels={"level": {"clip 0": "1"}})
    with pytest.raises(DataError, match="grouped by 'patient', expected 'clip' or one of"):
        summed_up(frames, made=replace(MADE, group_by="patient"))


def _damaged(folder, change):
    path = folder / "summary.json"
    parts = json.loads(path.read_text())
    change(parts)
    path.write_text(json.dumps(parts))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: parts.update(schema=2), "schema 2, expected 1"),
        (lambda parts: parts.update(shoe=1), "'shoe'"),
        (lambda parts: parts["made"].pop("mask"), "'mask'"),
        (lambda parts: parts["macro"].update(abs_rel=3), "garbles"),
        (lambda parts: parts["made"].update(average="mean"), "'mean' is not a valid Average"),
    ],
)
def test_a_summary_of_another_kind_is_one_error(tmp_path, change, words):
    frames = some_frames()
    write_summary(tmp_path, summed_up(frames), frames, [])
    _damaged(tmp_path, change)
    with pytest.raises(DataError, match=words) as caught:
        read_summary(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "3"])
def test_what_is_not_a_summary_is_one_error(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(DataError, match=r"summary\.json"):
        read_summary(tmp_path)
    with pytest.raises(DataError, match="expected the folder that"):
        read_summary(tmp_path / "nowhere")


def test_damaged_tables_name_the_line(tmp_path):
    (tmp_path / "scores.csv").write_text("clip,frame,abs_rel\na,0,0.1\na,1,o.2\n")
    with pytest.raises(DataError, match=r"scores\.csv, line 3: could not convert"):
        read_scores(tmp_path)
    (tmp_path / "scores.csv").write_text("clip,frame,abs_rel\na,0\n")
    with pytest.raises(DataError, match="line 2"):
        read_scores(tmp_path)
    (tmp_path / "scores.csv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_scores(tmp_path)
    (tmp_path / "excluded.csv").write_text("clip,frame\na,0\n")
    with pytest.raises(DataError, match="other columns"):
        read_exclusions(tmp_path)
