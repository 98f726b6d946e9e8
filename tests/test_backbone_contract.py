"""What every backbone owes, whoever registered it: found by name, none left out."""

from dataclasses import dataclass, fields
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from colondepth.backbones.contract import Backbone, Gives, Needs, SizeRule
from colondepth.backbones.fitting import predict_fitted
from colondepth.backbones.registry import backbones, create
from colondepth.cameras import Camera
from colondepth.errors import ShapeError
from colondepth.views import Prediction

# Networks that would take minutes at their published size, made smaller by their own options.
SMALLER: dict[str, dict[str, Any]] = {
    "eigen": {"size": (116, 152), "hidden": 64},
    "dorn": {"size": (41, 57), "width": 8, "blocks": (1, 1, 1, 1)},
}
# Parameters, by how their names start, that no loss on a prediction reaches, and why.
UNREACHED: dict[str, dict[str, str]] = {}


@dataclass(frozen=True)
class Subject:
    """One backbone in eval mode, and what it said to a batch of two at its first size."""

    name: str
    network: Backbone
    sizes: tuple[tuple[int, int], ...]
    batch: dict[str, Any]
    said: Prediction
    before: dict[str, Tensor]


@pytest.fixture(scope="module", params=backbones.names())
def subject(request) -> Subject:
    torch.manual_seed(0)
    network = made(request.param).eval()
    sizes = fitting_sizes(network.sizes)
    batch = views(network, *sizes[0], count=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        return Subject(request.param, network, sizes, batch, network(batch), before)


def made(name: str) -> Backbone:
    return create(name, **SMALLER.get(name, {}))


def fitting_sizes(rule: SizeRule) -> tuple[tuple[int, int], ...]:
    """Return two small sizes that fit, wide and tall, or the only one."""
    if rule.exact is not None:
        return (rule.exact,)
    height, width = rule.nearest(24, 24)
    step = max(rule.multiple, 8)
    return rule.nearest(height, width + step), rule.nearest(height + 2 * step, width)


def views(network: Backbone, height: int, width: int, *, count: int) -> dict[str, Any]:
    """Return a batch with what the network needs; the partner is the image, moved a little."""
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(count, 3, height // 4 + 1, width // 4 + 1, generator=generator)
    image = torch.nn.functional.interpolate(
        coarse, (height, width), mode="bilinear", align_corners=False
    )
    focal = torch.full((count,), 0.7 * width)
    camera = Camera.pinhole(
        fx=focal,
        fy=focal,
        cx=focal * 0 + 0.45 * width,
        cy=focal * 0 + 0.52 * height,
        height=height,
        width=width,
    )
    batch: dict[str, Any] = {"image": image, "camera": camera}
    moved = image.roll(1, dims=-1)
    if network.needs in (Needs.PREVIOUS, Needs.MOTION):
        batch["previous"] = moved
    if network.needs is Needs.MOTION:
        previous_from_current = torch.eye(4).repeat(count, 1, 1)
        previous_from_current[:, :3, 3] = torch.tensor([1.5, -0.5, 1.0])
        batch["previous_from_current"] = previous_from_current
    if network.needs is Needs.RIGHT:
        batch["right"] = moved
    return batch


def first_of(batch: dict[str, Any]) -> dict[str, Any]:
    """Return the batch of the first view alone."""
    alone = {name: value[:1] for name, value in batch.items() if isinstance(value, Tensor)}
    camera = batch["camera"]
    number = camera.linear[0]
    return alone | {
        "camera": Camera.pinhole(
            fx=number[0, 0][None],
            fy=number[1, 1][None],
            cx=camera.centre[:1, 0],
            cy=camera.centre[:1, 1],
            height=camera.height,
            width=camera.width,
        )
    }


def parts(said: Prediction) -> dict[str, Tensor]:
    """Return every tensor of a prediction by its name."""
    found = {each.name: getattr(said, each.name) for each in fields(said)}
    coarser = found.pop("coarser_depth_mm")
    found |= {f"coarser_depth_mm_{number}": depth for number, depth in enumerate(coarser)}
    return {name: value for name, value in found.items() if value is not None}


def require_promised(said: Prediction, height: int, width: int, *, count: int) -> None:
    assert said.depth_mm.shape == (count, 1, height, width)
    for name, value in parts(said).items():
        assert len(value) == count, name
        if name == "valid":
            continue
        assert value.dtype == torch.float32, name
        assert value.isfinite().all(), name
    assert (said.depth_mm >= 0).all()
    assert (said.depth_mm > 0).any()


def test_maps_have_the_promised_shapes_and_finite_numbers(subject):
    require_promised(subject.said, *subject.sizes[0], count=2)
    for size in subject.sizes[1:]:
        with torch.no_grad():
            said = subject.network(views(subject.network, *size, count=2))
        require_promised(said, *size, count=2)


def test_it_gives_what_it_says_it_gives(subject):
    said = subject.said
    assert (said.flow_px is not None) >= (subject.network.gives is Gives.FLOW)
    assert (said.disparity_px is not None) >= (subject.network.gives is Gives.DISPARITY)
    assert subject.network.source


def test_two_images_get_two_answers(subject):
    depth_mm = subject.said.depth_mm
    assert not torch.equal(depth_mm[0], depth_mm[1])


def test_an_image_does_not_depend_on_its_neighbours(subject):
    with torch.no_grad():
        alone = parts(subject.network(first_of(subject.batch)))
    for name, value in parts(subject.said).items():
        assert_close(value[:1], alone[name], rtol=1e-3, atol=1e-4, msg=name)


def test_looking_changes_neither_the_network_nor_the_batch(subject):
    after = subject.network.state_dict()
    assert after.keys() == subject.before.keys()
    for name, value in subject.before.items():
        assert torch.equal(value, after[name]), name
    again = views(subject.network, *subject.sizes[0], count=2)
    assert again.keys() == subject.batch.keys()
    for name, value in again.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, subject.batch[name]), name


def test_weights_that_were_written_and_read_give_the_same_answer(subject, tmp_path):
    state = {key: value.contiguous() for key, value in subject.network.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    other = made(subject.name).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert_close(other(subject.batch).depth_mm, subject.said.depth_mm, rtol=0, atol=0)


def test_sizes_that_do_not_fit_are_refused(subject):
    rule = subject.network.sizes
    height, width = subject.sizes[0]
    wrong = []
    if rule.exact is not None or rule.multiple > 1:
        wrong += [(height, width + 1), (height + 1, width)]
    below = [side - rule.multiple for side in rule.least]
    wrong += [(below[0], width)] if below[0] > 0 else []
    wrong += [(height, below[1])] if below[1] > 0 else []
    for size in wrong:
        batch = views(subject.network, *size, count=2)
        with pytest.raises(ShapeError, match="takes"):
            subject.network(batch)


def test_a_loss_reaches_every_parameter(subject):
    network = made(subject.name).train()
    said = parts(network(views(network, *subject.sizes[0], count=2)))
    loss = sum(
        (value + 1).log().mean() if "depth_mm" in name else value.square().mean()
        for name, value in said.items()
        if value.requires_grad
    )
    loss.backward()
    spared = tuple(UNREACHED.get(subject.name, {}))
    for name, parameter in network.named_parameters():
        if name.startswith(spared):
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # The norm behind a convolution takes its bias's gradient away, all but rounding.
        assert parameter.ndim == 1 or (parameter.grad != 0).any(), name


def test_an_image_of_any_size_comes_back_as_it_came(subject):
    height, width = subject.sizes[0][0] + 5, subject.sizes[0][1] - 3
    batch = views(subject.network, height, width, count=3)
    batch["image"][1] = 0
    batch["image"][2, :, 9, 11] = torch.nan
    with torch.no_grad():
        said = predict_fitted(subject.network, batch)
    require_promised(said, height, width, count=3)
    assert not said.valid[1].any()
    assert not said.valid[2, 0, 9, 11]
    assert said.valid[0].any()
    assert said.valid[2].any()
