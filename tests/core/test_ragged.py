import torch

from unweight.core.ragged import stack_ragged


def test_shorter_rows_end_in_nan() -> None:
    stacked = stack_ragged([torch.ones(2, 3), torch.zeros(2, 1)])
    assert stacked.shape == (2, 2, 3)
    assert torch.equal(stacked[0], torch.ones(2, 3))
    assert torch.isnan(stacked[1, :, 1:]).all()
    assert torch.equal(stacked[1, :, 0], torch.zeros(2))


def test_scalars() -> None:
    assert stack_ragged([torch.tensor(1.0), torch.tensor(2.0)]).tolist() == [1.0, 2.0]
