"""Tissue at a field between two at which it is known.

    ln v(B0) = (1 − w)·ln v(B1) + w·ln v(B2),    w = ln(B0/B1) / ln(B2/B1)

for T1, T2 and R2*, from draws of the same person at both fields: the same random numbers are used at each.
A power law in the field is what Bottomley et al., Med Phys 11:425, 1984, found for T1 of tissue.
"""

import math
from dataclasses import dataclass, replace
from typing import final

import torch

from unweight.core.errors import UsageError
from unweight.synth.tissue.materials import PROPERTIES
from unweight.synth.tissue.prior import NOMINAL_FIELDS, Prior, TissueDraw

FOLLOWING = [PROPERTIES.index(name) for name in ("T1", "T2", "R2star")]


@final
@dataclass(frozen=True, kw_only=True)
class BetweenFields(Prior):
    """A prior that is known at two fields, and drawn from between them.

    Attributes:
        prior: Drawn from at both.
        ends: The two fields [T].
    """

    prior: Prior
    ends: tuple[float, float] = NOMINAL_FIELDS

    def draw(self, generator: torch.Generator, field_strength: float) -> TissueDraw:
        """Draw one person, whose tissue is interpolated.

        Raises:
            UsageError: The field does not lie between the two.
        """
        low, high = self.ends
        if not low <= field_strength <= high:
            raise UsageError(
                f"no tissue at {field_strength:g} T",
                remedy=f"It can be interpolated from {low:g} to {high:g} T.",
            )
        twin = torch.Generator(device=generator.device)
        twin.set_state(generator.get_state())
        first, second = self.prior.draw(twin, low), self.prior.draw(generator, high)
        share = math.log(field_strength / low) / math.log(high / low)
        values = second.values.clone()
        one, other = (draw.values[:, FOLLOWING] for draw in (first, second))
        values[:, FOLLOWING] = one ** (1 - share) * other**share
        return replace(second, values=values, field_strength=field_strength)
