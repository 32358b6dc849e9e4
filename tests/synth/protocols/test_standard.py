import math

import pytest
import torch

from unweight.core.acquisition import SignalKind
from unweight.synth.protocols.standard import (
    eight_echoes,
    four_inversions,
    mprage,
    routine_contrasts,
    seven_inversions,
)

# T1, T2, PD, R2star of white matter, grey matter and CSF at 3 T.
TISSUES = torch.tensor(
    [[0.85, 0.07, 0.7, 20.0], [1.45, 0.1, 0.83, 16.0], [4.0, 1.5, 1.0, 2.0]], dtype=torch.float64
)


def theta(model):
    given = {"T1": 0, "T2": 1, "PD": 2, "R2star": 3}
    rest = {"B": 1.96, "frequency": 0.0, "phase": 0.0}
    columns = [
        TISSUES[:, given[spec.name]] if spec.name in given else torch.full((3,), rest[spec.name]).double()
        for spec in model.parameters
    ]
    return torch.stack(columns, -1)


def signal(scan):
    return scan.model(theta(scan.model), scan.protocol)


def test_published_timings() -> None:
    seven = seven_inversions()
    assert seven.protocol.inversion_time.tolist() == [0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50]
    assert seven.protocol.repetition_time.tolist() == [10.0] * 7
    assert seven.protocol.echo_time.tolist() == [0.00714] * 7
    assert seven.protocol.readout_time.tolist() == pytest.approx([0.457] * 7, abs=1e-3)
    assert seven.train.n_echoes == 64
    four = four_inversions()
    assert four.protocol.inversion_time.tolist() == [0.05, 0.40, 1.10, 2.50]
    assert four.protocol.repetition_time.tolist() == [2.55] * 4
    assert four.train is None
    echoes = eight_echoes()
    assert echoes.protocol.echo_time.tolist() == pytest.approx([0.004 * j for j in range(1, 9)])
    assert echoes.protocol.repetition_time.tolist() == [0.036] * 8
    assert math.degrees(float(echoes.protocol.flip_angle[0])) == pytest.approx(15)
    assert not echoes.bipolar
    assert mprage().protocol.as_dict()["train_length"] == [176]


def test_contrasts_look_as_their_names_say() -> None:
    t1w, t2w, flair = (signal(scan)[:, 0] for scan in routine_contrasts())
    for image in (t1w, signal(mprage())[:, 0]):
        assert image[0] > image[1] > image[2] > 0
    assert t2w[0] < t2w[1] < t2w[2]
    assert flair[1] > flair[0] > 0
    assert float(flair[2].abs() / flair[1]) < 0.3


def test_inversions_have_signs_and_echoes_are_complex() -> None:
    for scan in (seven_inversions(), four_inversions()):
        made = signal(scan)
        assert bool((made[:, 0] < 0).all()) and bool((made[:2, -1] > 0).all())
        assert scan.model.kind is SignalKind.SIGNED
    echoes = signal(eight_echoes())
    assert echoes.is_complex()
    rate = -(echoes[:, -1].abs() / echoes[:, 0].abs()).log() / 0.028
    torch.testing.assert_close(rate, TISSUES[:, 3])
