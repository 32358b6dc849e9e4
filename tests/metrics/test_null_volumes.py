import numpy as np
import pytest

from tests.metrics.test_volume_effects import HEAD, effects_of, measured
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.agreement import PairedVolumes, agreement
from unweight.metrics.null_volumes import constant_volumes, head_scaled_volumes
from unweight.metrics.volume_effects import VolumeEffects, preserved

NOISE = 0.01


def assert_refused(found: VolumeEffects) -> None:
    assert found.age.exists
    assert found.age.interaction.p < 1e-6
    assert found.age.ratio.estimate == pytest.approx(0, abs=0.1) and found.age.ratio.upper < 0.2
    assert not found.age.equivalent and found.age.equivalence_p > 0.99
    assert preserved([found.age]) == (False,)


def test_a_constant_is_refused() -> None:
    volumes, subjects = measured()
    null = constant_volumes(volumes.true, noise=NOISE, generator=seeded_generator(4))
    found = effects_of(PairedVolumes(true=volumes.true, synthetic=null), subjects)
    assert_refused(found)
    assert found.head.ratio.estimate == pytest.approx(0, abs=0.1)


def test_a_brain_scaled_to_the_head_is_refused() -> None:
    volumes, subjects = measured()
    null = head_scaled_volumes(volumes.true, subjects.head, noise=NOISE, generator=seeded_generator(4))
    found = effects_of(PairedVolumes(true=volumes.true, synthetic=null), subjects)
    assert_refused(found)
    # In proportion: 10 % per 10 %, where the truth has less.
    assert found.head.synthetic.estimate == pytest.approx(10, abs=1)
    assert found.head.ratio.estimate == pytest.approx(10 / HEAD, rel=0.4)


def test_a_faithful_one_is_not_refused() -> None:
    found = effects_of(*measured())
    assert found.age.equivalent and preserved([found.age]) == (True,)


def test_the_mean_alone_does_not_see_it() -> None:
    volumes, _ = measured()
    null = constant_volumes(volumes.true, noise=NOISE, generator=seeded_generator(4))
    found = agreement(PairedVolumes(true=volumes.true, synthetic=null))
    assert found.equivalence.equivalent
    # What sees it are the concordance and the slope.
    assert abs(found.concordance.estimate) < 0.1 and found.calibration_slope.upper < 0.1


def test_null_without_noise() -> None:
    volumes, subjects = measured(30)
    constant = constant_volumes(volumes.true, noise=0.0, generator=seeded_generator(4))
    assert (constant == volumes.true.mean()).all()
    scaled = head_scaled_volumes(volumes.true, subjects.head, noise=0.0, generator=seeded_generator(4))
    np.testing.assert_allclose(scaled / subjects.head, volumes.true.mean() / subjects.head.mean())
    found = effects_of(PairedVolumes(true=volumes.true, synthetic=constant), subjects)
    assert found.age.synthetic.estimate == pytest.approx(0, abs=1e-12)
    assert found.age.interaction.estimate == pytest.approx(-found.age.true.estimate)


def test_noise_has_the_size_asked_for() -> None:
    null = constant_volumes(np.full(20_000, 4000.0), noise=NOISE, generator=seeded_generator(4))
    # Three standard errors of an SD, 1/√(2n) of it, and of a mean.
    assert null.std() == pytest.approx(40, rel=3 / 200)
    assert null.mean() == pytest.approx(4000, abs=3 * 40 / 141)
    again = constant_volumes(np.full(20_000, 4000.0), noise=NOISE, generator=seeded_generator(4))
    assert (null == again).all()


def test_messages() -> None:
    with pytest.raises(UsageError, match="from 0 to below 1, found 2"):
        constant_volumes(np.ones(3), noise=2.0, generator=seeded_generator(4))
