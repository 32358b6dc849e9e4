from math import nan

import pytest
import torch

from tests.nets.probes import assert_same_weights, draw, final_loss, scrambled
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets.embedding import Pooling, SetEmbedding, SetEmbeddingConfig

pytestmark = pytest.mark.parametrize("pooling", list(Pooling))


def build(pooling: Pooling) -> SetEmbedding:
    config = SetEmbeddingConfig(token_features=3, width=16, out_features=5, pooling=pooling)
    return scrambled(SetEmbedding(config, generator=seeded_generator(0)))


def test_order_does_not_matter(pooling: Pooling) -> None:
    tokens, order = draw(2, 6, 3), torch.tensor([3, 1, 5, 0, 4, 2])
    present = torch.tensor([[True, True, False, True, True, False]]).expand(2, -1)
    embed = build(pooling)
    torch.testing.assert_close(embed(tokens, present), embed(tokens[:, order], present[:, order]))
    assert (embed(tokens) - embed(draw(2, 6, 3, seed=1))).abs().max() > 1e-3


def test_a_missing_token_is_as_if_it_were_not_there(pooling: Pooling) -> None:
    embed, tokens = build(pooling), draw(1, 4, 3)
    holed = torch.cat([tokens, torch.full((1, 2, 3), nan, dtype=tokens.dtype)], dim=1).requires_grad_()
    present = torch.tensor([[True] * 4 + [False] * 2])
    torch.testing.assert_close(embed(holed, present), embed(tokens))
    (slope,) = torch.autograd.grad(embed(holed, present).sum(), holed)
    assert slope.isfinite().all()
    assert slope[:, :4].any()


def test_an_empty_set_is_rho_of_zero(pooling: Pooling) -> None:
    embed = build(pooling).float()
    tokens = torch.ones(2, 4, 3, requires_grad=True)
    empty = embed(tokens, torch.zeros(2, 4, dtype=torch.bool))
    torch.testing.assert_close(empty, embed.together(torch.zeros(2, 16)))
    torch.testing.assert_close(empty, embed(tokens[:, :0]))
    empty.sum().backward()
    weights = [weight.grad for weight in embed.parameters()]
    assert all(slope is None or slope.isfinite().all() for slope in weights)


def test_pooling_by_hand(pooling: Pooling) -> None:
    embed, tokens = build(pooling), draw(1, 4, 3)
    each = embed.each(tokens[0])
    if embed.scores is None:
        pooled = each.mean(dim=0)
    else:
        shares = torch.softmax(embed.scores(each), dim=0)
        pooled = torch.cat([shares[:, head] @ each[:, 4 * head : 4 * head + 4] for head in range(4)])
    torch.testing.assert_close(embed(tokens)[0], embed.together(pooled))


def test_derivative_and_repeatability(pooling: Pooling) -> None:
    assert torch.autograd.gradcheck(build(pooling), (draw(1, 3, 3).requires_grad_(),))
    assert_same_weights(build(pooling), build(pooling))


def test_learns_a_function_of_the_set(pooling: Pooling) -> None:
    tokens, embed = draw(48, 4, 3), build(pooling)
    target = tokens.square().mean(dim=(1, 2))[:, None].expand(-1, 5)
    assert final_loss(embed, lambda: embed(tokens), target, 300) < 0.05


def test_messages(pooling: Pooling) -> None:
    with pytest.raises(UsageError, match="width 10 is not a multiple of n_heads 4"):
        SetEmbeddingConfig(token_features=3, width=10, pooling=pooling)
    with pytest.raises(UsageError, match="input has 2 channels, but this network was built for 3"):
        build(pooling)(draw(1, 4, 2))
