"""Protocols are what the papers say, by one name each, and the documents show them as they are."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import C3VD, at
from torch.testing import assert_close

import evaluation.protocols
from colondepth.data import SPLITS
from colondepth.data import names as dataset_names
from colondepth.errors import DataError, UnknownNameError
from colondepth.geometry import unproject
from colondepth.motion import transform
from curriculum.shipping_views import FIGURES_SEED, HELD_OUT_SEED, TEMPERATURE_SEED
from evaluation.alignment import Alignment, Scope
from evaluation.depth_errors import depth_errors
from evaluation.protocols import synthetic, table
from evaluation.protocols.c3vd_ppsnet import share_within_a_tenth
from evaluation.protocols.kitti_eigen import GARG
from evaluation.protocols.names import ELSEWHERE, PURPOSES, named_protocol, names
from evaluation.protocols.picture import pictured
from evaluation.protocols.protocol import varied
from evaluation.protocols.rounding import GammaCodes, HalfFloats, rounded
from evaluation.published import PUBLISHED
from evaluation.scoring import quantities
from synthetic_colons.analytic import Plane, look

ROOT = Path(__file__).parents[1]
EVERY = pytest.mark.parametrize("name", names())


@EVERY
def test_a_protocol_has_the_name_that_it_is_found_by(name: str) -> None:
    assert named_protocol(name).name == name


def test_every_file_of_a_protocol_is_found_by_name() -> None:
    folder = Path(evaluation.protocols.__file__).parent
    files = {
        path.stem for path in folder.glob("*.py") if "PROTOCOL = Protocol(" in path.read_text()
    }
    assert files == {name.replace("-", "_") for name in PURPOSES}


@EVERY
def test_what_a_protocol_asks_for_exists(name: str) -> None:
    protocol = named_protocol(name)
    assert protocol.dataset is None or protocol.dataset in dataset_names()
    assert protocol.split is None or protocol.split in SPLITS
    assert tuple(quantities(protocol))[: len(protocol.reported)] == protocol.reported
    assert protocol.paper
    assert all(words.endswith(".") for words in protocol.doubts)


@EVERY
def test_the_settings_say_all_that_changes_a_number(name: str) -> None:
    protocol = named_protocol(name)
    other = replace(
        protocol,
        cap_mm=99.0,
        clamped=not protocol.clamped,
        alignment=Alignment.SCALE_SHIFT,
        rounding=HalfFloats(far_mm=99.5),
    )
    odd = {key for key, words in protocol.settings.items() if other.settings[key] != words}
    assert odd == {"limits", "rounding of predictions", "alignment"}
    assert set(protocol.doubts) <= set(protocol.settings.values())


def test_a_misspelt_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'simcol3d'"):
        named_protocol("simcol")


def test_what_is_scored_elsewhere_says_where() -> None:
    with pytest.raises(DataError, match=r"evaluation\.etis"):
        named_protocol("etis")


def test_a_number_by_other_frames_is_not_shown_beside_published_ones() -> None:
    protocol = named_protocol("simcol3d")
    assert any(row.protocol == protocol.name for row in PUBLISHED)
    other = varied(protocol, "3 clips", split=None, split_words="3 clips")
    assert not any(row.protocol == other.name for row in PUBLISHED)


@pytest.mark.parametrize(
    "change",
    [
        {"cap_mm": 0.5, "near_mm": 1.0},
        {"cap_mm": None, "clamped": True},
        {"scope": Scope.CLIP, "alignment": Alignment.NONE},
        {"far_mm": float("nan")},
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(change: dict) -> None:
    with pytest.raises(DataError, match="'synthetic'"):
        replace(named_protocol("synthetic"), **change)


def test_the_seed_is_nobody_elses() -> None:
    assert synthetic.SEED > HELD_OUT_SEED  # training draws below it
    assert synthetic.SEED not in (HELD_OUT_SEED, FIGURES_SEED, TEMPERATURE_SEED)


def test_the_documents_show_the_protocols_as_they_are() -> None:
    page = (ROOT / "docs/concepts/protocols.md").read_text(encoding="utf-8")
    assert table.table() in page
    assert table.doubts() in page
    assert all(f"| `{name}` |" in table.table() for name in (*PURPOSES, *ELSEWHERE))


def test_names_are_known_without_torch() -> None:
    program = "import sys, evaluation.commands; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_ruanos_codes_are_those_of_the_notebook() -> None:
    rounding = GammaCodes(near_mm=1.0, far_mm=250.0, gamma=1.5)
    depth_mm = torch.linspace(1, 260, 20_001, dtype=torch.float64)
    found = rounding.applied(depth_mm)
    levels = (found / 250 * 255).round()
    assert_close(levels / 255 * 250, found)  # decoded values are 8-bit codes
    assert len(levels.unique()) >= 217  # of the 218 in the decoder, 0 is no length
    # Slowly, one at a time, as the decoder's table does it.
    for k in range(0, 20_001, 997):
        code = round(255 * (min(depth_mm[k].item(), 250) / 250) ** (1 / 1.5))
        decoded = max(1, int(255 * (code / 255) ** 1.5 + 1e-9))
        assert found[k].item() == pytest.approx(decoded / 255 * 250)
    assert found[-1].item() == pytest.approx(250)
    assert rounding.applied(torch.zeros(1)).item() == 0
    assert len({int(255 * (k / 255) ** 1.5 + 1e-9) for k in range(256)}) == 218


def test_half_floats_are_numpys() -> None:
    depth_mm = torch.tensor([0.0, 0.0317, 37.3, 123.456, 199.99, 250.0])
    expected = np.float16(np.minimum(depth_mm.numpy() / np.float32(200), 1)).astype(np.float32)
    assert_close(HalfFloats(far_mm=200).applied(depth_mm), torch.from_numpy(expected * 200))


def test_rounding_refuses_what_is_no_length() -> None:
    for bad in (-1.0, float("nan")):
        with pytest.raises(DataError, match="negative"):
            rounded(torch.tensor([1.0, bad]), HalfFloats(far_mm=200))
    untouched = torch.tensor([1.0, 2.7])
    assert rounded(untouched, None) is untouched


def test_gargs_crop_is_the_usual_one_at_kittis_size() -> None:
    inside = GARG.inside(375, 1242)
    expected = torch.zeros(1, 375, 1242, dtype=torch.bool)
    expected[:, 153:371, 44:1197] = True
    assert inside.equal(expected)


def test_ppsnets_a1_is_not_a_threshold_of_ratios() -> None:
    true_mm = torch.full((2, 1, 2, 5), 10.0)
    known = torch.ones_like(true_mm, dtype=torch.bool)
    known[0, 0, 0] = False
    found_mm = true_mm * torch.tensor([0.905, 1.095, 1.101, 0.899, 1.0])
    found_mm[0, 0, 0] = 99
    assert_close(share_within_a_tenth(found_mm, true_mm, known), torch.full((2,), 0.6).double())
    errors = depth_errors(found_mm, true_mm, known)
    assert_close(errors["delta_1_10"], torch.full((2,), 0.4).double())
    assert share_within_a_tenth(found_mm, true_mm, known & False).isnan().all()


def test_endodacs_crop_is_pillows_box() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1080, 1350, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).movedim(-1, 0).float() / 255
    view = {"image": image, "camera": C3VD, "frame_id": "7"}
    cut = pictured(view, named_protocol("c3vd-endodac").picture)
    expected = np.asarray(Image.fromarray(pixels).crop((200, 180, 1150, 900))).copy()
    assert_close((cut["image"] * 255).round().byte().movedim(0, -1), torch.from_numpy(expected))
    assert (cut["camera"].height, cut["camera"].width) == (720, 950)
    assert cut["frame_id"] == "7"


def test_a_straightened_wall_is_still_that_wall() -> None:
    whole = named_protocol("c3vd-ppsnet").picture
    # A tenth of the size, so that the analytic scene is quick; the proportions stay.
    pinhole = {name: getattr(whole, name) / 10 for name in ("fx", "fy", "cx", "cy")}
    picture = replace(whole, of=(108, 135), side=52, **pinhole)
    camera = C3VD.resized(108, 135)
    seen = look([Plane(point_mm=(0, 0, 70), across=(0.2, -0.1, 1))], camera, at(1, 2, 3))
    view = {"image": seen.image.float(), "depth_mm": seen.depth_mm.float(), "camera": camera}
    square = pictured(view, picture)
    assert square["image"].shape == (3, 52, 52)
    assert square["image"].std() > 0.01
    points = transform(
        at(1, 2, 3), unproject(square["depth_mm"].double(), square["camera"].to(seen.depth_mm))
    )
    across = torch.tensor([0.2, -0.1, 1], dtype=torch.float64)
    off_mm = (points - torch.tensor([0.0, 0, 70])) @ (across / across.norm())
    known = square["depth_mm"][0] > 0
    assert known.double().mean() > 0.95
    # From the nearest of 108 rows, then of 52: at the far corner a pixel is 1.5 mm of this wall.
    assert off_mm[known].abs().max() < 1.5
    assert off_mm[known].mean().abs() < 0.05
    # Cut from the middle: the pinhole's axis stays there.
    assert (square["camera"].centre - 25.5).abs().max() < 1.5
    assert view["image"].shape == (3, 108, 135)


@pytest.mark.parametrize("name", ["c3vd-ppsnet", "c3vd-endodac"])
def test_a_picture_of_another_size_is_refused(name: str) -> None:
    view = {"image": torch.zeros(3, 540, 675), "camera": C3VD.resized(540, 675)}
    with pytest.raises(DataError, match="540x675 pixels, expected 1080x1350"):
        pictured(view, named_protocol(name).picture)
