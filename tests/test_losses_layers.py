"""The masked mean, positions, and what the ViT encoder sees."""

import pytest
import torch
from builders.plugins import images as pixels_of
from timm.models import vision_transformer
from torch import Tensor, nn
from torch.nn import functional

from maebench.contracts import Reconstruction, standardise
from maebench.models.losses import pixel_loss
from maebench.models.patches import hide_top, scored_pixels
from maebench.models.vit import (
    LARGE,
    Block,
    ViTDecoder,
    ViTEncoder,
    awkward_heads,
    blocks,
    linear,
    sincos_positions,
)
from maebench.seeding import stream

SHAPE = (3, 8, 8)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=stream(seed, "losses"))


def loss_of(predicted: Tensor, images: Tensor, scored: Tensor) -> Tensor:
    return pixel_loss(Reconstruction(predicted, scored, images), images)


@pytest.mark.parametrize("ratio", [0.25, 0.75])
def test_the_masked_mean_is_that_of_a_plain_loop(ratio: float) -> None:
    predicted, images = random(5, *SHAPE), random(5, *SHAPE, seed=1)
    scored = scored_pixels(hide_top(random(5, 4, 4), ratio, stream(0)), 2)
    per_image = []
    for one in range(5):
        errors = [
            (float(predicted[one, c, y, x]) - float(images[one, c, y, x])) ** 2
            for c in range(3)
            for y in range(8)
            for x in range(8)
            if scored[one, 0, y, x]
        ]
        per_image.append(sum(errors) / len(errors))
    assert float(loss_of(predicted, images, scored)) == pytest.approx(sum(per_image) / 5, rel=1e-6)


def test_with_all_pixels_scored_it_is_the_mean_squared_error() -> None:
    predicted, images = random(5, *SHAPE), random(5, *SHAPE, seed=1)
    everywhere = torch.ones(5, 1, 8, 8, dtype=torch.bool)
    assert torch.allclose(loss_of(predicted, images, everywhere), functional.mse_loss(predicted, images))


def test_images_weigh_the_same_however_many_pixels_are_scored() -> None:
    images = torch.zeros(2, *SHAPE)
    predicted = torch.stack([torch.full(SHAPE, 1.0), torch.full(SHAPE, 3.0)])
    scored = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    scored[0, 0, 0, 0], scored[1] = True, True
    assert float(loss_of(predicted, images, scored)) == 5.0  # (1 + 9) / 2


def test_what_is_not_scored_gets_no_gradient() -> None:
    predicted, images = random(3, *SHAPE).requires_grad_(), random(3, *SHAPE, seed=1)
    scored = scored_pixels(hide_top(random(3, 4, 4), 0.5, stream(0)), 2)
    loss_of(predicted, images, scored).backward()
    assert predicted.grad is not None
    assert torch.equal(predicted.grad != 0, scored.expand_as(predicted))


@pytest.mark.parametrize(("grid", "width"), [((8, 8), 16), ((14, 14), 192), ((3, 5), 4), ((1, 64), 8)])
def test_every_place_has_its_own_position(grid: tuple[int, int], width: int) -> None:
    positions = sincos_positions(grid, width)
    assert positions.shape == (grid[0] * grid[1], width)
    apart = torch.cdist(positions, positions) + torch.eye(len(positions)) * 9
    assert apart.min() > 0.05
    assert positions.square().sum(1).sub(width / 2).abs().max() < 1e-4  # sin2 + cos2 = 1


def test_positions_are_half_row_half_column() -> None:
    positions = sincos_positions((4, 6), 16).view(4, 6, 16)
    assert (positions[:, :1, :8] == positions[:, :, :8]).all()
    assert (positions[:1, :, 8:] == positions[:, :, 8:]).all()
    assert positions[3, 5, [0, 4]].tolist() == pytest.approx([0.14112001, -0.98999250])  # sin 3, cos 3


def test_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="width 6 is not a multiple of 4"):
        sincos_positions((2, 2), 6)
    with pytest.raises(ValueError, match="3 heads do not divide a width of 16"):
        blocks(16, 1, 3)


def block_and_timms() -> tuple[Block, nn.Module]:
    """Our block and timm's with the same weights."""
    with torch.random.fork_rng(devices=[]):
        block, other = Block(24, 3), vision_transformer.Block(24, 3, qkv_bias=True)
    names = {"attn.qkv": "qkv", "attn.proj": "proj", "mlp.fc1": "fc1", "mlp.fc2": "fc2"}
    for name, weight in other.named_parameters():
        layer, kind = name.rsplit(".", 1)
        getattr(getattr(block, names.get(layer, layer)), kind).data.copy_(weight)
    return block, other


def test_a_block_is_timms_with_the_same_gradient() -> None:
    block, other = block_and_timms()
    tokens, wanted = random(5, 7, 24).requires_grad_(), random(5, 7, 24).requires_grad_()
    ours, theirs = block(tokens), other(wanted)
    assert torch.allclose(ours, theirs, atol=1e-6)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    assert tokens.grad is not None
    assert wanted.grad is not None
    assert torch.allclose(tokens.grad, wanted.grad, atol=1e-4)
    for name in ("qkv", "proj"):
        assert torch.allclose(getattr(block, name).weight.grad, getattr(other.attn, name).weight.grad, atol=1e-3), name


@pytest.mark.parametrize(("heads", "awkward"), [(2, []), (4, [12]), (16, [3])])
def test_heads_that_a_gpu_is_slow_with_are_known(heads: int, awkward: list[int]) -> None:
    with torch.random.fork_rng(devices=[]):
        models = Block(48, heads), vision_transformer.Block(48, heads)
    assert [awkward_heads(model) for model in models] == [awkward, awkward]


def test_tokens_that_are_skipped_are_still_attended_to() -> None:
    block, _ = block_and_timms()
    tokens = random(5, 7, 24)
    assert torch.allclose(block(tokens, 3), block(tokens)[:, 3:], atol=1e-6)
    other = tokens.clone()
    other[:, 0] += random(24, seed=4)
    assert not torch.allclose(block(other, 3), block(tokens, 3), atol=1e-3)


def test_a_linear_layer_is_the_plain_product() -> None:
    for count in (5, LARGE // (24 * 10 * 7) + 1):  # a small product and one that oneDNN does
        tokens, weight, bias = random(count, 9, 24), random(10, 24, seed=1), random(10, seed=2)
        assert torch.allclose(linear(tokens, weight, bias), tokens @ weight.T + bias, atol=1e-4)
        assert torch.allclose(linear(tokens[:, 2:], weight, bias), tokens[:, 2:] @ weight.T + bias, atol=1e-4)


def vit_encoder() -> ViTEncoder:
    with torch.random.fork_rng(devices=[]):
        return ViTEncoder(SHAPE, patch=2, width=16, depth=2, heads=2).eval()


def test_the_encoder_sees_the_chosen_patches_only() -> None:
    encoder, images = vit_encoder(), standardise(pixels_of(3))
    hidden = hide_top(random(3, 4, 4), 0.75, stream(0))
    visible = hidden.flatten(1).long().argsort(dim=1, stable=True)[:, :4]
    other = images.masked_fill(scored_pixels(hidden, 2), 9.0)
    assert torch.equal(encoder(images, visible), encoder(other, visible))
    assert encoder(images, visible).shape == (3, 4, 16)


def test_the_order_of_the_patches_does_not_matter() -> None:
    encoder, images = vit_encoder(), standardise(pixels_of(3))
    order = torch.rand(3, 16, generator=stream(0)).argsort(1)
    expected = encoder(images).gather(1, order[..., None].expand(-1, -1, 16))
    assert torch.allclose(encoder(images, order), expected, atol=1e-5)


def test_the_feature_map_lies_as_the_patches_do() -> None:
    encoder, images = vit_encoder(), standardise(pixels_of(3))
    features = encoder.encode(images)
    assert features.shape == (3, 16, 4, 4)
    assert torch.equal(features[:, :, 1, 2], encoder(images)[:, 6])


def test_the_decoder_gives_patches_and_every_weight_learns() -> None:
    with torch.random.fork_rng(devices=[]):
        decoder = ViTDecoder(SHAPE, patch=2, encoder_width=16, width=8, depth=1, heads=2)
    output = decoder(decoder.embed(random(3, 16, 16)))
    assert output.shape == (3, 16, 12)
    output.square().mean().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in decoder.parameters())


def test_the_decoder_puts_each_token_where_its_patch_lies() -> None:
    with torch.random.fork_rng(devices=[]):
        decoder = ViTDecoder(SHAPE, patch=2, encoder_width=16, width=8, depth=2, heads=2)
    tokens, order = random(3, 16, 8), torch.rand(3, 16, generator=stream(0)).argsort(1)
    shuffled = tokens.gather(1, order[..., None].expand(-1, -1, 8))
    assert torch.allclose(decoder(shuffled, order), decoder(tokens), atol=1e-5)
    some, every = decoder(shuffled, order, 5), decoder(tokens)
    for one in range(3):
        assert torch.allclose(some[one, order[one, 5:]], every[one, order[one, 5:]], atol=1e-5)
        assert not some[one, order[one, :5]].any()
