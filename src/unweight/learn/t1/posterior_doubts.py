"""Whether the posterior is any better than the fit it corrects, asked of a scan after it was mapped.

Some of what a network was trained for shows only once the scan is fitted: the inversion efficiency, the
SNR, errors between volumes that are not noise. Where they lie outside its training the stated standard
deviation grows beyond the bound of the fit. A posterior is narrower than the fit or it is useless, so the
median of the ratio over clear voxels decides.
"""

from dataclasses import dataclass
from typing import final

from unweight.core.maps import ParameterMaps
from unweight.learn.t1.posterior import SCAN_EFFICIENCY, SD_OVER_BOUND, SNR
from unweight.learn.t1.protocol_range import ProtocolRange

WIDE, TOO_WIDE = 1.5, 2.5  # stated SD over the bound of the fit


@final
@dataclass(frozen=True, kw_only=True)
class PosteriorDoubts:
    """What speaks against the maps of the posterior.

    Attributes:
        fall_back: Why the fit is the better answer; empty if it is not.
        remarks: What a careful reader should know.
    """

    fall_back: str = ""
    remarks: tuple[str, ...] = ()


def posterior_doubts(maps: ParameterMaps, trained: ProtocolRange) -> PosteriorDoubts:
    """Compare what the posterior found of a scan with its training.

    Args:
        maps: Of `PosteriorT1`.
        trained: The ranges of its card.
    """
    efficiency, ratio, snr = (_number(maps, name) for name in (SCAN_EFFICIENCY, SD_OVER_BOUND, SNR))
    low, high = trained.efficiency
    if efficiency is not None and not low <= efficiency <= high:
        return PosteriorDoubts(
            fall_back=f"the inversion efficiency of this scan is {efficiency:.2f}, and the network was "
            f"trained for {low:g} to {high:g}"
        )
    if ratio is not None and ratio > TOO_WIDE and snr is not None and snr > trained.snr[1]:
        return PosteriorDoubts(
            fall_back=f"its standard deviations are {ratio:.1f} times the error bound of the fit, at an "
            f"SNR of {snr:.0f} where it was trained up to {trained.snr[1]:g}"
        )
    remarks = []
    if ratio is not None and ratio > WIDE:
        remarks.append(
            f"standard deviations are {ratio:.1f} times the error bound of the fit: noise, inversion or "
            "errors between the volumes are unlike those the network was trained on; compare --method ml"
        )
    if snr is not None and snr > trained.snr[1]:
        remarks.append(
            f"the SNR is {snr:.0f}, and the network was trained up to {trained.snr[1]:g}: "
            "standard deviations are too large, values are not affected"
        )
    return PosteriorDoubts(remarks=tuple(remarks))


def _number(maps: ParameterMaps, name: str) -> float | None:
    value = maps.notes.get(name)
    return None if value is None else float(value)
