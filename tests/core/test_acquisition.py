import pytest
import torch

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError
from unweight.core.protocol import protocol_from_values

PROTOCOL = protocol_from_values(inversion_time=[0.05, 0.4, 1.1])


def test_not_finite_voxels_are_outside() -> None:
    signal = torch.ones(2, 3)
    signal[1, 2] = torch.nan
    acquisition = Acquisition(signal=signal, protocol=PROTOCOL, mask=torch.tensor([True, True]))
    assert acquisition.inside.tolist() == [True, False]


def test_number_of_volumes_must_agree() -> None:
    with pytest.raises(ProtocolError, match="2 volumes, but timings for 3"):
        Acquisition(signal=torch.ones(4, 2), protocol=PROTOCOL)


def test_negative_magnitudes_are_refused() -> None:
    with pytest.raises(InputError, match="magnitude volumes with negative values"):
        Acquisition(signal=-torch.ones(4, 3), protocol=PROTOCOL)
    Acquisition(signal=-torch.ones(4, 3), protocol=PROTOCOL, kind=SignalKind.SIGNED)


def test_complex_numbers_need_the_complex_kind() -> None:
    with pytest.raises(InputError, match=r"magnitude volumes held as torch\.complex64"):
        Acquisition(signal=torch.ones(4, 3, dtype=torch.complex64), protocol=PROTOCOL)


def test_maps_must_be_on_the_grid() -> None:
    with pytest.raises(InputError, match=r"the mask has shape \(5,\), the volumes \(4,\)"):
        Acquisition(signal=torch.ones(4, 3), protocol=PROTOCOL, mask=torch.ones(5, dtype=torch.bool))
    with pytest.raises(InputError, match="the B has shape"):
        Acquisition(signal=torch.ones(4, 3), protocol=PROTOCOL, known={"B": torch.ones(3)})


def test_noise_must_be_positive() -> None:
    with pytest.raises(InputError, match="noise_sd must be positive and finite, not 0"):
        Acquisition(signal=torch.ones(4, 3), protocol=PROTOCOL, noise_sd=0.0)
