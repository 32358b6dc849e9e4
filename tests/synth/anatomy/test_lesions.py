import math

import pytest
import torch
from scipy.ndimage import distance_transform_edt, label

from tests.synth.anatomy.test_labels import head
from unweight.core.errors import InputError, UsageError
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.lesions import PlaqueLoad, TumourSize, with_plaques, with_tumour
from unweight.synth.tissue.materials import INDEX


@pytest.fixture(scope="module")
def brain() -> Anatomy:
    """A ball of white matter in CSF and bone, with a ventricle in the middle."""
    x = torch.arange(120) - 59.5
    radius = (x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2).sqrt()
    labels = torch.full(radius.shape, INDEX["skull"], dtype=torch.uint8)
    labels[radius < 57] = INDEX["csf"]
    labels[radius < 54] = INDEX["white_matter"]
    labels[radius < 10] = INDEX["csf"]
    return head(labels)


def test_plaques_are_as_many_and_as_large_as_asked(brain: Anatomy) -> None:
    load = PlaqueLoad(n_lesions=1, size_mm=(8.0, 8.0), periventricular=0.0)
    volumes = [
        with_plaques(brain, torch.Generator().manual_seed(seed), load).volume_ml("ms_lesion")
        for seed in range(20)
    ]
    ball = math.pi / 6 * 0.8**3
    # A few are cut by the edge of white matter, and the surface is rough.
    assert sum(volumes) / 20 == pytest.approx(ball, rel=0.25)
    many = with_plaques(
        brain, torch.Generator().manual_seed(0), PlaqueLoad(n_lesions=12, size_mm=(3.0, 5.0))
    )
    assert 6 <= label((many.labels == INDEX["ms_lesion"]).numpy())[1] <= 14


def test_plaques_prefer_the_ventricles(brain: Anatomy) -> None:
    x = torch.arange(120) - 59.5
    radius = (x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2).sqrt()
    means = []
    for share in (0.0, 1.0):
        load = PlaqueLoad(n_lesions=40, size_mm=(3.0, 6.0), periventricular=share)
        changed = with_plaques(brain, torch.Generator().manual_seed(1), load).labels == INDEX["ms_lesion"]
        means.append(float(radius[changed].mean()))
    # Evenly over a ball of 54 mm: 3/4 of the radius. Near the ventricle: 10 mm, and a few more.
    assert means[0] == pytest.approx(0.75 * 54, abs=4)
    assert 10 < means[1] < 22


def test_plaques_replace_white_matter_only(brain: Anatomy) -> None:
    changed = with_plaques(brain, torch.Generator().manual_seed(2)).labels
    differs = changed != brain.labels
    assert set(brain.labels[differs].tolist()) == {INDEX["white_matter"]}
    assert set(changed[differs].tolist()) == {INDEX["ms_lesion"]}
    assert torch.equal(changed, with_plaques(brain, torch.Generator().manual_seed(2)).labels)


def test_oedema_lies_around_the_tumour(brain: Anatomy) -> None:
    size = TumourSize(core_mm=(20.0, 20.0), oedema_mm=(5.0, 5.0))
    changed = with_tumour(brain, torch.Generator().manual_seed(4), size)
    core, oedema = changed.labels == INDEX["tumour"], changed.labels == INDEX["oedema"]
    assert changed.volume_ml("tumour") == pytest.approx(math.pi / 6 * 8, rel=0.4)
    reach = torch.from_numpy(distance_transform_edt(~core.numpy()))
    assert float(reach[oedema].max()) < 15
    assert bool((brain.labels[oedema] == INDEX["white_matter"]).all())
    assert not bool((brain.labels[core] == INDEX["skull"]).any())


def test_without_white_matter_there_is_no_place() -> None:
    with pytest.raises(InputError, match="no white matter"):
        with_plaques(head(torch.zeros(8, 8, 8, dtype=torch.uint8)), torch.Generator())


def test_impossible_loads_are_refused() -> None:
    with pytest.raises(UsageError, match="impossible plaques"):
        PlaqueLoad(size_mm=(5.0, 3.0))
    with pytest.raises(UsageError, match="impossible plaques"):
        PlaqueLoad(periventricular=1.5)
    with pytest.raises(UsageError, match="impossible tumour"):
        TumourSize(core_mm=(0.0, 3.0))
