"""The texture of χ against the correlations, the rates and the mixtures that its equations say."""

import math

import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.signals.parameters import CHI, R2STAR
from unweight.synth.protocols.standard import eight_echoes
from unweight.synth.tissue.materials import INDEX, MATERIALS, PROPERTIES
from unweight.synth.tissue.scene import Scene
from unweight.synth.tissue.texture import MagneticTexture, with_magnetic_texture

# T1, T2, PD, R2*, χ+, χ−; bone and muscle as magnetic as the brain, to see that they stay as they are.
ROWS = {
    "grey_matter": (1.5, 0.09, 0.84, 20.0, 0.05, -0.02),
    "white_matter": (0.85, 0.07, 0.7, 24.0, 0.02, -0.04),
    "skull": (0.4, 0.02, 0.1, 200.0, 0.03, -0.08),
    "muscle": (1.1, 0.04, 0.8, 30.0, 0.06, -0.05),
    "air": (1.0, 1.0, 0.0, 0.0, 0.36, 0.0),
}
TABLE = torch.ones(len(MATERIALS), len(PROPERTIES), dtype=torch.float64)
for _name, _row in ROWS.items():
    TABLE[INDEX[_name]] = torch.tensor(_row, dtype=torch.float64)
A, B, T2_TEXTURE = 0.3, -0.2, 0.1  # ln of χ+, χ− and T2 over the tissue's


def voxel(
    shares: dict[str, float], magnetic: tuple[float, float] | None = (A, B), **settings: object
) -> Scene:
    fractions = torch.zeros(1, len(MATERIALS), dtype=torch.float64)
    for name, share in shares.items():
        fractions[0, INDEX[name]] = share
    return Scene(
        fractions=fractions,
        properties=TABLE,
        texture=torch.tensor([[0.0, T2_TEXTURE, 0.0]], dtype=torch.float64),
        fields={},
        magnetic=None if magnetic is None else torch.tensor([magnetic], dtype=torch.float64),
        **settings,  # type: ignore[arg-type]
    )


def r2star(scene: Scene) -> float:
    return float(scene.truth((R2STAR,)).value("R2star"))


def decay(name: str, per_ppm: float = 137.0) -> float:
    """R2* of a tissue of the brain with A, B and T2_TEXTURE, written out."""
    _, t2, _, rate, plus, minus = ROWS[name]
    more = plus * (math.exp(A) - 1) + abs(minus) * (math.exp(B) - 1)
    return rate + per_ppm * more + 1 / (t2 * math.exp(T2_TEXTURE)) - 1 / t2


def brain(sds: tuple[float, float, float] = (0.03, 0.07, 0.02), n: int = 24) -> Scene:
    """Grey matter all over, with white noise for a texture."""
    fractions = torch.zeros(n, n, n, len(MATERIALS))
    fractions[..., INDEX["grey_matter"]] = 1.0
    noise = torch.randn(n, n, n, 3, generator=seeded_generator(1, "texture"))
    return Scene(
        fractions=fractions,
        properties=TABLE.float(),
        texture=noise * torch.tensor(sds),
        fields={},
        affine=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64)),
    )


def drawn(within: MagneticTexture, scene: Scene | None = None, seed: int = 2) -> Tensor:
    made = with_magnetic_texture(
        brain() if scene is None else scene, seeded_generator(seed), within
    ).magnetic
    assert made is not None
    return made


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_iron_goes_with_t2_and_myelin_with_t1(shared: float) -> None:
    """Of 13824 voxels on their own a correlation is known to 0.009."""
    scene = brain()
    plus, minus = drawn(MagneticTexture(shared=shared, length_mm=0.0), scene).unbind(-1)
    t1, t2, _ = scene.texture.unbind(-1)
    assert correlation(plus, t2) == pytest.approx(-shared, abs=0.03)
    assert correlation(minus, t1) == pytest.approx(-shared, abs=0.03)
    for one, other in ((plus, t1), (minus, t2), (plus, minus)):
        assert abs(correlation(one, other)) < 0.03


@pytest.mark.parametrize("sd", [0.0, 0.15, 0.4])
def test_susceptibility_has_the_standard_deviation_wanted(sd: float) -> None:
    """To 0.6 % by the number of voxels, and 0.3 % less for what lies beyond three of them."""
    made = drawn(MagneticTexture(sd=sd, length_mm=0.0))
    for part in made.unbind(-1):
        assert float(part.std()) == pytest.approx(sd, rel=0.025)
    assert float(made.abs().max()) == pytest.approx(3 * sd, rel=1e-5)


def test_the_own_field_is_as_smooth_as_wanted() -> None:
    """Of neighbours 2 mm apart exp(−d²/4s²); 24³ voxels hold some 160 independent places."""
    made = drawn(MagneticTexture(shared=0.0, length_mm=2.5))[..., 0]
    expected = math.exp(-(2.0**2) / (4 * 2.5**2))
    assert correlation(made[1:], made[:-1]) == pytest.approx(expected, abs=0.04)


def test_tissue_without_texture_has_that_of_its_own() -> None:
    made = drawn(MagneticTexture(shared=0.6, length_mm=0.0), brain(sds=(0.0, 0.0, 0.0)))
    assert float(made[..., 0].std()) == pytest.approx(0.8 * 0.15, rel=0.025)


def test_the_generator_decides() -> None:
    within = MagneticTexture()
    assert torch.equal(drawn(within, seed=3), drawn(within, seed=3))
    assert not torch.equal(drawn(within, seed=3), drawn(within, seed=4))


def test_susceptibility_of_a_voxel() -> None:
    expected = 0.05 * math.exp(A) - 0.02 * math.exp(B)
    scene = voxel({"grey_matter": 1.0})
    assert float(scene.susceptibility) == pytest.approx(expected, rel=1e-12)
    assert float(scene.truth((CHI,)).value("Chi")) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("field_strength", "per_ppm"), [(3.0, 137.0), (1.5, 68.5)])
def test_r2star_follows(field_strength: float, per_ppm: float) -> None:
    scene = voxel({"white_matter": 1.0}, field_strength=field_strength)
    assert r2star(scene) == pytest.approx(decay("white_matter", per_ppm), rel=1e-12)


def test_the_echoes_decay_by_it() -> None:
    scan = eight_echoes()
    magnitude = voxel({"grey_matter": 1.0}).signal(scan.model, scan.protocol).abs()[0]
    between = math.log(float(magnitude[0] / magnitude[-1])) / 0.028
    assert between == pytest.approx(decay("grey_matter"), rel=1e-5)


def test_r2star_keeps_half_of_what_it_was() -> None:
    """All iron and myelin gone: 137·0.07 less than the 20 1/s of grey matter, less again by T2."""
    assert r2star(voxel({"grey_matter": 1.0}, magnetic=(-9.0, -9.0))) == pytest.approx(10.0, rel=1e-9)


@pytest.mark.parametrize("name", ["skull", "muscle", "air"])
def test_what_is_no_brain_stays_as_it_is(name: str) -> None:
    scene = voxel({name: 1.0})
    assert float(scene.susceptibility) == pytest.approx(sum(ROWS[name][4:]), rel=1e-12)
    if name != "air":
        assert r2star(scene) == pytest.approx(ROWS[name][3], rel=1e-12)


def test_mixed_voxels() -> None:
    """Susceptibility by volume, R2* by water; the bone in it is not changed."""
    scene = voxel({"grey_matter": 0.4, "white_matter": 0.3, "skull": 0.2, "air": 0.1})
    brain_chi = 0.4 * (0.05 * math.exp(A) - 0.02 * math.exp(B))
    brain_chi += 0.3 * (0.02 * math.exp(A) - 0.04 * math.exp(B))
    assert float(scene.susceptibility) == pytest.approx(brain_chi + 0.2 * -0.05 + 0.1 * 0.36, rel=1e-12)
    water = (0.4 * 0.84, 0.3 * 0.7, 0.2 * 0.1)
    rates = (decay("grey_matter"), decay("white_matter"), 200.0)
    mean = sum(w * r for w, r in zip(water, rates, strict=True)) / sum(water)
    assert r2star(scene) == pytest.approx(mean, rel=1e-12)


def test_what_makes_no_sense_is_refused() -> None:
    for settings in ({"sd": 1.0}, {"sd": -0.1}, {"shared": 1.1}, {"length_mm": -1.0}):
        with pytest.raises(UsageError, match="no magnetic texture"):
            MagneticTexture(**settings)
    with pytest.raises(UsageError, match="without an affine has no size of a voxel"):
        with_magnetic_texture(voxel({"grey_matter": 1.0}, magnetic=None), seeded_generator(1))
