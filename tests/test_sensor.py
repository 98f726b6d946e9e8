"""The whole chain of level 6: off is off, a draw replays, rows do not know their neighbours."""

from dataclasses import fields, replace

import pytest
import torch
from scenes import H, W, cameras
from torch.testing import assert_close

from colondepth.errors import DataError
from synthetic_colons.electronics import photosite_noise, settle, white_noise
from synthetic_colons.exposure import automatic_exposure, develop
from synthetic_colons.sensor import SensorResult, apply_sensor, expose, wanted_exposure
from synthetic_colons.sensor_draws import (
    FrameDraw,
    SensorDraw,
    SensorSettings,
    draw_frames,
    draw_sensor,
    join,
)

EVERYTHING = SensorSettings(
    interlaced_chance=1,
    jpeg_chance=1,
    subsampled_chance=1,
    smear_chance=1,
    haze_chance=1,
    drops_chance=1,
    text_weights=(1, 0, 0, 0),
    border_weights=(0.5, 0.5, 0, 0),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(batch: int = 3) -> dict[str, torch.Tensor]:
    random = generator(1)
    light = torch.rand(batch, 3, H, W, generator=random) * 5
    return {
        "light": light,
        "depth_mm": torch.rand(batch, 1, H, W, generator=random) * 60 + 1,
        "flow_px": torch.randn(batch, 2, 1, 1, generator=random).expand(-1, -1, H, W) * 3,
    }


def run(draw: SensorDraw, frames: dict[str, torch.Tensor], **more) -> SensorResult:
    return apply_sensor(
        frames["light"], draw, depth_mm=frames["depth_mm"], flow_px=frames["flow_px"], **more
    )


def rows(frames: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    return {name: values[row : row + 1] for name, values in frames.items()}


def test_with_everything_off_it_is_exposure_and_srgb_and_nothing_else():
    frames = scene()
    draw = draw_sensor(generator(), 3, H, W, SensorSettings.off())
    result = run(draw, frames)
    plain = develop(frames["light"], automatic_exposure(frames["light"]))
    assert_close(result.image, plain, atol=1e-6, rtol=0)
    assert bool(result.inside.all())
    assert not bool(result.overlay.any())


def test_the_same_draw_gives_the_same_pixels_and_leaves_its_input():
    frames = scene()
    before = frames["light"].clone()
    draw = draw_sensor(generator(7), 3, H, W, EVERYTHING)
    again = draw_sensor(generator(7), 3, H, W, EVERYTHING)
    first, second = run(draw, frames), run(again, frames)
    assert bool((first.image == second.image).all())
    assert bool((frames["light"] == before).all())
    other = run(draw.with_frame(draw_frames(generator(8), 3, EVERYTHING)), frames)
    assert bool((first.image != other.image).any())
    assert bool((first.inside == other.inside).all())


@pytest.mark.parametrize("settings", [EVERYTHING, SensorSettings()])
def test_a_row_does_not_know_its_neighbours(settings):
    frames = scene()
    draw = join([draw_sensor(generator(seed), 1, H, W, settings) for seed in range(3)])
    together = run(draw, frames)
    for row in range(3):
        alone = run(draw.take(torch.tensor([row])), rows(frames, row))
        for field in fields(SensorResult):
            if field.name != "state":
                ours = getattr(together, field.name)[row : row + 1]
                assert bool((ours == getattr(alone, field.name)).all()), field.name


def test_the_file_holds_values_from_0_to_1_and_marks_what_it_covers():
    frames = scene()
    result = run(draw_sensor(generator(3), 3, H, W, EVERYTHING), frames)
    assert 0 <= result.image.min().item() <= result.image.max().item() <= 1
    assert bool(result.overlay.flatten(start_dim=1).any(dim=1).all())
    assert not bool((result.saturated & ~result.inside).any())
    black = run(
        draw_sensor(generator(3), 3, H, W, EVERYTHING), {**frames, "light": frames["light"] * 0}
    )
    assert bool(black.image.isfinite().all())


def test_saturated_is_where_the_exposed_light_fills_the_sensor():
    frames = scene()
    draw = draw_sensor(generator(), 3, H, W, SensorSettings.off())
    exposure = torch.tensor([0.1, 0.3, 0.5])
    result = run(draw, frames, exposure=exposure)
    full = (frames["light"] * exposure[:, None, None, None]).amax(dim=1, keepdim=True) >= 1
    assert bool((result.saturated == full).all())
    assert 0 < full.float().mean().item() < 1


def test_exposure_lags_behind_a_scene_that_grows_bright_and_then_arrives():
    settings = replace(SensorSettings.off(), exposure_rate=(0.3, 0.5), exposure_damping=(0.6, 0.8))
    frames = scene()
    draw = draw_sensor(generator(), 3, H, W, settings)
    state = run(draw, frames).state
    brighter = {**frames, "light": 8 * frames["light"]}
    first = run(draw, brighter, state=state)
    assert first.image.mean().item() > run(draw, brighter).image.mean().item() + 0.1
    state = first.state
    for _ in range(60):
        state = expose(brighter["light"], draw, state=state)
    assert_close(
        state.log_exposure.exp(), wanted_exposure(brighter["light"], draw), rtol=1e-3, atol=0
    )


def test_frames_of_one_clip_may_be_settled_first_and_applied_at_once():
    settings = replace(EVERYTHING, exposure_damping=(0.4, 0.5))
    frames = scene()
    draw = draw_sensor(generator(), 1, H, W, settings).take(torch.zeros(3, dtype=torch.int64))
    draw = draw.with_frame(draw_frames(generator(5), 3, settings))
    state, images, exposures = None, [], []
    for row in range(3):
        one = draw.take(torch.tensor([row]))
        result = run(one, rows(frames, row), state=state)
        state = result.state
        images.append(result.image)
    state = None
    for row, target in enumerate(wanted_exposure(frames["light"], draw)):
        one = draw.take(torch.tensor([row])).clip
        state = settle(target[None], state, rate=one.exposure_rate, damping=one.exposure_damping)
        exposures.append(state.log_exposure.exp())
    at_once = run(draw, frames, exposure=torch.cat(exposures))
    assert bool((at_once.image == torch.cat(images)).all())


def test_rays_decide_the_vignette_where_they_are_given():
    settings = replace(SensorSettings.off(), vignetting_power=(1, 3))
    frames = {**scene(2), "light": torch.ones(2, 3, H, W)}
    rays = cameras()["pinhole"].rays(H, W)[None].float()
    draw = draw_sensor(generator(), 2, H, W, settings)
    exposure = torch.tensor([0.5, 0.6])
    result = run(draw, frames, camera_rays=rays, exposure=exposure)
    share = rays[..., 2] ** draw.clip.vignetting_power[:, None, None]
    plain = develop(frames["light"], exposure, vignette=share[:, None])
    assert_close(result.image, plain, atol=1e-6, rtol=0)


def test_shot_noise_grows_with_the_signal_and_read_noise_does_not():
    levels = torch.tensor([0.1, 0.4, 0.8])
    exposed = levels[:, None, None, None].expand(3, 3, 200, 240)
    noise = white_noise(torch.tensor([5, 6, 7]), 200, 240, device=torch.device("cpu"))
    zero, gain = torch.zeros(3), torch.tensor([[1.5, 1.0, 2.0]] * 3)
    # Linear demosaicing keeps 9/16 of red's and blue's variance and 5/8 of green's.
    kept = torch.tensor([9 / 16, 5 / 8, 9 / 16])
    shot = photosite_noise(exposed, noise, shot=torch.full((3,), 1e-3), read=zero, gain=gain)
    expected = levels[:, None] * 1e-3 * gain * kept
    assert_close(shot.var(dim=(2, 3)), expected, rtol=0.05, atol=0)
    read = photosite_noise(exposed, noise, shot=zero, read=torch.full((3,), 0.01), gain=gain)
    assert_close(read.var(dim=(2, 3)), (0.01 * gain).square() * kept, rtol=0.05, atol=0)
    assert shot.mean().abs().item() < 1e-3


def test_noise_is_coarser_in_red_than_in_green():
    exposed = torch.full((2, 3, 200, 240), 0.5)
    noise = white_noise(torch.tensor([5, 6]), 200, 240, device=torch.device("cpu"))
    found = photosite_noise(
        exposed, noise, shot=torch.full((2,), 1e-3), read=torch.zeros(2), gain=torch.ones(2, 3)
    )
    red, green = (
        (c[..., 1:] * c[..., :-1]).mean().item() / c.square().mean().item()
        for c in (found[:, 0], found[:, 1])
    )
    # Red is white noise of every other site and a triangle: neighbours share 2/3 of it. Green's
    # cross has pairs of 1/4 x 1 either way: 0.4.
    assert red == pytest.approx(2 / 3, abs=0.03)
    assert green == pytest.approx(0.4, abs=0.03)


def test_the_noise_of_a_frame_depends_on_its_seed_alone():
    cpu = torch.device("cpu")
    three = white_noise(torch.tensor([1, 2, 1]), 20, 30, device=cpu)
    assert bool((three[0] == three[2]).all())
    assert bool((three[:1] == white_noise(torch.tensor([1]), 20, 30, device=cpu)).all())
    assert bool((three[0] != three[1]).any())


def test_drawn_numbers_stay_in_their_ranges_and_grey_stays_grey():
    settings = SensorSettings()
    clip = draw_sensor(generator(), 40, 24, 32, settings).clip
    for name in ("focus_mm", "pupil_mm", "focal_mm", "knee", "bloom", "sharpening"):
        low, high = getattr(settings, name)
        values = getattr(clip, name)
        assert low <= values.min().item() < values.max().item() <= high
    assert_close(clip.colour_matrix.sum(dim=-1), torch.ones(40, 3))
    assert 0 < clip.interlaced.sum().item() < 40
    assert len(clip.text) == 40


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(DataError, match="bloom"):
        SensorSettings(bloom=(0.2, 0.1))
    with pytest.raises(DataError, match="jpeg_chance"):
        SensorSettings(jpeg_chance=1.5)
    with pytest.raises(DataError, match="text_weights"):
        SensorSettings(text_weights=(0, 0, 0, 0))
    with pytest.raises(DataError, match="focal length"):
        SensorSettings(focus_mm=(1.0, 12.0))
    with pytest.raises(DataError, match="expected 1 or more"):
        draw_sensor(generator(), 0, H, W, SensorSettings())
    with pytest.raises(DataError, match="no draws"):
        join([])


def test_frame_draws_change_with_every_frame():
    frames: FrameDraw = draw_frames(generator(), 5, SensorSettings())
    for field in fields(FrameDraw):
        assert len(getattr(frames, field.name).unique()) == 5


def test_interlacing_combs_an_edge_that_moves_and_not_one_that_rests():
    settings = replace(SensorSettings.off(), interlaced_chance=1)
    light = torch.full((2, 3, H, W), 0.1)
    light[..., W // 2 :] = 0.5
    flow = torch.zeros(2, 2, H, W)
    flow[1, 0] = 8
    draw = draw_sensor(generator(), 2, H, W, settings)
    image = apply_sensor(light, draw, depth_mm=torch.full((2, 1, H, W), 20.0), flow_px=flow).image
    combing = (image[..., ::2, :] - image[..., 1::2, :]).abs().amax(dim=(1, 2, 3))
    assert combing[0].item() == 0
    assert combing[1].item() > 0.3


def test_what_is_not_rendered_behind_the_border_throws_no_shadow_into_the_picture():
    """An even wall that goes by shows no trace of where the followed rays end."""
    settings = replace(SensorSettings.off(), border_weights=(1, 0, 0, 0), shutter_share=(1.0, 1.0))
    draw = draw_sensor(generator(), 2, H, W, settings)
    draw = draw.with_frame(draw_frames(generator(), 2, settings))
    light = torch.full((2, 3, H, W), 0.3) * (draw.clip.picture_share > 0.5)
    flow = torch.full((2, 2, H, W), 7.0)
    depth = torch.full((2, 1, H, W), 20.0)
    found = apply_sensor(light, draw, depth_mm=depth, flow_px=flow, exposure=torch.ones(2))
    picture = found.image.where(draw.clip.picture_share == 1, torch.nan)
    assert not draw.clip.picture_share.bool().all()
    low, high = (
        torch.nan_to_num(picture, nan=worst).flatten(1) for worst in (torch.inf, -torch.inf)
    )
    assert_close(low.amin(dim=1), high.amax(dim=1))
