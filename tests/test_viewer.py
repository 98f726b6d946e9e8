import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from lumens_with_holes import RADIUS_MM, axis, tube

from colondepth.errors import DataError
from colondepth.reconstruction import viewer
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.viewer import MOST_FACES, thinned, write_viewer

BLUE, YELLOW = (0, 34, 78), (254, 232, 56)  # both ends of cividis
EMPTY = Surface(vertices_mm=torch.empty(0, 3), faces=torch.empty(0, 3, dtype=torch.int64))


def data_of(page):
    facts, data = re.search(r"const facts = (\{.*\}), data = (\{.*\});\n", page).groups()
    coded = {name: base64.b64decode(blob) for name, blob in json.loads(data).items()}
    return json.loads(facts), coded


def written(folder, surface, **settings):
    write_viewer(surface, folder / "v.html", **{"title": "A wall", **settings})
    return (folder / "v.html").read_text(encoding="utf-8")


def coloured_tube():
    wall, _, _ = tube(length=40, step=2.0, around=40)
    draw = torch.Generator().manual_seed(3)
    count = len(wall.vertices_mm)
    return replace(
        wall,
        vertices_mm=wall.vertices_mm + torch.tensor([100.0, -30.0, 7.0]),
        colours=torch.rand(count, 3, generator=draw),
        std_mm=torch.linspace(0, 2, count),
        seen=torch.arange(count) // 10,
    )


def test_the_page_holds_the_surface_within_its_quantisation(tmp_path):
    wall = coloured_tube()
    way = axis(torch.linspace(5, 30, 7))
    facts, blobs = data_of(written(tmp_path, wall, path_mm=way))
    packed = np.frombuffer(blobs["places"], "<u2").reshape(-1, 3)
    places = np.array(facts["low"]) + packed / 65535 * np.array(facts["extent"])
    extent = wall.vertices_mm.amax(dim=0) - wall.vertices_mm.amin(dim=0)
    assert (np.abs(places - wall.vertices_mm.double().numpy()) <= extent.numpy() / 131_000).all()
    faces = np.frombuffer(blobs["faces"], "<u4").reshape(-1, 3)
    assert (faces == wall.faces.numpy()).all()
    tissue = np.frombuffer(blobs["layer0"], np.uint8).reshape(-1, 3)
    assert np.abs(tissue / 255 - wall.colours.numpy()).max() <= 0.5 / 255 + 1e-6
    assert np.allclose(np.frombuffer(blobs["way"], "<f4").reshape(-1, 3), way.numpy())


def test_unsure_places_are_yellow_and_the_bar_says_from_which_number(tmp_path):
    wall = coloured_tube()
    facts, blobs = data_of(written(tmp_path, wall))
    assert [each["name"] for each in facts["layers"]] == [
        "tissue",
        "uncertainty",
        "frames that looked",
    ]
    _, uncertainty, seen = facts["layers"]
    assert (uncertainty["least"], uncertainty["most"]) == ("0 mm", "2 mm or more")
    last = int(wall.seen.max())
    assert seen["least"] == "0"
    assert 0.97 * last < int(seen["most"].removesuffix(" or more")) <= last
    for name in ("layer1", "layer2"):
        colours = np.frombuffer(blobs[name], np.uint8).reshape(-1, 3).astype(int)
        assert tuple(colours[0]) == BLUE
        assert tuple(colours[-1]) == YELLOW
        assert (np.diff(colours[:, 1]) >= 0).all()  # cividis grows in green
    half = np.frombuffer(blobs["layer1"], np.uint8).reshape(-1, 3)[len(wall.seen) // 2]
    assert np.abs(half.astype(int) - (124, 123, 120)).max() <= 5  # (125, 124, 116) of 2018


def test_what_is_not_known_has_no_button(tmp_path):
    wall, _, _ = tube(length=20, step=4.0, around=20)
    facts, blobs = data_of(written(tmp_path, replace(wall, std_mm=None)))
    assert [each["name"] for each in facts["layers"]] == ["tissue", "frames that looked"]
    assert "layer2" not in blobs
    assert blobs["way"] == b""
    assert blobs["line"] == b""


def test_the_page_fetches_nothing_and_holds_all_that_it_names(tmp_path):
    page = written(tmp_path, coloured_tube(), path_mm=axis(torch.linspace(5, 30, 7)))
    for word in ("http:", "https:", "//www", "src=", "href=", "url(", "import(", "fetch(", "@DATA"):
        assert word not in page
    assert "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'" in page
    assert "Research software, not for diagnosis." in page
    named = set(re.findall(r'part\("(\w+)"\)', page))
    assert len(named) > 10
    assert named <= set(re.findall(r'id="(\w+)"', page))


@pytest.mark.parametrize("surface", [EMPTY, tube(length=20, step=4.0, around=20)[0]])
def test_a_title_is_words_and_nothing_else(tmp_path, surface):
    page = written(tmp_path, surface, title='<b>"@DATA@" & @FACTS@</b>')
    shown = "&lt;b&gt;&quot;@DATA@&quot; &amp; @FACTS@&lt;/b&gt;"
    assert page.count(shown) == 2  # of the window and over the wall
    assert "<b>&" in page
    assert "@TITLE@" not in page


def test_one_flies_along_the_middle_although_the_camera_trembled(tmp_path):
    wall, _, _ = tube(length=140, bend_mm=90.0)
    draw = torch.Generator().manual_seed(8)
    way = axis(torch.linspace(10, 130, 60), 90.0)
    way = way + 4 * torch.rand(60, 3, generator=draw) - 2
    _, blobs = data_of(written(tmp_path, wall, path_mm=way))
    line = torch.from_numpy(np.frombuffer(blobs["line"], "<f4").reshape(-1, 3).copy())
    from_middle = torch.stack([(line[:, 0] - 90).hypot(line[:, 2]) - 90, line[:, 1]], dim=-1)
    assert from_middle.norm(dim=-1).max() < 0.1 * RADIUS_MM
    steps = line.diff(dim=0).norm(dim=-1)
    assert (steps - 2).abs().max() < 0.2
    assert steps.sum() > 60


def test_a_camera_that_stood_still_is_where_one_looks_from(tmp_path):
    wall, _, _ = tube(length=40, step=2.0, around=40)
    place = torch.tensor([[1.0, 2.0, 3.0]])
    _, blobs = data_of(written(tmp_path, wall, path_mm=place.expand(5, 3)))
    assert np.frombuffer(blobs["line"], "<f4").tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(DataError, match="path_mm"):
        write_viewer(EMPTY, tmp_path / "v.html", title="", path_mm=place * torch.nan)


@pytest.mark.parametrize("most", [500, 3000, 9000])
def test_a_thinned_surface_keeps_its_box_its_sides_and_what_is_known_of_it(most):
    wall, _, _ = tube(length=60, step=0.5)
    wall = replace(wall, std_mm=wall.vertices_mm[:, 2] / 10, seen=wall.seen + 2)
    small = thinned(wall, most)
    assert most / 3 < len(small.faces) <= most
    area = float(wall.areas_mm2().sum())
    cell_mm = 2 * (area / len(small.faces)) ** 0.5  # a cell has a corner, a corner two triangles
    for end in ("amin", "amax"):
        before, after = (getattr(each.vertices_mm, end)(dim=0) for each in (wall, small))
        assert (before - after).abs().max() < cell_mm
    inward = -small.vertices_mm[small.faces].mean(dim=1)[:, :2]
    assert ((small.normals()[:, :2] * inward).sum(dim=-1) > 0).float().mean() > 0.98
    assert (small.std_mm - small.vertices_mm[:, 2] / 10).abs().max() < 1e-4
    assert (small.seen == 7).all()


def test_a_small_surface_is_not_thinned_and_a_page_never_holds_more(tmp_path):
    wall, _, _ = tube(length=60, step=0.5)
    assert len(wall.faces) < MOST_FACES
    assert thinned(wall, len(wall.faces)) is wall
    facts, blobs = data_of(written(tmp_path, wall, most_faces=1000))
    count = len(blobs["faces"]) // 12
    assert 0 < count <= 1000
    assert facts["words"] == f"{count} triangles, thinned from {len(wall.faces)}."


def test_faces_that_became_one_are_kept_once_and_the_other_side_stays():
    faces = torch.tensor([[4, 2, 9], [9, 4, 2], [2, 4, 9], [1, 2, 3]])
    assert viewer._once(faces).tolist() == [[1, 2, 3], [2, 4, 9], [2, 9, 4]]
    wall, _, _ = tube(length=60, step=0.5)
    doubled = replace(wall, faces=torch.cat([wall.faces, wall.faces.roll(1, dims=1)]))
    small = thinned(doubled, 3000)
    assert len(small.faces.sort(dim=1).values.unique(dim=0)) == len(small.faces) > 300


@pytest.mark.parametrize(("most", "words"), [(0, "expected 1 or more"), (1, "no surface of 1")])
def test_too_few_triangles_are_refused(most, words):
    with pytest.raises(DataError, match=words):
        thinned(tube(length=20, step=4.0, around=20)[0], most)


def test_an_empty_wall_has_a_page_that_says_so(tmp_path):
    page = written(tmp_path, EMPTY)
    assert "There is no wall to show." in page
    assert "Research software, not for diagnosis." in page
    assert "<script" not in page


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    before = written(tmp_path, EMPTY)
    wall, _, _ = tube(length=20, step=4.0, around=20)
    monkeypatch.setattr(viewer, "PAGE", "half \ud800")  # no such character can be written
    with pytest.raises(UnicodeEncodeError):
        write_viewer(wall, tmp_path / "v.html", title="")
    assert (tmp_path / "v.html").read_text() == before
    assert [each.name for each in tmp_path.iterdir()] == ["v.html"]
