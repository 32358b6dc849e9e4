import math
from dataclasses import replace

import pytest
import torch

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.protocol import protocol_from_values
from unweight.signals.inversion_recovery import PD, T1, B, InversionRecovery
from unweight.signals.parameters import R2STAR
from unweight.synth.protocols.standard import eight_echoes, mprage
from unweight.synth.tissue.materials import INDEX, MATERIALS, PROPERTIES
from unweight.synth.tissue.scene import Scene

PROTOCOL = protocol_from_values(inversion_time=[0.05, 0.4, 1.1, 2.5], repetition_time=[10.0] * 4)
MODEL = InversionRecovery(kind=SignalKind.SIGNED)
GREY, WHITE, CSF = (INDEX[name] for name in ("grey_matter", "white_matter", "csf"))


def properties() -> torch.Tensor:
    table = torch.zeros(len(MATERIALS), len(PROPERTIES), dtype=torch.float64)
    table[:, :2] = 1.0
    for index, t1, pd in ((GREY, 1.5, 0.84), (WHITE, 0.85, 0.7), (CSF, 3.8, 1.0)):
        table[index, :3] = torch.tensor([t1, 0.1, pd], dtype=torch.float64)
    return table


def scene(fractions: dict[int, float], **settings: object) -> Scene:
    shares = torch.zeros(1, len(MATERIALS), dtype=torch.float64)
    for index, share in fractions.items():
        shares[0, index] = share
    return Scene(
        fractions=shares,
        properties=properties(),
        texture=torch.zeros(1, 3, dtype=torch.float64),
        fields={"B": torch.tensor([1.9], dtype=torch.float64)},
        **settings,  # type: ignore[arg-type]
    )


def test_pure_voxel_has_the_signal_of_the_model() -> None:
    theta = torch.tensor([[1.5, 0.84, 1.9]], dtype=torch.float64)
    shown = scene({GREY: 1.0}).signal(MODEL, PROTOCOL)
    torch.testing.assert_close(shown, MODEL(theta, PROTOCOL), rtol=1e-6, atol=1e-9)


def test_mixed_voxel_mixes_signals() -> None:
    pure = [scene({index: 1.0}).signal(MODEL, PROTOCOL) for index in (GREY, CSF)]
    mixed = scene({GREY: 0.3, CSF: 0.6, 0: 0.1}).signal(MODEL, PROTOCOL)
    torch.testing.assert_close(mixed, 0.3 * pure[0] + 0.6 * pure[1], rtol=1e-9, atol=1e-12)


def test_short_component_of_white_matter() -> None:
    theta = torch.tensor([[0.85, 0.7, 1.9], [0.048, 0.7, 1.9]], dtype=torch.float64)
    long, short = MODEL(theta, PROTOCOL)
    shown = scene({WHITE: 1.0}, short_fraction=0.09, short_t1=0.048).signal(MODEL, PROTOCOL)[0]
    torch.testing.assert_close(shown, 0.91 * long + 0.09 * short, rtol=1e-9, atol=1e-12)


def test_truth_is_weighted_by_water() -> None:
    maps = scene({GREY: 0.5, CSF: 0.5}).truth((T1, PD, B))
    water = torch.tensor([0.42, 0.5], dtype=torch.float64)
    expected = water.sum() / (water / torch.tensor([1.5, 3.8]).double()).sum()
    assert maps.value("T1").item() == pytest.approx(expected.item(), rel=1e-6)
    assert maps.value("PD").item() == pytest.approx(0.92)
    assert maps.value("B").item() == pytest.approx(1.9)
    assert scene({GREY: 0.5, CSF: 0.5}).purity.item() == pytest.approx(0.5 / 0.92)


def test_voxel_without_water_is_masked() -> None:
    empty = scene({0: 1.0})
    assert bool(torch.isnan(empty.truth((T1, PD, B)).values).all())
    assert float(empty.signal(MODEL, PROTOCOL).abs().max()) == 0.0
    assert empty.purity.item() == 0.0


def test_mixing_is_the_spread_of_log_t1_over_the_water() -> None:
    """Of two values with shares p and 1 − p: |ln a/b|·√(p(1 − p))."""
    share = 0.42 / 0.92  # of the water: half grey matter with 0.84, half CSF with 1
    expected = math.log(3.8 / 1.5) * math.sqrt(share * (1 - share))
    assert scene({GREY: 0.5, CSF: 0.5}).mixing.item() == pytest.approx(expected, rel=1e-9)
    # Air around it takes up no water.
    assert scene({GREY: 0.3, CSF: 0.3, 0: 0.4}).mixing.item() == pytest.approx(expected, rel=1e-9)
    assert scene({GREY: 0.5, CSF: 0.5}).mixing.item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixing_is_zero_in_pure_and_in_empty_voxels(dtype: torch.dtype) -> None:
    for fractions in ({GREY: 1.0}, {WHITE: 1.0}, {CSF: 0.6, 0: 0.4}, {0: 1.0}):
        double = scene(fractions)
        made = replace(double, fractions=double.fractions.to(dtype), properties=double.properties.to(dtype))
        assert made.mixing.item() == 0.0


def test_texture_and_receive_act_where_they_should() -> None:
    plain = scene({GREY: 1.0})
    textured = Scene(
        fractions=plain.fractions,
        properties=plain.properties,
        texture=torch.tensor([[0.1, 0.0, -0.2]], dtype=torch.float64),
        fields={**plain.fields, "receive": torch.tensor([3.0], dtype=torch.float64)},
    )
    maps = textured.truth((T1, PD))
    assert maps.value("T1").item() == pytest.approx(1.5 * torch.tensor(0.1).exp().item(), rel=1e-6)
    assert maps.value("PD").item() == pytest.approx(3 * 0.84 * torch.tensor(-0.2).exp().item(), rel=1e-6)


def test_inversion_efficiency_reaches_models_that_do_not_fit_it() -> None:
    full = scene({GREY: 1.0})
    half = Scene(
        fractions=full.fractions,
        properties=full.properties,
        texture=full.texture,
        fields={"B": torch.tensor([1.5], dtype=torch.float64)},
    )
    scan = mprage()
    one, other = (made.signal(scan.model, scan.protocol) for made in (full, half))
    assert float((one - other).abs().max()) > 0.01 * float(one.abs().max())


def test_messages() -> None:
    with pytest.raises(UsageError, match="the field B is not on the grid"):
        plain = scene({GREY: 1.0})
        Scene(
            fractions=plain.fractions,
            properties=plain.properties,
            texture=plain.texture,
            fields={"B": torch.ones(2, dtype=torch.float64)},
        )


def magnetic_properties() -> torch.Tensor:
    table = properties()
    table[:, 3:] = torch.tensor([20.0, 0.05, -0.03], dtype=torch.float64)
    table[:, 3:] *= torch.linspace(0.5, 1.5, len(MATERIALS), dtype=torch.float64)[:, None]
    return table


def test_tissue_without_magnetic_texture_is_as_it_always_was() -> None:
    """Bit for bit: χ is the mixture of the table, and texture of T2 does not reach R2*."""
    table = magnetic_properties()
    mixed, pure = (
        replace(
            scene(shares), properties=table, texture=torch.tensor([[0.1, 0.2, 0.1]], dtype=torch.float64)
        )
        for shares in ({GREY: 0.3, CSF: 0.5, 0: 0.2}, {GREY: 1.0})
    )
    assert mixed.magnetic is None
    assert torch.equal(mixed.susceptibility, mixed.fractions @ (table[:, 4] + table[:, 5]))
    assert float(pure.truth((R2STAR,)).value("R2star")) == float(table[GREY, 3])


def test_an_even_magnetic_texture_changes_nothing() -> None:
    scan = eight_echoes()
    plain = replace(scene({GREY: 0.3, WHITE: 0.5, 0: 0.2}), properties=magnetic_properties())
    even = replace(plain, magnetic=torch.zeros(1, 2, dtype=torch.float64))
    assert torch.equal(even.susceptibility, plain.susceptibility)
    assert torch.equal(even.signal(scan.model, scan.protocol), plain.signal(scan.model, scan.protocol))


def test_magnetic_texture_moves_with_the_scene() -> None:
    moved = replace(scene({GREY: 1.0}), magnetic=torch.zeros(1, 2)).to(torch.device("meta"))
    assert moved.magnetic is not None and moved.magnetic.device.type == "meta"
