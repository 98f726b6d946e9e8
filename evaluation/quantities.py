"""What a score is, in words: for the heads of tables and to know which of two is better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One score: what it says, its unit ("" for a share or a ratio), and which way is better."""

    words: str
    unit: str
    lower_is_better: bool
    ranks: bool = True  # False: a control or a description, no value of which is better
