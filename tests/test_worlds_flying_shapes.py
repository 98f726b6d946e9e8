"""Flying shapes: flow, ownership and occlusion against a slow reference, pixel by pixel."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from colondepth.errors import DataError
from colondepth.geometry import pixels_from_flow
from colondepth.warping import Lookup, occlusion_by_flow, sample
from synthetic_colons.worlds.flying_shapes import (
    FlyingShapesSettings,
    draw_flying_shapes,
    flying_shapes,
)
from synthetic_colons.worlds.layers import Layers, composed, inverted, see_layers
from synthetic_colons.worlds.textures import Texture

SETTINGS = FlyingShapesSettings(height=96, width=128)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Maps this small gain nothing from threads, which wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def covers(layers: Layers, item: int, number: int, u: float, v: float) -> bool:
    """Say whether a layer covers a place of the first image, by school geometry."""
    if number == 0:
        return True
    if not layers.present[item, number]:
        return False
    x, y = (
        u - layers.centre_px[item, number, 0].item(),
        v - layers.centre_px[item, number, 1].item(),
    )
    rim = layers.rim_px[item, number].item()
    if number % 2:
        angle = math.atan2(y, x)
        edge = layers.radius_px[item, number].item()
        wave, steep = 1.0, 1.0
        for k, (a, b) in enumerate(layers.waves[item, number].tolist(), start=2):
            wave += a * math.cos(k * angle) + b * math.sin(k * angle)
            steep += k * k * (a * a + b * b) / 2
        inside = (math.hypot(x, y) - edge * wave) / math.sqrt(steep)
    else:
        sides = layers.sides[item, number].tolist()
        inside = max(a * x + b * y - away for a, b, away in sides)
    return -rim <= inside <= 0


def placed(affine: Tensor, u: float, v: float) -> tuple[float, float]:
    (a, b, s), (c, d, t) = affine.tolist()
    return a * u + b * v + s, c * u + d * v + t


def test_owner_flow_and_occlusion_are_those_of_a_slow_reference():
    settings = FlyingShapesSettings(height=22, width=30, fewest_shapes=7, most_shapes=9)
    layers = draw_flying_shapes(settings, (2, 5), seed=3)
    first, second = see_layers(layers, 22, 30)
    count = layers.present.shape[1]
    forward = layers.next_from_first
    hidden = 0
    for item in range(2):
        back = [torch.linalg.inv(_square(m))[:2] for m in forward[item]]
        for v in range(0, 22, 2):
            for u in range(30):
                own = max(n for n in range(count) if covers(layers, item, n, u, v))
                there = placed(forward[item, own], u, v)
                above = [
                    n
                    for n in range(own + 1, count)
                    if covers(layers, item, n, *placed(back[n], *there))
                ]
                lost = not (-0.5 <= there[0] <= 29.5 and -0.5 <= there[1] <= 21.5)
                assert first.layer[item, 0, v, u] == own
                flow = first.flow_px[item, :, v, u].tolist()
                assert flow == pytest.approx([there[0] - u, there[1] - v], abs=1e-9)
                assert first.occluded[item, 0, v, u] == (lost or bool(above))
                hidden += bool(above)
                # and from the second image back
                own = max(
                    n for n in range(count) if covers(layers, item, n, *placed(back[n], u, v))
                )
                there = placed(back[own], u, v)
                above = [n for n in range(own + 1, count) if covers(layers, item, n, *there)]
                lost = not (-0.5 <= there[0] <= 29.5 and -0.5 <= there[1] <= 21.5)
                assert second.layer[item, 0, v, u] == own
                flow = second.flow_px[item, :, v, u].tolist()
                assert flow == pytest.approx([there[0] - u, there[1] - v], abs=1e-9)
                assert second.occluded[item, 0, v, u] == (lost or bool(above))
    assert hidden > 20


def test_a_pair_is_the_same_pixel_by_pixel_in_every_batch():
    together = flying_shapes(SETTINGS, (3, 11, 6), seed=2)
    alone = flying_shapes(SETTINGS, (11,), seed=2)
    for name, value in alone.items():
        assert torch.equal(value[0], together[name][1]), name
    assert not torch.equal(flying_shapes(SETTINGS, (11,), seed=3)["image"], alone["image"])


def test_the_flow_carries_one_image_into_the_other_where_nothing_hides():
    pairs = flying_shapes(SETTINGS, range(6), seed=1)
    for image, other, flow, hidden in (
        ("image", "next", "flow_px", "occluded"),
        ("next", "image", "flow_back_px", "occluded_back"),
    ):
        found, _ = sample(pairs[other], pixels_from_flow(pairs[flow]), lookup=Lookup.BILINEAR)
        off = (found - pairs[image]).abs().mean(dim=1, keepdim=True)
        unmoved = (pairs[other] - pairs[image]).abs().mean(dim=1, keepdim=True)
        seen = ~pairs[hidden]
        assert off[seen].median() < 0.02
        assert off[seen].mean() < 0.25 * unmoved[seen].mean()
        assert off[pairs[hidden]].mean() > 5 * off[seen].mean()


def test_there_and_back_is_where_it_began():
    pairs = flying_shapes(SETTINGS, range(6), seed=1, dtype=torch.float64)
    there = pixels_from_flow(pairs["flow_px"])
    back, _ = sample(pairs["flow_back_px"], there, lookup=Lookup.BILINEAR)
    # Flow is affine within a layer, so that interpolating it is exact where all four pixels around
    # the end belong to the layer that began.
    corners = [there.floor() + there.new_tensor([a, b]) for a in (0, 1) for b in (0, 1)]
    own = torch.ones_like(pairs["occluded"])
    for corner in corners:
        layer, inside = sample(pairs["next_layer"], corner, lookup=Lookup.NEAREST)
        own &= inside & (layer == pairs["layer"])
    miss = (pairs["flow_px"] + back).norm(dim=1, keepdim=True)
    assert miss[own].max() < 1e-9
    assert own.double().mean() > 0.6


def test_occlusion_guessed_from_the_flows_agrees_with_the_truth():
    pairs = flying_shapes(SETTINGS, range(6), seed=1)
    guess = occlusion_by_flow(pairs["flow_px"], pairs["flow_back_px"])
    truth = pairs["occluded"]
    overlap = (guess & truth).sum() / (guess | truth).sum()
    assert overlap > 0.6
    assert truth.float().mean() > 0.03


def test_flow_at_the_published_width_is_as_long_as_it_says():
    # Frozen from this recipe: lengths scale with the width, so that small images can tell.
    layers = FlyingShapesSettings(height=24, width=32)
    flow = flying_shapes(layers, range(300), seed=3)["flow_px"]
    length = flow.norm(dim=1).flatten() * (512 / 32)
    assert length.mean().item() == pytest.approx(12.5, abs=1.5)
    assert length.median().item() == pytest.approx(7, abs=1)
    assert length.kthvalue(int(0.99 * len(length))).values.item() == pytest.approx(80, abs=12)


def test_every_layer_lies_within_its_circle():
    layers = draw_flying_shapes(SETTINGS, range(4), seed=8)
    angle = torch.linspace(0, 2 * math.pi, 361, dtype=torch.float64)
    for item in range(4):
        for number in range(2, layers.present.shape[1], 2):
            sides, reach = layers.sides[item, number], layers.corner_px[item, number]
            cosine = sides[:, :1] * angle.cos() + sides[:, 1:2] * angle.sin()  # (M, 361)
            edge = torch.where(cosine > 0, sides[:, 2:] / cosine, torch.inf).amin(dim=0)
            assert edge.max() <= reach * (1 + 1e-9)
            assert edge.max() > 0.9 * reach


def test_affine_maps_compose_and_invert_as_their_matrices_do():
    generator = torch.Generator().manual_seed(5)
    one, other = torch.rand(2, 3, 2, 3, generator=generator, dtype=torch.float64)
    product = torch.stack([_square(a) @ _square(b) for a, b in zip(one, other, strict=True)])
    assert_close(composed(one, other), product[:, :2])
    assert_close(inverted(one), torch.stack([torch.linalg.inv(_square(a))[:2] for a in one]))


def test_a_pixel_at_an_edge_shows_both_layers_by_the_share_that_they_cover():
    # A square of one colour, from u = 3.75 to 10.25, above a background of another.
    still = torch.eye(2, 3, dtype=torch.float64).expand(1, 3, 2, 3)
    number = torch.ones(1, 3, dtype=torch.float64)
    side = torch.tensor([[1, 0, 3.25], [-1, 0, 3.25], [0, 1, 5.5], [0, -1, 5.5]])
    colours = torch.zeros(1, 3, 9, dtype=torch.float64)
    colours[0, 2, ::3], colours[0, 0, 2::3] = 0.8, 0.6  # all red, all blue
    layers = Layers(
        present=torch.tensor([[True, False, True]]),
        centre_px=torch.tensor([7.0, 6.0], dtype=torch.float64).expand(1, 3, 2),
        next_from_first=still,
        radius_px=number,
        waves=torch.zeros(1, 3, 1, 2, dtype=torch.float64),
        sides=side.double().expand(1, 3, 4, 3),
        corner_px=20 * number,
        rim_px=torch.inf * number,
        texture=Texture(
            cells_per_mm=10 * number,  # finer than any pixel: one colour all over
            cell_from_local=torch.eye(3, dtype=torch.float64).expand(1, 3, 3, 3),
            offset_cells=torch.zeros(1, 3, 3, dtype=torch.float64),
            colours=colours,
            stripes=0 * number,
            checks=0 * number,
        ),
    )
    first, second = see_layers(layers, 13, 15)
    assert_close(second.image, first.image)
    row = first.image[0, :, 6]
    assert row[0, [3, 4, 7, 10, 11]].tolist() == pytest.approx([0, 0.6, 0.8, 0.6, 0], abs=1e-6)
    assert row[2, [3, 4, 7, 10, 11]].tolist() == pytest.approx([0.6, 0.15, 0, 0.15, 0.6], abs=1e-6)
    assert first.layer[0, 0, 6, [3, 4, 10, 11]].tolist() == [0, 2, 2, 0]


def test_sets_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="5 to 3 shapes on 9x8 pixels"):
        FlyingShapesSettings(height=9, width=8, fewest_shapes=5, most_shapes=3)


def _square(affine: Tensor) -> Tensor:
    return torch.cat([affine, affine.new_tensor([[0, 0, 1]])])
