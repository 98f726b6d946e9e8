"""From a run to weights that are shipped: the figures on the page are those of the file."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_datasets
import tiny_training
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from colondepth import cli
from colondepth.backbones.contract import Backbone
from colondepth.backbones.registry import create
from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.views import Prediction, View, collate_views
from colondepth.weights import shipped
from colondepth.weights.files import load_weights, read_origin
from curriculum.cache import HELD_OUT_SEED
from curriculum.checkpoints import write_tensors
from curriculum.commands import LARGEST_SEED
from curriculum.model_card import BEGIN, END, written
from curriculum.run_folder import WEIGHTS, begin
from curriculum.shipping import add_sum, calibrate, read_run, require_little_change
from curriculum.shipping_figures import Group, mean_by_clip, measured, shading_depth
from curriculum.shipping_views import FIGURES_SEED, TEMPERATURE_SEED, Sample, spread
from synthetic_colons.clips import SyntheticClip
from synthetic_colons.exposure import srgb_from_linear

NAME, SIZE = "sfsnet_lite", (32, 40)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Return the folder of a run whose network says something, though nothing of use."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(6)
    network = create(NAME)
    with torch.no_grad():
        network.head.weight.mul_(10)
    facts = replace(tiny_training.facts(None), network=NAME, made_with={"commit": "a1b2c3d"})
    begin(folder, facts, tiny_training.recipe())
    write_tensors(folder / WEIGHTS, network.state_dict(), {"step": "16"})
    rows = [{"step": step, "step_s": 240.0} for step in range(1, 19)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def called(*words) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["colondepth", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def out(run, tmp_path_factory) -> Path:
    """Return the folder of what the command wrote about the run."""
    folder = tmp_path_factory.mktemp("out")
    real = tiny_datasets.simcol3d(tmp_path_factory.mktemp("simcol3d"))
    extent = ("--levels", 1, "--clips", 1, "--frames", 2, "--size", "32x40")
    assert called("ship", run, "--out", folder, "--simcol3d", real, *extent) == 0
    return folder


def page_rows(out: Path, name: str) -> list[list[str]]:
    """Return the cells of the page's rows that begin with a name, in order of the tables."""
    lines = (out / f"{NAME}.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return [cells for cells in rows if cells[0] == name]


@pytest.fixture(scope="module")
def by_hand(out) -> dict[str, float]:
    """Return figures of the file that was written, worked out from its answers in float64."""
    network = create(NAME).eval()
    load_weights(network, out / f"{NAME}.safetensors")
    size = {"height": SIZE[0], "width": SIZE[1]}
    clip = SyntheticClip("1", seed=FIGURES_SEED, frames=2, frames_per_s=1 / 15, **size)
    views = [frame.view for frame in clip[:]]
    with torch.no_grad():
        answers = [network(collate_views([view])) for view in views]
    insides = [((view["depth_mm"] > 0) & view["valid"]).numpy() for view in views]
    truths = [
        view["depth_mm"].double().numpy()[inside]
        for view, inside in zip(views, insides, strict=True)
    ]
    rows: dict[str, list[float]] = {}
    for answer, inside, true in zip(answers, insides, truths, strict=True):
        found = answer.depth_mm[0].double().numpy()[inside]
        scaled = found * np.sort(true)[(len(true) - 1) // 2] / np.sort(found)[(len(found) - 1) // 2]
        for prefix, depth in (("", found), ("scaled_", scaled)):
            rows.setdefault(f"{prefix}abs_rel", []).append(np.mean(abs(depth - true) / true))
            near = np.maximum(depth / true, true / depth) < 1.25
            rows.setdefault(f"{prefix}delta", []).append(np.mean(near))
            rows.setdefault(f"{prefix}rmse", []).append(np.sqrt(np.mean((depth - true) ** 2)))
        std = answer.log_depth_std[0].double().numpy()[inside]
        sure = abs(np.log(found / true)) / std
        rows.setdefault("within_1", []).append(np.mean(sure <= 1))
        rows.setdefault("within_2", []).append(np.mean(sure <= 2))
    every = np.sort(np.concatenate(truths))
    constant = every[(len(every) - 1) // 2]
    rows["constant_mm"] = [constant]
    rows["constant_abs_rel"] = [np.mean(abs(constant - true) / true) for true in truths]
    return {name: float(np.mean(values)) for name, values in rows.items()}


def test_the_figures_of_the_page_are_those_worked_out_by_hand(out, by_hand):
    kinds = ("abs_rel", "delta", "rmse")
    figures, scale, baselines, shares = page_rows(out, "1")
    assert figures[:4] == ["1", "1", "2", "32x40"]
    wanted = [by_hand[name] for name in (*kinds, *(f"scaled_{kind}" for kind in kinds))]
    for written_, figure, digits in zip(figures[4:], wanted, (3, 3, 2) * 2, strict=True):
        assert abs(float(written_) - figure) < 0.51 * 10**-digits
    part = 1 - by_hand["scaled_abs_rel"] / by_hand["abs_rel"]
    assert abs(float(scale[1].rstrip("%")) - 100 * part) < 0.51
    assert abs(float(baselines[1]) - by_hand["constant_mm"]) < 0.051
    assert abs(float(baselines[2]) - by_hand["constant_abs_rel"]) < 0.00051
    for cell, name in zip(shares[1:], ("within_1", "within_2"), strict=True):
        assert abs(float(cell.rstrip("%")) - 100 * by_hand[name]) < 0.051


def test_the_page_says_how_the_weights_were_made(out):
    text = " ".join((out / f"{NAME}.md").read_text().split())
    assert "not for diagnosis" in text
    assert "Apache-2.0" in text
    assert "took 18 of the recipe's 26 steps" in text
    assert "averaged weights of step 16" in text
    assert "after 32 views" in text  # 14 steps of 2 views, and 2 of the next stage
    assert "1.2 hours of steps" in text  # 18 of 4 minutes
    assert "commit `a1b2c3d`" in text


def test_the_file_is_the_one_of_the_digest_and_says_where_it_comes_from(out):
    (weights,) = shipped(out)
    weights.check()
    origin = read_origin(weights.path)
    assert (origin.backbone, origin.seed, origin.commit) == (NAME, tiny_training.SEED, "a1b2c3d")
    assert f"multiplied by {origin.temperature:.4f}" in " ".join(
        (out / f"{NAME}.md").read_text().split()
    )
    assert "step 16 of 26, 32 views" in origin.recipe


def test_simcol3d_is_measured_and_never_pictured(out):
    figures, _, baselines, shares = page_rows(out, "SimCol3D")
    assert figures[:4] == ["SimCol3D", "1", "2", "36x48"]
    assert len(baselines) == 9
    assert len(shares) == 3
    with Image.open(out / f"{NAME}.png") as one_level:
        assert one_level.height < one_level.width  # three rows of four panels, not six


class Teller(Backbone):
    """Says depths and deviations that it is given, image after image."""

    def __init__(self, answers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(1.0))
        self.answers = list(answers)
        self.place = nn.Parameter(torch.zeros(()))

    def forward(self, batch) -> Prediction:
        depth_mm, std = self.answers.pop(0)
        return Prediction(depth_mm=depth_mm, log_depth_std=std * self.temperature)


def samples(count: int, height: int = 64, width: int = 80) -> list[Sample]:
    camera = Camera.pinhole(fx=60, fy=66, cx=38.0, cy=33.0, height=height, width=width)
    image = torch.full((3, height, width), 0.5)
    depth_mm = torch.linspace(10, 90, height * width).reshape(1, height, width)
    valid = torch.ones(1, height, width, dtype=torch.bool)
    valid[:, :5] = False
    view = View(image=image, camera=camera, depth_mm=depth_mm, valid=valid, frame_id="0")
    return [Sample(group="1", clip=f"{number}", view=view) for number in range(count)]


def test_a_standard_deviation_that_is_too_small_by_a_factor_gets_that_factor():
    views, generator = samples(30), torch.Generator().manual_seed(2)
    answers = []
    for sample in views:
        true_mm = sample.view["depth_mm"][None]
        std = 0.05 + 0.1 * torch.rand(true_mm.shape, generator=generator)
        error = std * torch.randn(true_mm.shape, generator=generator)
        error[~sample.view["valid"][None]] = 5  # must not count
        answers.append((true_mm * error.exp(), std / 2.5))
    network = Teller(answers)
    found = calibrate(network, views)
    assert found.temperature == pytest.approx(2.5, rel=0.03)
    assert network.temperature.item() == found.temperature
    assert found.after == pytest.approx((0.683, 0.954), abs=0.01)
    assert found.before.one == pytest.approx(0.311, abs=0.01)  # erf(0.4 / sqrt(2))


def test_a_perfect_network_has_no_error_and_a_frame_without_depth_is_counted():
    views = samples(2)
    dark = View(**{**views[0].view, "depth_mm": torch.zeros_like(views[0].view["depth_mm"])})
    answers = [(each.view["depth_mm"][None], each.view["depth_mm"][None]) for each in views]
    with_dark = [replace(views[0], view=dark), *views]
    group = measured(Teller(answers), Teller(answers), with_dark)
    assert (group.frames, group.unscored, group.clips) == (2, 1, 2)
    assert group.network["abs_rel"] == 0
    assert group.network["within_1"] == pytest.approx(1)
    assert group.constant["abs_rel"] > 0.3


def test_clips_weigh_the_same_whatever_their_frames():
    rows = [("a", {"x": 1.0}), ("b", {"x": 10.0}), ("a", {"x": 3.0})]
    assert mean_by_clip(rows) == {"x": 6.0}  # not 14 / 3


def test_shading_gives_depth_but_for_its_unit_where_light_falls_with_its_square():
    depth_mm = torch.linspace(5, 60, 6 * 8).reshape(1, 6, 8)
    image = srgb_from_linear(20 / depth_mm.square()).expand(3, -1, -1)
    ratio = shading_depth(image) / depth_mm
    assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-4, atol=0)


def test_nothing_that_trains_or_validates_can_draw_the_seeds_of_the_figures():
    assert len({FIGURES_SEED, TEMPERATURE_SEED, HELD_OUT_SEED}) == 3
    assert min(FIGURES_SEED, TEMPERATURE_SEED) > LARGEST_SEED
    assert spread(900, 2) == [225, 675]
    assert spread(3, 3) == [0, 1, 2]


def group(**figures: float) -> Group:
    own = {"abs_rel": 0.2, "rmse_mm": 10.0}
    return Group(
        name="5",
        clips=1,
        frames=1,
        unscored=0,
        size=SIZE,
        network=own | figures,
        unrounded=own,
        constant_mm=1.0,
        constant={},
        shading={},
    )


def test_weights_that_halving_changes_are_refused():
    assert require_little_change([group(), group(rmse_mm=10.02)]) == pytest.approx(0.002)
    assert require_little_change([group(abs_rel=0.204)]) == pytest.approx(0.004)
    with pytest.raises(DataError, match=r"changes abs_rel of level 5 by 0[.]006, expected"):
        require_little_change([group(), group(abs_rel=0.206)])


def test_a_digest_takes_the_place_of_the_older_one_and_leaves_the_others(tmp_path):
    for name, digest in (("b", "1" * 64), ("a", "2" * 64), ("b", "3" * 64)):
        add_sum(tmp_path, f"{name}.safetensors", digest)
    listed = [(weights.path.name, weights.sha256[0]) for weights in shipped(tmp_path)]
    assert listed == [("a.safetensors", "2"), ("b.safetensors", "3")]


def test_what_a_hand_wrote_around_the_figures_stays(monkeypatch):
    card = SimpleNamespace(facts=SimpleNamespace(network="net"))
    monkeypatch.setattr("curriculum.model_card.generated", lambda card: "new\n")
    page = written(card, f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    assert page == f"above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"
    assert written(card, page) == page
    with pytest.raises(DataError, match="the old page of net lacks the line"):
        written(card, "by hand alone")


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ((), "has no run.json; expected the --out folder of `colondepth train`"),
        (("run.json", "config.toml"), "has no weights.safetensors: they come with the first"),
    ],
    ids=["empty", "without weights"],
)
def test_a_wrong_folder_is_one_line(run, tmp_path, capsys, kept, said):
    for name in kept:
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert called("ship", tmp_path, "--out", tmp_path / "out") == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    assert len(answer.err.strip().splitlines()) == 1
    assert said in answer.err
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused(run, tmp_path):
    for name in ("run.json", "config.toml"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    write_tensors(tmp_path / WEIGHTS, {"x": torch.zeros(2)}, {"step": "1"})
    with pytest.raises(DataError, match="is not what a run of sfsnet_lite writes"):
        read_run(tmp_path)
