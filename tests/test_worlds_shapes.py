"""Solids, scenes and textures, against closed forms and a slow search along single rays."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from colondepth.errors import DataError
from colondepth.motion import so3_exp
from synthetic_colons.analytic import Plane, Sphere, Tube
from synthetic_colons.worlds.draws import Draws
from synthetic_colons.worlds.planes import flagged
from synthetic_colons.worlds.scenes import Scene, cast, look
from synthetic_colons.worlds.shapes import (
    Solid,
    SolidKind,
    gap_mm,
    surrounding_radius_mm,
)
from synthetic_colons.worlds.streams import batches
from synthetic_colons.worlds.textures import draw_texture, lattice_noise, octaves, paint

DRAWS = Draws(seed=3, indices=(5, 8))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Maps this small gain nothing from threads, which wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def solid(kind: SolidKind, draws: Draws = DRAWS) -> Solid:
    """Two solids, one a sample, turned, uneven and off the origin."""
    return Solid(
        kind=kind,
        centre_mm=draws.uniform("centre", 3, low=-4, high=4) + torch.tensor([0, 0, 20.0]),
        world_from_solid=draws.rotation("turn"),
        half_mm=draws.uniform("half", 3, low=3, high=8),
    )


def rays(
    draws: Draws = DRAWS, count: int = 40, wide: float = 9
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays from near the origin, most of them towards the solids."""
    origin = draws.uniform("origin", count, 3, low=-1, high=1)
    aim = draws.uniform("aim", count, 3, low=-wide, high=wide) + torch.tensor([0, 0, 20.0])
    return origin, (aim - origin) / (aim - origin).norm(dim=-1, keepdim=True)


def implicit(kind: SolidKind, unit: np.ndarray) -> np.ndarray:
    """A function that is below 1 inside the unit solid and above outside, by numpy alone."""
    x, y, z = np.moveaxis(unit, -1, 0)
    if kind is SolidKind.ELLIPSOID:
        return np.sqrt(x**2 + y**2 + z**2)
    if kind is SolidKind.BOX:
        return np.max(np.abs(unit), axis=-1)
    return np.maximum(np.hypot(x, y), np.abs(z))


@pytest.mark.parametrize("kind", SolidKind)
@pytest.mark.parametrize("inside", [False, True])
def test_a_ray_meets_a_solid_where_a_slow_search_finds_the_surface(kind, inside):
    one = solid(kind)
    origin, direction = rays()
    if inside:
        origin = one.centre_mm[:, None] + 0.1 * origin
    found = one.distance_mm(origin, direction)
    steps = np.linspace(0, 60, 6001)
    for sample, number in np.ndindex(2, 40):
        turn, centre, half = (
            part[sample].numpy() for part in (one.world_from_solid, one.centre_mm, one.half_mm)
        )
        start, ahead = origin[sample, number].numpy(), direction[sample, number].numpy()

        def level(
            distance: np.ndarray, turn=turn, centre=centre, half=half, start=start, ahead=ahead
        ) -> np.ndarray:
            points = start + np.asarray(distance)[:, None] * ahead
            return implicit(kind, (points - centre) @ turn / half) - 1

        levels = level(steps)
        change = np.nonzero(np.sign(levels[1:]) != np.sign(levels[:-1]))[0]
        expected = math.inf
        if len(change):
            low, high = steps[change[0]], steps[change[0] + 1]
            for _ in range(40):
                middle = (low + high) / 2
                same = np.sign(level([middle])[0]) == np.sign(levels[change[0]])
                low, high = (middle, high) if same else (low, middle)
            expected = low
        assert found[sample, number].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", SolidKind)
def test_normals_are_the_slope_of_the_surface(kind):
    one = solid(kind)
    origin, direction = rays()
    distance = one.distance_mm(origin, direction)
    hit = distance.isfinite()
    assert hit.float().mean() > 0.2
    points = origin + torch.where(hit, distance, 0)[..., None] * direction
    normals = one.normal(points)
    for sample, number in hit.nonzero().tolist():

        def level(point: np.ndarray, sample: int = sample) -> float:
            turn = one.world_from_solid[sample].numpy()
            unit = (point - one.centre_mm[sample].numpy()) @ turn / one.half_mm[sample].numpy()
            return float(implicit(kind, unit[None])[0])

        point = points[sample, number].numpy()
        # A step inwards, so that the search stays off the edge between two faces.
        slope = np.array([level(point + h) - level(point - h) for h in 1e-6 * np.eye(3)])
        cosine = normals[sample, number].numpy() @ slope / np.linalg.norm(slope)
        assert cosine == pytest.approx(1, abs=1e-4)


def test_special_solids_are_the_spheres_tubes_and_planes_of_the_analytic_scenes():
    origin, direction = rays()
    turn = DRAWS.rotation("turn")[:1].expand(2, 3, 3)
    centre = (1.0, -2.0, 22.0)
    place = torch.tensor(centre, dtype=torch.float64).expand(2, 3)

    def like(kind: SolidKind, *half: float) -> Solid:
        sides = torch.tensor(half, dtype=torch.float64).expand(2, 3)
        return Solid(kind=kind, centre_mm=place, world_from_solid=turn, half_mm=sides)

    ball = like(SolidKind.ELLIPSOID, 6, 6, 6)
    sphere = Sphere(centre_mm=centre, radius_mm=6)
    assert_close(ball.distance_mm(origin, direction), sphere.distance_mm(origin, direction))
    pipe = like(SolidKind.CYLINDER, 6, 6, 1e6)
    axis = tuple(turn[0, :, 2].tolist())
    tube = Tube(point_mm=centre, along=axis, radius_mm=6)
    assert_close(pipe.distance_mm(origin, direction), tube.distance_mm(origin, direction))
    slab = like(SolidKind.BOX, 1e6, 1e6, 2)
    faces = [
        Plane(point_mm=tuple((place[0] + end * turn[0, :, 2]).tolist()), across=axis)
        for end in (-2, 2)
    ]
    nearest = torch.minimum(*(face.distance_mm(origin, direction) for face in faces))
    assert_close(slab.distance_mm(origin, direction), nearest)


@pytest.mark.parametrize("kind", SolidKind)
def test_gaps_are_never_more_than_the_distance_and_the_ball_holds_the_solid(kind):
    one = solid(kind)
    outwards = DRAWS.direction("outwards", 500)
    centre = one.centre_mm[:, None]
    surface = centre + one.distance_mm(centre, outwards)[..., None] * outwards  # (B, 500, 3)
    at = centre + 25 * DRAWS.normal("at", 6, 3)  # (B, 6, 3)
    gap = gap_mm(centre, one.world_from_solid[:, None], one.half_mm[:, None], at)[:, 0]  # (B, 6)
    nearest = (at[:, :, None] - surface[:, None]).norm(dim=-1).amin(dim=-1)
    assert bool((gap <= nearest + 1e-9).all())
    assert bool((gap > 0.5 * nearest).any())
    radius = surrounding_radius_mm(kind, one.half_mm)
    farthest = (surface - centre).norm(dim=-1).amax(dim=-1)
    assert bool((farthest <= radius + 1e-9).all())
    assert bool((farthest > 0.8 * radius).all())


def scene(draws: Draws = DRAWS) -> Scene:
    """A room, two solids of each kind, one of them missing from one sample."""
    kinds = (SolidKind.BOX, *SolidKind, *SolidKind)
    count = len(kinds)
    centre = draws.uniform("centres", count, 3, low=-20, high=20) + torch.tensor([0, 0, 30.0])
    half = draws.uniform("halves", count, 3, low=3, high=9)
    centre[:, 0], half[:, 0] = 0, 80
    present = torch.ones(2, count, dtype=torch.bool)
    present[1, 4] = False
    return Scene(
        kinds=kinds,
        rooms=1,
        present=present,
        centre_mm=centre,
        world_from_solid=draws.rotation("turns", count),
        half_mm=half,
        texture=draw_texture(draws, "texture", half.amax(dim=-1)),
        to_light=draws.direction("light"),
    )


def test_the_first_of_all_solids_is_seen_though_most_are_never_tried():
    place = scene()
    _, direction = rays(count=400, wide=25)
    origin = torch.zeros(2, 3, dtype=torch.float64)
    distance, which = cast(place, origin, tuple(direction.unbind(dim=-1)))
    each = []
    for number, kind in enumerate(place.kinds):
        one = Solid(
            kind=kind,
            centre_mm=place.centre_mm[:, number],
            world_from_solid=place.world_from_solid[:, number],
            half_mm=place.half_mm[:, number],
        )
        hit = one.distance_mm(origin[:, None], direction)
        each.append(torch.where(place.present[:, number, None], hit, torch.inf))
    expected, number = torch.stack(each).min(dim=0)
    assert_close(distance, expected)
    assert torch.equal(which, number)
    assert len(which.unique()) >= len(place.kinds) - 1  # one may be hidden


def test_a_ray_without_direction_sees_nothing():
    place = scene()
    still = torch.zeros(2, 7, dtype=torch.float64)
    hits = look(place, torch.zeros(2, 3).double(), (still, still, still), torch.tensor(0.01))
    assert bool((hits.solid == -1).all())
    assert bool((hits.colour == 0).all())


def test_moving_a_scene_moves_its_colours_along():
    place = scene()
    turn = so3_exp(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3], motion[:3, 3] = turn, torch.tensor([3.0, -4, 2])
    moved = place.moved(motion.expand(2, len(place.kinds), 4, 4))
    origin = torch.zeros(2, 3, dtype=torch.float64)
    _, direction = rays()
    before = look(place, origin, tuple(direction.unbind(dim=-1)), torch.tensor(0.01))
    ahead = (direction @ turn.T).unbind(dim=-1)
    after = look(moved, origin + motion[:3, 3], tuple(ahead), torch.tensor(0.01))
    assert_close(after.distance_mm, before.distance_mm)
    # The light did not turn: compare what is left of the colour when its strength is divided out.
    one, other = (hits.colour / hits.colour.sum(dim=1, keepdim=True) for hits in (before, after))
    assert_close(one, other, atol=1e-6, rtol=0)


def test_noise_is_continuous_and_goes_where_its_cells_are_finer_than_pixels():
    place = DRAWS.uniform("place", 3, 400, low=-50, high=50)
    x, y, z = place.unbind(dim=1)
    corner = x.round()
    below, above = (lattice_noise((corner + step, y, z)) for step in (-1e-6, 1e-6))
    assert_close(below, above, atol=1e-4, rtol=0)
    assert lattice_noise((x, y, z)).std() > 0.2
    fine = octaves((x, y, z), torch.zeros_like(x))
    coarse = octaves((x, y, z), torch.full_like(x, 0.5))  # the second octave is at 1.05: fading
    none = octaves((x, y, z), torch.full_like(x, 1.3))
    assert fine.std() > coarse.std() > 0
    assert bool((none == 0).all())


def test_colours_stay_colours_and_patterns_turn_grey_far_away():
    x, y, z = DRAWS.uniform("place", 3, 400, low=-50, high=50).unbind(dim=1)
    colours = DRAWS.uniform("colours", 9)[..., None].expand(2, 9, 400)
    full = torch.ones_like(x)
    near = paint((x, y, z), 0.01 * full, colours, full, full)
    far = paint((x, y, z), 5 * full, colours, full, 0 * full)
    assert near.min() >= 0
    assert near.max() <= 1
    assert near.std(dim=-1).min() > 0.02
    assert_close(far, far[..., :1].expand_as(far))


def test_draws_depend_on_seed_index_and_name_alone():
    one = Draws(seed=7, indices=(4, 900, 11))
    assert torch.equal(one.uniform("a", 3)[1], Draws(seed=7, indices=(900,)).uniform("a", 3)[0])
    for other in (one.uniform("b", 3), Draws(seed=8, indices=(4, 900, 11)).uniform("a", 3)):
        assert not bool((one.uniform("a", 3) == other).any())
    # torch's own generator on the CPU forgets the upper half of its seed.
    late = Draws(seed=7 + 2**32, indices=(4, 900, 11))
    assert not bool((one.uniform("a", 3) == late.uniform("a", 3)).any())


def test_draws_are_even_and_independent():
    from scipy.stats import kstest

    draws = Draws(seed=0, indices=tuple(range(20_000)))
    numbers = draws.uniform("u", 2)
    assert len(numbers.unique()) == numbers.numel()
    for column in numbers.T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-3
    assert kstest(draws.normal("n").numpy(), "norm").pvalue > 1e-3
    assert kstest(draws.direction("d")[:, 2].numpy() / 2 + 0.5, "uniform").pvalue > 1e-3
    neighbours = torch.stack([numbers[:-1, 0], numbers[1:, 0], numbers[1:, 1]])
    assert neighbours.corrcoef().fill_diagonal_(0).abs().max() < 0.03
    whole = draws.whole("w", low=2, high=4)
    assert whole.bincount().tolist()[:2] == [0, 0]
    assert whole.bincount()[2:].min() > 6_000
    assert draws.chance("c", probability=0.3).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert_close(torch.linalg.det(draws.rotation("r")), torch.ones(20_000, dtype=torch.float64))


def test_streams_give_every_sample_to_one_process():
    def make(indices: tuple[int, ...]) -> tuple[int, ...]:
        return indices

    parts = [batches(make, batch=3, first=10, part=part, parts=2) for part in range(2)]
    seen = [next(part) for _ in range(2) for part in parts]
    assert seen == [(10, 11, 12), (13, 14, 15), (16, 17, 18), (19, 20, 21)]
    with pytest.raises(DataError, match="part below parts"):
        batches(make, batch=3, part=2, parts=2)


def test_flags_are_named_by_place_and_sample():
    flags = torch.tensor([[False, True, False], [True, False, True]])
    place, sample = flagged(flags)
    assert place.tolist() == [1, 3, 5]
    assert sample.tolist() == [0, 1, 1]


def test_what_is_no_solid_and_no_scene_is_refused():
    with pytest.raises(DataError, match="more than 0"):
        Solid(
            kind=SolidKind.BOX,
            centre_mm=torch.zeros(2, 3),
            world_from_solid=torch.eye(3).expand(2, 3, 3),
            half_mm=torch.tensor([1.0, 0, 2]).expand(2, 3),
        )
    place = scene()
    parts = {name: getattr(place, name) for name in place.__dataclass_fields__}
    with pytest.raises(DataError, match="2 kinds for 7 solids"):
        Scene(**parts | {"kinds": place.kinds[:2]})
    with pytest.raises(DataError, match="indices is empty"):
        Draws(seed=1, indices=())
    with pytest.raises(DataError, match="seed -1"):
        Draws(seed=-1, indices=(1,))
