"""The report opens without a network, says how it was made, and shows names as they are."""

from dataclasses import replace
from html.parser import HTMLParser
from math import log, nan

import numpy as np
import pytest
import torch

from evaluation.evidence import DEPTH_BINS, Gathering
from evaluation.published import PUBLISHED, published_under
from evaluation.quantities import Quantity
from evaluation.report import MOST_LISTED, write_report
from evaluation.report_tables import (
    as_latex,
    as_markdown,
    clips_table,
    figures_table,
    numbers_alike,
    published_table,
)
from evaluation.statistics import Average
from evaluation.summary import Exclusion, FrameScore, Made, summarise

QUANTITIES = {
    "rmse_mm": Quantity("root mean square error", "mm", lower_is_better=True),
    "delta_1_25": Quantity("share within 1.25", "", lower_is_better=False),
}
MADE = Made(
    protocol="simcol3d",
    settings={"size": "475x475"},
    dataset="simcol3d, test",
    alignment="least squares",
    mask="no mask",
    cap_mm=90.0,
    average=Average.MACRO,
    backbone="sfsnet_lite",
    weights_sha256="3f" * 32,
    commit="0123abc",
)
HOSTILE = '<script>alert("x")</script>|$\\frac{$&_%#<img src=http://x/y.png>'


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.fetched, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in {"src", "href", "srcset"}]

    def handle_data(self, data):
        self.words.append(data)


def page_of(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    return _Page(text), text


def scored(clips, each=10):
    rng = np.random.default_rng(0)
    return [
        FrameScore(
            clip,
            f"{number:04d}",
            {"rmse_mm": float(rng.uniform(1, 3)), "delta_1_25": float(rng.uniform(0.8, 1))},
        )
        for clip in clips
        for number in range(each)
    ]


def gathered(clip="a", *, std=True):
    found = Gathering(far_mm=100, quantity="rmse_mm", lower_is_better=True, worst_count=2)
    generator = torch.Generator().manual_seed(0)
    for number in range(3):
        true_mm = 20 + 60 * torch.rand(1, 24, 32, generator=generator)
        found.add(
            clip,
            str(number),
            2.0 + number,
            image=torch.rand(3, 24, 32, generator=generator),
            found_mm=true_mm * 1.1,
            true_mm=true_mm,
            known=torch.rand(1, 24, 32, generator=generator) > 0.2,
            log_depth_std=torch.full_like(true_mm, 0.1) if std else None,
        )
    return found


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    clips = [*(f"clip {number}" for number in range(6)), HOSTILE]
    frames = scored(clips)
    out = [Exclusion("clip 0", f"x{n}", "no prediction") for n in range(MOST_LISTED)]
    out += [Exclusion(HOSTILE, HOSTILE, f"because {HOSTILE}")]
    found = gathered(HOSTILE)
    summary = summarise(
        frames,
        out,
        made=replace(MADE, backbone=f"mine {HOSTILE}"),
        quantities=QUANTITIES,
        labels={"level": dict.fromkeys(clips, HOSTILE)},
    )
    write_report(folder, summary, frames, out, found.worst(), evidence=found.evidence())
    return folder, summary


def test_the_page_fetches_nothing_and_runs_nothing(full):
    page, text = page_of(full[0])
    assert len(page.fetched) == 4 + 2  # violins, three curves, two worst frames
    assert all(link.startswith("data:image/") for link in page.fetched)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "url(" not in text


def test_names_are_shown_as_they_are_and_never_obeyed(full):
    page, text = page_of(full[0])
    assert "<script" not in text
    words = [word.strip() for word in page.words]
    assert words.count(HOSTILE) >= 4  # clip, level, excluded clip and frame
    assert page.tags.count("img") == 6


def test_the_page_says_how_its_figures_were_made(full):
    folder, summary = full
    page, _ = page_of(folder)
    said = " ".join(page.words)
    for words in (
        "Research software, not for diagnosis",
        "simcol3d, test",
        "least squares",
        "no mask",
        "90 mm",
        "70 scored, 201 excluded",
        "0123abc",
        "3f" * 32,
        summary.frames_sha256,
        "macro (over clips), the protocol's",
        "micro (over frames)",
        "drawing 7 whole clips",
        "And 1 more, in excluded.csv",
    ):
        assert words in said
    low, high = summary.macro["rmse_mm"].low, summary.macro["rmse_mm"].high
    assert f"[{low:.2f}, {high:.2f}]" in said


def test_the_folder_has_what_a_paper_needs(full):
    folder, _ = full
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    tables = ["figures", "clips", "by_label_1", "published"]
    pictures = ["clips.svg", "depths.svg", "errors_by_depth.svg", "calibration.svg"]
    pictures += [f"worst_{n}.png" for n in (1, 2)]
    assert names == {
        "report.html",
        "summary.json",
        "scores.csv",
        "excluded.csv",
        *(f"tables/{table}.{suffix}" for table in tables for suffix in ("md", "tex")),
        *(f"figures/{name}" for name in pictures),
    }


def test_a_run_in_which_nothing_was_scored_has_a_page_that_says_so(tmp_path):
    out = [Exclusion("a", "0", "no depth")]
    summary = summarise([], out, made=MADE, quantities=QUANTITIES)
    nothing = Gathering(far_mm=100, quantity="rmse_mm", lower_is_better=True)
    write_report(tmp_path, summary, [], out, [], evidence=nothing.evidence())
    page, _ = page_of(tmp_path)
    said = " ".join(page.words)
    assert "0 scored, 1 excluded" in said
    assert "No intervals: 0 clips" in said
    assert "Worst frames" not in said
    assert "nan" not in said


def test_a_run_without_evidence_or_exclusions_has_a_page(tmp_path):
    frames = scored(["a", "b"], each=2)
    summary = summarise(frames, [], made=MADE, quantities=QUANTITIES)
    write_report(tmp_path, summary, frames, [], [])
    page, _ = page_of(tmp_path)
    assert len(page.fetched) == 1
    assert "None: every frame was scored." in " ".join(page.words)


def test_the_same_run_gives_the_same_bytes(tmp_path):
    frames = scored(["a", "b"], each=9)
    summary = summarise(frames, [], made=MADE, quantities=QUANTITIES)
    for name in ("first", "second"):
        write_report(tmp_path / name, summary, frames, [], [])
    first, second = (tmp_path / name / "report.html" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_latex_and_markdown_print_names_as_they_are():
    frames = [FrameScore(r"a_b & 50% \x | y", "0", {"rmse_mm": 1.0, "delta_1_25": nan})]
    table = clips_table(summarise(frames, [], made=MADE, quantities=QUANTITIES))
    assert r"a\_b \& 50\% \textbackslash{}x | y & 1 & 0 & 1.00 & --" in as_latex(table)
    row = as_markdown(table).splitlines()[4]
    assert row.startswith(r"| a\_b & 50% \\x \| y | 1 | 0 | 1.00 |")


def test_a_latex_table_has_as_many_columns_as_it_says():
    summary = summarise(scored(["a", "b"]), [], made=MADE, quantities=QUANTITIES)
    lines = as_latex(figures_table(summary)).splitlines()
    assert r"    \toprule" in lines
    assert r"  \begin{tabular}{llrr}" in lines
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == 1 + len(QUANTITIES)
    assert {row.count(" & ") for row in rows} == {3}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.09791, 0.0861, 0.11234), ("0.098", "0.086", "0.112")),
        ((4.4, 3.871), ("4.40", "3.87")),
        ((41.26,), ("41.3",)),
        ((1234.5,), ("1234",)),
        ((0.0,), ("0",)),
        ((2.5e-7,), ("2.5e-07",)),
        ((-0.0189, -0.02271), ("-0.0189", "-0.0227")),
    ],
)
def test_numbers_have_three_digits_and_one_count_of_decimals(values, words):
    assert numbers_alike(*values) == words


def test_published_numbers_stand_only_beside_their_own_protocol():
    summary = summarise(scored(["a"]), [], made=MADE, quantities=QUANTITIES)
    beside = published_table(summary, published_under("simcol3d"))
    assert beside is not None
    assert [row[0] for row in beside.rows][:2] == [
        "sfsnet_lite (this run)",
        "CVML (FCBFormer-D, winner)",
    ]
    assert beside.rows[1][2] == "1.41"  # 0.141 cm
    assert published_table(summary, published_under("synthetic")) is None
    assert published_under("c3vd") == ()  # those tables do not state their alignment


def test_every_published_number_is_of_a_quantity_that_we_measure_and_has_a_source():
    from evaluation.depth_errors import DEPTH_ERRORS

    for entry in PUBLISHED:
        assert entry.figures.keys() <= DEPTH_ERRORS.keys()
        assert entry.source
        assert all(0 < value < 30 for value in entry.figures.values())
        assert 0 < entry.figures.get("delta_1_25", 0.5) < 1


def test_evidence_is_what_was_counted():
    found = Gathering(far_mm=100, quantity="abs_rel", lower_is_better=True, worst_count=1)
    true_mm = torch.tensor([[[10.0, 10, 50, 150], [10, 10, 50, 0]]])
    known = torch.tensor([[[True, True, True, True], [True, False, True, False]]])
    for clip, factor in (("a", 1.2), ("b", 0.9)):
        found.add(
            clip,
            "0",
            abs(factor - 1),
            image=torch.zeros(3, 2, 4),
            found_mm=true_mm * factor,
            true_mm=true_mm,
            known=known,
            log_depth_std=torch.full_like(true_mm, 0.1),
        )
    seen = found.evidence()
    width = 100 / DEPTH_BINS
    assert seen.frames == 2
    assert seen.true_pixels[int(10 / width)] == 6
    assert seen.true_pixels.sum() == 10
    assert seen.beyond == (2, 2)
    assert seen.errors[int(10 / width)].mean == pytest.approx(0.15)
    assert np.isnan(seen.errors[0].mean)
    # Half of the pixels are off by log 1.2 = 1.82 sigma (93.2 %), half by 1.05 sigma (70.8 %).
    assert log(1.2) / 0.1 == pytest.approx(1.823, abs=1e-3)
    assert dict(zip(seen.sureness.round(2), seen.held, strict=True)) == {
        **{round(0.05 * k, 2): 0.0 for k in range(1, 15)},
        **{round(0.05 * k, 2): 0.5 for k in range(15, 19)},
        0.95: 1.0,
    }
    assert [(frame.clip, frame.score) for frame in found.worst()] == [("a", pytest.approx(0.2))]


def test_the_worst_frames_are_those_with_the_lowest_share_within_bounds():
    found = Gathering(far_mm=100, quantity="delta_1_25", lower_is_better=False, worst_count=2)
    one = torch.ones(1, 2, 3)
    for number, score in enumerate([0.9, 0.2, nan, 0.5, 0.7]):
        found.add(
            "a", str(number), score, image=one.expand(3, 2, 3), found_mm=one, true_mm=one,
            known=one > 0,
        )  # fmt: skip
    assert [frame.frame for frame in found.worst()] == ["1", "3"]
    assert found.evidence().held is None
