"""Rendered batches on disk, made once and read memory-mapped, each by its number.

    FOLDER/level-3_seed-1_128x160x8/
        index.json                  what is kept, how many batches, in shards of how many, made how
        00000000.safetensors        batches 0, 1, 2 ..., one tensor a part: (N, B, C, H, W)

Images are kept as 8 bits, normals as signed 8 bits, other maps as float16 (within 0.05 %), bool as
bool. A camera is its numbers and the name of its lens, one kind a batch. Depth is not kept: it is
the distance seen along the ray. The index comes first, then the shards in order, each whole or not
there: what stands can be used while the rest is made, and the same call goes on where it stopped.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.cameras import Camera, Fisheye, Omnidirectional, Pinhole
from colondepth.cameras.lens import Lens
from colondepth.errors import DataError
from colondepth.geometry import depth_from_distance

FORMAT, VERSION = "colondepth-batches", 1
HELD_OUT_SEED = 2**31 - 1  # of what is kept for validation: nothing that trains is drawn from it
INDEX = "index.json"
SHARD_BATCHES = 16  # 16 MB at 128x160x8: a minute of rendering at most is lost by a stop
# What losses for depth ask for; the others that a stream has may be named as well.
PARTS = ("image", "valid", "distance_mm")
_PATIENCE_S = 900.0  # a shard of level 6 takes a minute where kernels are not compiled
_POLL_S = 0.5
MOST_LENS_NUMBERS = 8  # a pinhole and an omnidirectional lens have 5
_LENSES: Mapping[str, Callable[[Tensor], Lens]] = {
    "pinhole": Pinhole,
    "fisheye": Fisheye,
    "omnidirectional": Omnidirectional,
}

Make = Callable[[int], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """What the batches of a cache were drawn from."""

    level: str
    seed: int
    size: tuple[int, int]  # (height, width)
    batch: int

    @property
    def folder(self) -> str:
        """The name of its folder."""
        height, width = self.size
        return f"level-{self.level}_seed-{self.seed}_{height}x{width}x{self.batch}"


def write_cache(
    folder: Path,
    key: CacheKey,
    make: Make,
    *,
    batches: int,
    parts: tuple[str, ...] = PARTS,
    shard_batches: int = SHARD_BATCHES,
    made_with: Mapping[str, Any],
    tick: Callable[[int], None] = lambda done: None,
) -> Path:
    """Write the batches that are not there yet and return the cache's own folder.

    Args:
        folder: of all caches.
        key: see `CacheKey`.
        make: gives batch number k.
        batches: how many, a multiple of `shard_batches`. More than there were are added.
        parts: maps to keep.
        shard_batches: batches in a file.
        made_with: what is noted of how it was made.
        tick: called with the number of batches that stand.
    """
    if batches < 1 or batches % shard_batches:
        raise DataError(f"batches is {batches}, expected a multiple of {shard_batches}")
    if lacking := sorted({"image", "distance_mm"} - set(parts)):
        raise DataError(f"parts {list(parts)} lack {lacking}, without which nothing can be learnt")
    own = folder / key.folder
    index = {
        "format": FORMAT,
        "version": VERSION,
        "drawn_from": asdict(key),
        "batches": batches,
        "shard_batches": shard_batches,
        "parts": list(parts),
        "made_with": dict(made_with),
    }
    if (own / INDEX).exists():
        old = _read_index(own)
        for name in ("parts", "shard_batches"):
            if old[name] != index[name]:
                raise DataError(
                    f"{own} has {name} {old[name]}, asked for were {index[name]}; ask for the same,"
                    " or write to another folder"
                )
        index["batches"] = max(batches, old["batches"])
    with written_whole(own / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=2), encoding="utf-8")
    _clear_remains(own)
    for first in range(0, batches, shard_batches):
        path = own / _shard_name(first)
        if not path.exists():
            rows = [_encoded(make(first + k), parts) for k in range(shard_batches)]
            stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
            with written_whole(path) as temporary:
                save_file(stacked, temporary)
        tick(first + shard_batches)
    return own


class BatchCache:
    """The batches of one cache, by number.

    A batch whose shard is not written yet is waited for, as long as new ones appear.
    """

    def __init__(self, own_folder: Path, *, patience_s: float = _PATIENCE_S) -> None:
        self.folder = own_folder
        self._index = _read_index(own_folder)
        self._patience_s = patience_s
        self._open: dict[int, Any] = {}

    @property
    def key(self) -> CacheKey:
        """What it was drawn from."""
        drawn = self._index["drawn_from"]
        height, width = drawn["size"]
        return CacheKey(
            level=drawn["level"],
            seed=drawn["seed"],
            size=(height, width),
            batch=drawn["batch"],
        )

    def __len__(self) -> int:
        """Return how many batches are promised."""
        return int(self._index["batches"])

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return a batch of views, as rendered but for the rounding, float32."""
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of {len(self)} in {self.folder}")
        held = self._index["shard_batches"]
        shard, row = divmod(number, held)
        slices = self._shard(shard * held)
        return _decoded({name: part[row] for name, part in slices.items()})

    def __getstate__(self) -> dict[str, Any]:  # each process maps the files for itself
        return self.__dict__ | {"_open": {}}

    def _shard(self, first: int) -> Any:
        if first not in self._open:
            path = self.folder / _shard_name(first)
            self._wait_for(path)
            try:
                file = safe_open(path, framework="pt")
                self._open[first] = _slices(file)
            except Exception as error:
                raise DataError(
                    f"{path} is damaged ({error}); delete it, and the same colondepth cache command"
                    " makes it again"
                ) from error
        return self._open[first]

    def _wait_for(self, path: Path) -> None:
        waited_s, seen = 0.0, -1
        while not path.exists():
            there = sum(1 for _ in self.folder.glob("*.safetensors"))
            waited_s = 0.0 if there != seen else waited_s + _POLL_S
            seen = there
            if waited_s > self._patience_s:
                raise DataError(
                    f"{path} is not there, and no shard was added in {self._patience_s:.0f} s; the"
                    f" same colondepth cache command goes on with it ({there} are there)"
                )
            time.sleep(_POLL_S)


def find_caches(folder: Path) -> dict[CacheKey, Path]:
    """Return the caches of a folder that may be trained from."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; colondepth cache --out {folder} makes one")
    found = {}
    for index in sorted(folder.glob(f"*/{INDEX}")):
        key = BatchCache(index.parent).key
        if key.seed != HELD_OUT_SEED:
            found[key] = index.parent
    if not found:
        raise DataError(f"{folder} has no cache; colondepth cache --out {folder} makes one")
    return found


def _slices(file: Any) -> dict[str, Any]:
    return {name: file.get_slice(name) for name in list(file.keys())}


def _read_index(own: Path) -> dict[str, Any]:
    path = own / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = (index["format"], index["version"])
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not the index of a cache: {error!r}") from error
    if found != (FORMAT, VERSION):
        raise DataError(
            f"{path} is {found[0]} version {found[1]}, expected {FORMAT} version {VERSION}; make"
            " the cache anew in an empty folder"
        )
    return index


def _shard_name(first: int) -> str:
    return f"{first:08d}.safetensors"


def _clear_remains(own: Path) -> None:
    """Delete what a writer that was killed has left; what is young may be one that lives."""
    for remains in own.glob(".0*-*.safetensors"):
        if time.time() - remains.stat().st_mtime > _PATIENCE_S:
            remains.unlink(missing_ok=True)


def _encoded(batch: Mapping[str, Any], parts: tuple[str, ...]) -> dict[str, Tensor]:
    row: dict[str, Tensor] = {}
    for name in parts:
        if name not in batch:
            raise DataError(f"batches have no {name!r}; they have {sorted(map(str, batch))}")
        values = batch[name].detach().cpu()
        if name in ("image", "albedo"):
            values = (values * 255).round().clamp(0, 255).to(torch.uint8)
        elif name == "normals":
            values = (values * 127).round().to(torch.int8)
        elif values.is_floating_point():
            values = values.to(torch.float16)
        row[name] = values.contiguous()
    frames = len(row["image"])
    camera: Camera = batch["camera"].expanded((frames,))
    lens = camera.lens.parameters()
    padded = torch.zeros(frames, MOST_LENS_NUMBERS, dtype=lens.dtype)
    padded[:, : lens.shape[-1]] = lens.cpu()
    kind = list(_LENSES).index(type(camera.lens).__name__.lower())
    row["camera.lens"] = padded
    row["camera.kind"] = torch.tensor([kind, lens.shape[-1]])
    row["camera.linear"] = camera.linear.cpu().contiguous()
    row["camera.centre"] = camera.centre.cpu().contiguous()
    return row


def _decoded(row: Mapping[str, Tensor]) -> dict[str, Any]:
    kind, count = row["camera.kind"].tolist()
    height, width = row["image"].shape[-2:]
    camera = Camera(
        lens=list(_LENSES.values())[kind](row["camera.lens"][:, :count]),
        linear=row["camera.linear"],
        centre=row["camera.centre"],
        height=height,
        width=width,
    )
    batch: dict[str, Any] = {"camera": camera}
    for name, values in row.items():
        if name.startswith("camera."):
            continue
        if name in ("image", "albedo"):
            batch[name] = values.float() / 255
        elif name == "normals":
            length = values.float().norm(dim=-3, keepdim=True)
            batch[name] = values.float() / length.clamp(min=1)
        else:
            batch[name] = values.float() if values.is_floating_point() else values
    batch["depth_mm"] = depth_from_distance(batch["distance_mm"], camera)
    return batch
