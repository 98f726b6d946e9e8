"""Images and videos without what says whose they are.

Blanked: everything outside the scope's aperture, and text and graphics burnt into the picture.
Dropped: sound, subtitles, data streams, chapters, and all metadata of container, streams and files.
What was removed is counted and its kind is named; its content is never written down.

No program can promise that nothing identifying is left: a name may be written in letters that no
detector knows, and an inside may be recognised by who has seen it. Look at the result.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.lasting_text import Map, Mask, lasting_marks
from colondepth.masks import find_aperture, find_static_overlay, find_text
from colondepth.morphology import grown

SAMPLE_FRAMES = 24  # spread over a video: enough for the aperture, and for captions that stay
# A caption that is missed in one frame is found in its neighbours, see `lasting_text`.
NEIGHBOURS = 4  # on either side
WARN_SHARE = 0.001  # a name in small letters covers a thousandth of a frame
GROWN_PX = 3  # round every letter: codecs smear it a little


@dataclass(slots=True)
class Removed:
    """What was taken out: counts and kinds, never content."""

    frames: int = 0
    pixels: int = 0
    blanked_outside: int = 0
    blanked_text: int = 0
    frames_with_text: int = 0
    streams: dict[str, int] = field(default_factory=dict)  # kind, also "chapter" -> how many
    metadata_keys: list[str] = field(default_factory=list)  # names of fields, not what they held

    @property
    def text_share(self) -> float:
        """Return which part of all pixels was blanked as text, in [0, 1]."""
        return self.blanked_text / max(1, self.pixels)


@dataclass(frozen=True, slots=True, eq=False)
class Blanking:
    """What is blanked in every frame of a clip."""

    inside: Tensor  # (1, H, W), True where the scope sees
    static: Tensor  # (1, H, W), True on graphics that never move


def find_blanking(sample: Sequence[Tensor]) -> Blanking:
    """Look at frames (3, H, W) spread over a clip for what stays: the aperture and captions."""
    if not sample:
        raise DataError("there is no frame to look at; expected one or more")
    clip = torch.stack(list(sample))  # (T, 3, H, W)
    inside = find_aperture(clip, shared=True)
    if not bool(inside.any()):  # a video of black frames: keep them, they hold nothing
        inside = torch.ones_like(inside)
    return Blanking(inside, find_static_overlay(clip))


def blank_frames(
    frames: Iterable[Tensor], blanking: Blanking, removed: Removed
) -> Iterator[Tensor]:
    """Give every frame (3, H, W) blanked, in order, holding only a few at a time.

    Text found in a frame is blanked in its neighbours too, where they show it, so that a caption
    which a detector misses now and then never shows through.
    """
    held: deque[_Seen] = deque(maxlen=2 * NEIGHBOURS + 1)  # the frame in the making and around it
    coming = 0  # of those held, how many are not given yet
    for frame in frames:
        if frame.shape[-2:] != blanking.inside.shape[-2:]:
            raise DataError(
                f"a frame has {tuple(frame.shape[-2:])} pixels, the first ones had"
                f" {tuple(blanking.inside.shape[-2:])}; deidentify clips of one size one by one"
            )
        text = find_text(frame, inside=blanking.inside)
        held.append(_Seen(frame, text, bool(text.any())))
        coming += 1
        if coming > NEIGHBOURS:
            yield _blanked(held, coming, blanking, removed)
            coming -= 1
    while coming:
        yield _blanked(held, coming, blanking, removed)
        coming -= 1


def text_share(images: Tensor) -> float:
    """Return which part of images (*B, 3, H, W) is on-screen text or graphics, in [0, 1]."""
    return float(find_text(images).float().mean())


def shows_text(image: Tensor) -> bool:
    """Return whether an image (3, H, W) has on-screen text: who writes it has to say so."""
    return text_share(image) > WARN_SHARE


class _Seen(NamedTuple):
    """A frame (3, H, W) and the text found in it (1, H, W), if any."""

    image: Tensor
    text: Tensor
    marked: bool

    def arrays(self) -> tuple[Map, Mask]:
        return self.image.float().numpy(), self.text[0].numpy()


def _blanked(held: deque[_Seen], coming: int, blanking: Blanking, removed: Removed) -> Tensor:
    """Blank the frame of which `coming` - 1 others come later."""
    place = len(held) - coming
    image, own = held[place].image, held[place].text | blanking.static
    text = _grown(own)
    around = [*held]
    before, after = around[max(0, place - NEIGHBOURS) : place], around[place + 1 :]
    if any(each.marked for each in (*before, *after)):
        lasting = lasting_marks(
            image.float().numpy(),
            text[0].numpy(),
            before=[each.arrays() for each in before if each.marked],
            after=[each.arrays() for each in after if each.marked],
        )
        text |= _grown(torch.from_numpy(lasting)[None])
    text &= blanking.inside
    shown = blanking.inside & ~text
    removed.frames += 1
    removed.pixels += shown.numel()
    removed.blanked_outside += int((~blanking.inside).sum())
    removed.blanked_text += int(text.sum())
    removed.frames_with_text += bool(text.any())
    return image.masked_fill(~shown, 0)


def _grown(found: Tensor) -> Tensor:
    if not bool(found.any()):
        return found.clone()
    return torch.from_numpy(grown(found[0].numpy(), GROWN_PX))[None]
