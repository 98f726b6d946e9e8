"""Endless batches of a world, for training."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from colondepth.errors import DataError

Batch = TypeVar("Batch")


def batches(
    make: Callable[[tuple[int, ...]], Batch],
    *,
    batch: int,
    first: int = 0,
    part: int = 0,
    parts: int = 1,
) -> Iterator[Batch]:
    """Make batch after batch, without end; sample k is the same whatever the batch size.

    Args:
        make: turns the numbers of samples into a batch, such as `partial(still_box_pairs,
            settings, seed=1, device="cuda")`.
        batch: samples a batch.
        first: number of the first sample: validation starts where training never gets.
        part: which of `parts` processes this is; each takes the batches that the others leave out.
        parts: how many processes share the samples.
    """
    if batch < 1 or first < 0 or not 0 <= part < parts:
        raise DataError(
            f"batch {batch}, first {first}, part {part} of {parts}: expected a batch of 1 or more,"
            " first of 0 or more, and a part below parts"
        )

    def endless() -> Iterator[Batch]:
        start = first + part * batch
        while True:
            yield make(tuple(range(start, start + batch)))
            start += parts * batch

    return endless()
