from dataclasses import replace

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


def test_everything_goes_to_another_device() -> None:
    """The device `meta` holds no numbers, so that only what was moved can be there."""
    acquisition = Acquisition(
        signal=torch.ones(4, 3),
        protocol=PROTOCOL,
        mask=torch.ones(4, dtype=torch.bool),
        affine=torch.eye(4),
        known={"B": torch.ones(4)},
        saturated=torch.zeros(4, dtype=torch.bool),
        noise_sd=0.1,
    )
    moved = replace(acquisition, kind=SignalKind.SIGNED).to(torch.device("meta"))
    assert moved.mask is not None and moved.saturated is not None
    for one in (moved.signal, moved.mask, moved.saturated, moved.known["B"]):
        assert one.device.type == "meta"
    # Geometry is computed on the processor, wherever the volumes are.
    assert moved.affine is acquisition.affine and moved.protocol is PROTOCOL
    assert moved.noise_sd == 0.1 and moved.kind is SignalKind.SIGNED
    assert acquisition.signal.device.type == "cpu"


def test_what_was_not_given_is_not_given_elsewhere() -> None:
    here = Acquisition(signal=torch.ones(4, 3), protocol=PROTOCOL)
    there = here.to(torch.device("cpu"))
    assert there.mask is None and there.saturated is None and not there.known
    assert torch.equal(there.signal, here.signal)
