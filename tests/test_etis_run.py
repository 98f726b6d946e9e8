"""The scores put together: one image, a dataset, the command, and the trial of the scores."""

import csv
import json

import numpy as np
import pytest
import torch
import typer
from polyp_scenes import CAMERA, HEIGHT_MM, on_a_plane
from torch import Tensor
from typer.testing import CliRunner

from colondepth.cameras import Camera
from colondepth.data import open_clips
from colondepth.errors import DataError
from colondepth.images import write_image
from colondepth.masks import find_aperture
from colondepth.reconstruction.relief import relief
from colondepth.views import View
from evaluation.bench_etis_scores import print_verdicts, read_tried, write_tried
from evaluation.etis import SCORES, EtisRun, largest_piece, measure_clips, measure_image
from evaluation.etis_command import etis
from evaluation.etis_validation import (
    FOUND,
    SPOILT,
    TRUE,
    Tried,
    aligned_abs_rel,
    spoil,
    try_scores,
    verdicts,
)
from evaluation.rendered_polyps import RenderedPolyp


def scene_view(scene) -> View:
    return View(image=scene.image.float(), camera=CAMERA, polyp=scene.polyp, frame_id="7")


def write_dataset(root, *, frames: int = 3):
    scene = on_a_plane()
    for number in range(1, frames + 1):
        holds = scene.polyp if number != 2 else torch.zeros_like(scene.polyp)
        write_image(scene.image.float().roll(number, dims=2), root / f"images/{number}.png")
        mask = holds.roll(number, dims=2).float().expand(3, -1, -1)
        write_image(mask, root / f"masks/{number}.png")
    return root


@pytest.fixture
def dataset(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    return write_dataset(tmp_path / "data")


def slanted(image: Tensor, camera: Camera) -> Tensor:
    return torch.linspace(20, 30, image.shape[-1]).expand(1, *image.shape[-2:]).clone()


def test_one_image_has_every_score_and_only_what_was_asked_for():
    scene = on_a_plane()
    view = scene_view(scene)
    measured = measure_image(view, scene.depth_mm.float(), clip="c")
    assert measured.scores.keys() == SCORES.keys()
    assert measured.scores["relief_mm"] == pytest.approx(HEIGHT_MM, rel=0.04)
    assert measured.scores["stability"] != measured.scores["stability"]
    assert measured.scores["whdr"] != measured.scores["whdr"]
    with pytest.raises(DataError, match="no polyp"):
        measure_image(
            View(**{**view, "polyp": torch.zeros_like(scene.polyp)}),
            scene.depth_mm.float(),
            clip="c",
        )


def test_a_second_smaller_polyp_is_neither_the_polyp_nor_its_wall():
    scene = on_a_plane()
    both, depth_mm = scene.polyp.clone(), scene.depth_mm.float()
    rows, columns = scene.polyp[0].any(dim=1).nonzero(), scene.polyp[0].any(dim=0).nonzero()
    v, u = int(rows.float().mean()), int(columns.max()) + 4
    both[..., v - 4 : v + 4, u : u + 8] = True
    assert torch.equal(largest_piece(both), scene.polyp)
    depth_mm[..., v - 4 : v + 4, u : u + 8] -= 8
    view = View(**{**scene_view(scene), "polyp": both})
    rough = torch.randn(depth_mm.shape, generator=torch.Generator().manual_seed(2))
    depth_mm = depth_mm + 0.1 * rough
    found = measure_image(view, depth_mm, clip="c").relief
    usable = find_aperture(view["image"]) & (~both | scene.polyp)
    assert found == relief(depth_mm, CAMERA, polyp=scene.polyp, usable=usable)
    assert found.height_mm == pytest.approx(HEIGHT_MM, rel=0.1)


def test_a_mask_without_polyp_is_left_out_and_listed(dataset):
    run = EtisRun()
    clips = open_clips(dataset).clips
    found = list(measure_clips(clips, slanted, run, with_stability=False))
    assert [each.frame for each in found] == ["1", "3"]
    assert [(each.frame, each.why) for each in run.left_out] == [("2", "mask without polyp")]
    # The two images are one picture, rolled: a pair, and the other one's depth is a control.
    assert [(each.first, each.second) for each in run.agreements] == [("1", "3")]
    assert all(each.shading.other == each.shading.other for each in found)


def command(*words: object):
    app = typer.Typer()
    app.command()(etis)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_writes_scores_pairs_and_pictures(dataset, tmp_path):
    out, pairs, groups = tmp_path / "out", tmp_path / "points.csv", tmp_path / "groups.csv"
    pairs.write_text("frame,first_u,first_v,second_u,second_v,nearer\n3,5,5,60,50,first\n")
    groups.write_text("frame,group\n1,anna\n2,anna\n3,bert\n")
    done = command(
        *("--data", dataset, "--out", out, "--point-pairs", pairs, "--groups", groups),
        *("--pictures", 1, "--json"),
    )
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["frames"] == 2
    assert answer["excluded"] == {"mask without polyp": 1}
    assert answer["scores"]["whdr"] in (0.0, 1.0)
    assert answer["pairs"] == 1
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["clip"], row["frame"]) for row in rows] == [("anna", "1"), ("bert", "3")]
    assert rows[0]["whdr"] == ""
    assert float(rows[0]["stability"]) > 0
    made = json.loads((out / "summary.json").read_text())["made"]
    assert made["protocol"] == "etis"
    assert made["backbone"] == "sfsnet_lite"
    assert "guess" in made["settings"]["camera"]
    assert [path.name for path in (out / "pictures").rglob("*.png")] == ["1.png"]
    assert len((out / "stability.csv").read_text().splitlines()) == 3


def test_the_command_refuses_what_has_no_masks(tmp_path):
    write_image(torch.rand(3, 40, 50), tmp_path / "1.png")
    done = command("--data", tmp_path, "--out", tmp_path / "out")
    assert isinstance(done.exception, DataError)
    assert "no polyp masks" in str(done.exception)


def rendered(colon: str, *, shift: int) -> RenderedPolyp:
    scene = on_a_plane()
    moved = {"shifts": (shift, -shift), "dims": (1, 2)}
    return RenderedPolyp(
        colon=colon,
        image=scene.image.float().roll(**moved),
        depth_mm=scene.depth_mm.float().roll(**moved),
        polyp=scene.polyp.roll(**moved),
        camera=CAMERA.to(torch.zeros(())),
        size_mm=10.0,
        height_mm=3.0,
        kind="sessile",
    )


@pytest.mark.parametrize("kind", SPOILT)
def test_spoilt_depth_is_worse_and_what_is_unknown_stays_unknown(kind):
    true_mm = on_a_plane().depth_mm.float()
    true_mm[..., :5, :7] = 0
    spoilt = spoil(kind, true_mm, torch.Generator().manual_seed(1))
    everywhere = torch.ones_like(true_mm, dtype=torch.bool)
    assert aligned_abs_rel(spoilt, true_mm, everywhere) > 0.001
    assert aligned_abs_rel(3 * true_mm, true_mm, everywhere) == pytest.approx(0, abs=1e-6)
    assert int((spoilt == 0).sum()) == 35


def test_a_score_is_believed_only_where_it_ranks_rightly_in_every_colon():
    def tried(colon: int, depth: str, value: float, error: float) -> Tried:
        return Tried(
            colon=f"{colon}",
            view=colon,
            depth=depth,
            score="whdr",
            value=value,
            error=error,
            error_near=error,
        )

    good, bad = [], []
    for colon in range(8):
        wrong = colon % 2 == 0
        good += [tried(colon, TRUE, 0.0, 0.0), tried(colon, FOUND, 0.2, 0.1)]
        good += [tried(colon, f"{FOUND}, blurred", 0.1, 0.105)]  # hardly worse: does not count
        bad += [tried(colon, TRUE, 0.3 if wrong else 0.0, 0.0), tried(colon, FOUND, 0.2, 0.1)]
    (right,) = verdicts(good)
    assert right.passed(TRUE, FOUND)
    assert right.shares[TRUE, FOUND].mean == 1
    assert right.passed(FOUND, f"{FOUND}, blurred") is None
    (doubtful,) = verdicts(bad)
    assert doubtful.shares[TRUE, FOUND].mean == 0.5
    assert doubtful.passed(TRUE, FOUND) is False


def test_the_trial_tells_true_depth_from_a_slanted_plane(tmp_path, capsys):
    views = [(rendered(f"{k}", shift=k), rendered(f"{k}", shift=k + 2)) for k in range(1)]
    found = try_scores(views, {"slanted": slanted}, seed=1)
    told = {each.score: each for each in verdicts(found)}
    assert told["relief_to_noise"].shares[TRUE, FOUND].mean == 1
    assert told["whdr"].within.mean > 0.8
    assert told["agreement"].views == 1
    assert FOUND not in [each.depth for each in found if np.isinf(each.value)]
    write_tried(tmp_path / "tried.csv", found)
    again = read_tried(tmp_path / "tried.csv")
    assert len(again) == len(found)
    assert again[3].error == pytest.approx(found[3].error)
    print_verdicts(list(told.values()), again)
    assert "| relief_to_noise | 1.00 (1) ! |" in capsys.readouterr().out
