"""A camera: a lens, the linear map from its plane to pixels, and the size of its images.

Camera frame: x right, y down, z forward. Pixels: (u, v) = (column, row); whole numbers are pixel
centres, so an image covers [-0.5, width - 0.5] x [-0.5, height - 0.5].

    pixel = linear @ lens(point) + centre

Whatever happens to the pixels - resizing, cropping, flipping, turning, shearing - changes `linear`
and `centre` only, for every lens alike, and exactly. Parameters are batched: (*B, ...) first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot, pi
from typing import Self

import torch
from torch import Tensor

from colondepth.cameras.fisheye import Fisheye
from colondepth.cameras.lens import Lens, lift
from colondepth.cameras.omnidirectional import Omnidirectional
from colondepth.cameras.pinhole import Pinhole
from colondepth.cameras.solve import Jacobian, solve_2x2
from colondepth.errors import DataError, ShapeError
from colondepth.shapes import require_broadcast, require_finite, require_float, require_shapes

Number = float | Tensor  # a number for one camera, or a tensor (*B,) for a batch

# What an image without calibration is taken to be: an equidistant fisheye that sees this much from
# corner to corner. Colonoscopes are sold with 140 to 170 degrees.
ASSUMED_FIELD_RAD = 140 * pi / 180
_ORTHOGONAL = 1e-5  # largest defect of a turn's t' t - 1: float32 passes, a shear does not


@dataclass(frozen=True, eq=False, kw_only=True)
class Camera:
    """Pixels to rays and points to pixels, for images of one size.

    Make one with `Camera.pinhole`, `Camera.fisheye`, `Camera.omnidirectional`, or read one with
    `colondepth.cameras.from_file`.
    """

    lens: Lens
    linear: Tensor  # (*B, 2, 2) pixels per unit of the lens's plane
    centre: Tensor  # (*B, 2) pixels
    height: int
    width: int
    calibrated: bool = True  # False: a guess, and every length made with it must say so

    def __post_init__(self) -> None:
        """Refuse sizes, shapes and numbers that no camera has."""
        lens = self.lens.parameters()
        require_shapes(
            linear=(self.linear, "*B 2 2"), centre=(self.centre, "*B 2"), lens=(lens, "*B N")
        )
        require_float(linear=self.linear, centre=self.centre, lens=lens)
        require_finite(linear=self.linear, centre=self.centre, lens=lens)
        if self.height < 1 or self.width < 1:
            raise DataError(f"a camera of {self.height}x{self.width} pixels has no image")
        a, b, c, d = self.linear.detach().flatten(start_dim=-2).unbind(dim=-1)
        if not bool((a * d - b * c != 0).all()):
            raise DataError(
                f"focal lengths {self.linear.detach().diagonal(dim1=-2, dim2=-1).tolist()} make a"
                " singular camera; they are in pixels and not 0"
            )

    @classmethod
    def pinhole(
        cls,
        *,
        fx: Number,
        fy: Number,
        cx: Number,
        cy: Number,
        height: int,
        width: int,
        distortion: Sequence[float] | Tensor = (0, 0, 0, 0, 0),
        calibrated: bool = True,
    ) -> Self:
        """Make a pinhole camera; `distortion` is k1, k2, p1, p2, k3 as OpenCV orders them."""
        linear, centre = _axes(fx, fy, cx, cy)
        bends = _coefficients(distortion, count=5, like=centre)
        return cls(
            lens=Pinhole(bends),
            linear=linear,
            centre=centre,
            height=height,
            width=width,
            calibrated=calibrated,
        )

    @classmethod
    def fisheye(
        cls,
        *,
        fx: Number,
        fy: Number,
        cx: Number,
        cy: Number,
        height: int,
        width: int,
        distortion: Sequence[float] | Tensor = (0, 0, 0, 0),
        calibrated: bool = True,
    ) -> Self:
        """Make a Kannala-Brandt camera; `distortion` is k1 to k4 as `cv2.fisheye` orders them."""
        linear, centre = _axes(fx, fy, cx, cy)
        bends = _coefficients(distortion, count=4, like=centre)
        return cls(
            lens=Fisheye(bends),
            linear=linear,
            centre=centre,
            height=height,
            width=width,
            calibrated=calibrated,
        )

    @classmethod
    def omnidirectional(
        cls,
        *,
        polynomial: Sequence[float] | Tensor,
        cx: Number,
        cy: Number,
        height: int,
        width: int,
        stretch: tuple[Number, Number, Number] = (1.0, 0.0, 0.0),
    ) -> Self:
        """Make a Scaramuzza camera from a0 to a4 and the stretch (c, d, e) of [[c, d], [e, 1]]."""
        c, d, e = stretch
        linear, centre = _axes(c, 1.0, cx, cy, shear=(d, e))
        terms = _coefficients(polynomial, count=5, like=centre)
        if not bool((terms[..., 0] > 0).all()):
            raise DataError(
                f"the polynomial starts with a0 = {terms[..., 0].tolist()}, expected a positive"
                " number of pixels; OCamCalib's own files look backwards: change all five signs"
            )
        lens = Omnidirectional(terms)
        return cls(lens=lens, linear=linear, centre=centre, height=height, width=width)

    @classmethod
    def assumed(cls, height: int, width: int) -> Self:
        """Make the stated guess for images without calibration: see `ASSUMED_FIELD_RAD`."""
        focal = hypot(height - 1, width - 1) / ASSUMED_FIELD_RAD if height * width > 1 else 1.0
        return cls.fisheye(
            fx=focal,
            fy=focal,
            cx=(width - 1) / 2,
            cy=(height - 1) / 2,
            height=height,
            width=width,
            calibrated=False,
        )

    @property
    def batch(self) -> tuple[int, ...]:
        """The batch axes *B; () for one camera."""
        return require_broadcast(
            linear=tuple(self.linear.shape[:-2]),
            centre=tuple(self.centre.shape[:-1]),
            lens=tuple(self.lens.parameters().shape[:-1]),
        )

    def rays(self, height: int, width: int) -> Tensor:
        """Return the unit ray of every pixel, shape (*B, H, W, 3).

        A pixel that no light reaches through this lens has the ray (0, 0, 0). The size is asked
        for because a map of another size needs another camera: see `resized`.
        """
        if (height, width) != (self.height, self.width):
            raise ShapeError(
                f"the camera is for {self.height}x{self.width} pixels, the map has"
                f" {height}x{width}; camera.resized({height}, {width}) follows a resized image"
            )
        pixels = pixel_grid(height, width, like=self.centre)  # (H, W, 2)
        return self.rays_at(pixels.expand(*self.batch, -1, -1, -1))

    def rays_at(self, pixels: Tensor) -> Tensor:
        """Return the unit rays of pixels (*B, ..., 2), shape (*B, ..., 3); 0 where none exists."""
        self._require_batch_first(pixels=(pixels, "*B 2"))
        if pixels.dtype != self.centre.dtype:
            return self.to(pixels).rays_at(pixels)
        centre = lift(self.centre, pixels.ndim - self.centre.ndim)
        plane = solve_2x2(self._linear_terms(pixels.ndim), pixels - centre)  # (*B, ..., 2)
        rays, seen = self.lens.unbend(plane)
        return rays * seen[..., None]

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return where points (*B, ..., 3) appear, and which of them the lens can see.

        Returns:
            Pixels (*B, ..., 2), which may lie outside the image, and `in_front` (*B, ...), False
            for points behind the camera or beyond the lens's field; their pixels mean nothing.
        """
        self._require_batch_first(points=(points, "*B 3"))
        if points.dtype != self.centre.dtype:
            return self.to(points).project(points)
        plane, in_front = self.lens.bend(points)
        centre = lift(self.centre, points.ndim - self.centre.ndim)
        # A sum, not a matrix product: autocast would round that to 16 bits, and pixels with it.
        a, b, c, d = self._linear_terms(points.ndim)
        p, q = plane.unbind(dim=-1)
        return torch.stack([a * p + b * q, c * p + d * q], dim=-1) + centre, in_front

    def contains(self, pixels: Tensor) -> Tensor:
        """Return True for pixels (..., 2) on the image, out to the edges of its border pixels."""
        require_shapes(pixels=(pixels, "*B 2"))
        u, v = pixels.unbind(dim=-1)
        return (u >= -0.5) & (u <= self.width - 0.5) & (v >= -0.5) & (v <= self.height - 0.5)

    def remapped(self, linear: Tensor, offset: Tensor, *, height: int, width: int) -> Self:
        """Follow an image whose pixels were moved to linear @ pixel + offset, (2, 2) and (2,)."""
        require_shapes(linear=(linear, "2 2"), offset=(offset, "2"))
        linear, offset = linear.to(self.linear), offset.to(self.centre)
        return replace(
            self,
            linear=linear @ self.linear,
            centre=self.centre @ linear.mT + offset,
            height=height,
            width=width,
        )

    def resized(self, height: int, width: int) -> Self:
        """Follow an image that was resized to height x width, pixel centres kept in place."""
        scale = self.centre.new_tensor([width / self.width, height / self.height])
        return self.remapped(scale.diag(), (scale - 1) / 2, height=height, width=width)

    def cropped(self, top: int, left: int, height: int, width: int) -> Self:
        """Follow an image of which rows top to top + height, and such columns, were kept."""
        if min(top, left) < 0 or top + height > self.height or left + width > self.width:
            raise DataError(
                f"the crop of {height}x{width} at row {top}, column {left} leaves the image of"
                f" {self.height}x{self.width}"
            )
        offset = self.centre.new_tensor([-left, -top])
        return self.remapped(torch.eye(2, dtype=offset.dtype), offset, height=height, width=width)

    def turned(self, turn: Tensor) -> Self:
        """Turn or mirror the camera's own x and y axes: the same pixels, new coordinates.

        Args:
            turn: orthogonal (2, 2), from the old x and y to the new ones. Points, normals and
                `world_from_camera` must be turned by whoever holds them.
        """
        require_shapes(turn=(turn, "2 2"))
        turn = turn.to(self.linear)
        if not torch.allclose(turn @ turn.mT, torch.eye(2).to(turn), atol=_ORTHOGONAL):
            raise DataError(
                f"turn is {turn.tolist()}, expected an orthogonal matrix; `remapped` takes others"
            )
        return replace(self, lens=self.lens.turned(turn), linear=self.linear @ turn.mT)

    def to(self, like: Tensor) -> Self:
        """Return this camera with the dtype and device of `like`."""
        return replace(
            self,
            lens=self.lens.with_parameters(self.lens.parameters().to(like)),
            linear=self.linear.to(like),
            centre=self.centre.to(like),
        )

    def expanded(self, batch: tuple[int, ...]) -> Self:
        """Return this camera repeated along larger batch axes, with which its own broadcast."""
        lens = self.lens.parameters()
        return replace(
            self,
            lens=self.lens.with_parameters(lens.expand(*batch, lens.shape[-1])),
            linear=self.linear.expand(*batch, 2, 2),
            centre=self.centre.expand(*batch, 2),
        )

    def field_of_view_rad(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the angle seen across the width, the height and the diagonal, (*B,) each.

        Measured through the image's centre between outer pixel edges; the part of a diagonal that
        lies beyond the lens's field counts as 0.
        """
        right, low = self.width - 0.5, self.height - 0.5
        middle_u, middle_v = (self.width - 1) / 2, (self.height - 1) / 2
        ends = [
            [[-0.5, middle_v], [right, middle_v]],
            [[middle_u, -0.5], [middle_u, low]],
            [[-0.5, -0.5], [right, low]],
        ]
        pixels = self.centre.new_tensor(ends).expand(*self.batch, 3, 2, 2)
        rays = self.rays_at(pixels)  # (*B, 3, 2, 3)
        forward = self.centre.new_tensor([0, 0, 1])
        angles = torch.atan2(
            torch.linalg.cross(rays, forward.expand_as(rays)).norm(dim=-1), rays[..., 2]
        )
        across, down, diagonal = angles.sum(dim=-1).unbind(dim=-1)
        return across, down, diagonal

    def _linear_terms(self, ndim: int) -> Jacobian:
        """Return the four numbers of `linear`, shaped to meet points of so many axes, less one."""
        terms = self.linear.flatten(start_dim=-2)  # (*B, 4)
        a, b, c, d = lift(terms, ndim - terms.ndim).unbind(dim=-1)
        return a, b, c, d

    def _require_batch_first(self, **tensors: tuple[Tensor, str]) -> None:
        """Check the kind of the numbers, and that the batch axes come first."""
        require_shapes(**tensors)
        ((name, (tensor, _)),) = tensors.items()
        require_float(**{name: tensor})
        first = tuple(tensor.shape[:-1])[: len(self.batch)]
        if len(first) < len(self.batch):
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)}, but the camera is a batch {self.batch},"
                " whose axes come first"
            )
        require_broadcast(camera=self.batch, **{name: first})


def pixel_grid(height: int, width: int, *, like: Tensor) -> Tensor:
    """Return the pixel (u, v) of every place in a map, shape (H, W, 2)."""
    v = torch.arange(height, dtype=like.dtype, device=like.device)
    u = torch.arange(width, dtype=like.dtype, device=like.device)
    v, u = torch.meshgrid(v, u, indexing="ij")
    return torch.stack([u, v], dim=-1)


def stack(cameras: Sequence[Camera]) -> Camera:
    """Make one batch of single cameras of one lens kind and one size."""
    if not cameras:
        raise DataError("there is no camera to stack; expected one or more")
    first = cameras[0]
    for number, camera in enumerate(cameras):
        if _kind(camera) != _kind(first):
            raise DataError(
                f"camera {number} is {_kind(camera)}, camera 0 is {_kind(first)}; a batch holds one"
                " kind and one size"
            )
    return replace(
        first,
        lens=first.lens.with_parameters(torch.stack([c.lens.parameters() for c in cameras])),
        linear=torch.stack([camera.linear for camera in cameras]),
        centre=torch.stack([camera.centre for camera in cameras]),
        calibrated=all(camera.calibrated for camera in cameras),
    )


def _kind(camera: Camera) -> str:
    batch = f" in a batch {camera.batch}" if camera.batch else ""
    return f"a {type(camera.lens).__name__} of {camera.height}x{camera.width}{batch}"


def _axes(
    fx: Number, fy: Number, cx: Number, cy: Number, *, shear: tuple[Number, Number] = (0.0, 0.0)
) -> tuple[Tensor, Tensor]:
    """Return linear (*B, 2, 2) and centre (*B, 2); plain numbers become float64."""
    given = [fx, shear[0], shear[1], fy, cx, cy]
    tensors = [value for value in given if isinstance(value, Tensor)]
    like = tensors[0] if tensors else torch.zeros((), dtype=torch.float64)
    numbers = [torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in given]
    xx, xy, yx, yy, u, v = torch.broadcast_tensors(*numbers)
    linear = torch.stack([torch.stack([xx, xy], dim=-1), torch.stack([yx, yy], dim=-1)], dim=-2)
    return linear, torch.stack([u, v], dim=-1)


def _coefficients(values: Sequence[float] | Tensor, *, count: int, like: Tensor) -> Tensor:
    terms = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    if terms.ndim == 0 or terms.shape[-1] != count:
        raise ShapeError(f"the lens has {tuple(terms.shape)} coefficients, expected ({count},)")
    return terms.expand(*like.shape[:-1], count) if terms.ndim == 1 else terms
