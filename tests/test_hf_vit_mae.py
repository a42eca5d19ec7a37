"""The ViTMAE of transformers as a variant: its own loss and features under our masks, from a start that is whole."""

import copy
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maebench.models.patches import hidden_count, hide_top, patchify, unpatchify
from maebench.models.vit import Block, sincos_positions
from maebench.plugins import find, names
from maebench.runs.build import seeded
from maebench.seeding import stream
from maebench.training.timing import counted

pytest.importorskip("transformers", minversion="4.48")
SQUARE, WIDE, RATIO = (3, 16, 16), (1, 8, 24), 0.75
TINY = {"patch": 4, "width": 16, "depth": 2, "heads": 2, "decoder_width": 8, "decoder_heads": 2}
SHAPES = pytest.mark.parametrize("shape", [SQUARE, WIDE])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=stream(seed, "library"))


def masks(grid: tuple[int, int], count: int = 5, ratio: float = RATIO) -> Tensor:
    return hide_top(random(count, *grid, seed=1), ratio, stream(0))


def built(shape: tuple[int, int, int], ratio: float = RATIO, **settings: Any) -> Any:
    """The variant with weights of which none may be ignored."""

    def hide(images: Tensor, grid: tuple[int, int], rng: Any) -> Tensor:
        return masks(grid, len(images), ratio)

    offered = {"hide": hide, "count": lambda grid: hidden_count(ratio, grid[0] * grid[1]), "report": None}
    variant = seeded(find("variants", "hf_vit_mae"), {"shape": shape, **offered, **TINY, **settings}, 0)
    with torch.no_grad():
        for number, weight in enumerate(variant.parameters()):
            weight.add_(0.1 * random(*weight.shape, seed=number))
    return variant.eval()


@pytest.mark.parametrize("target", ["pixels", "normalised"])
@torch.no_grad()
def test_the_loss_is_the_librarys_own(target: str) -> None:
    variant, images = built(SQUARE, target=target), random(5, *SQUARE)
    variant.model.config.mask_ratio = RATIO
    theirs = variant.model(images, noise=masks((4, 4)).flatten(1) + 0.1 * torch.rand(5, 16, generator=stream(0)))
    assert torch.equal(theirs.mask, masks((4, 4)).flatten(1).float())
    torch.testing.assert_close(variant.loss(images, stream(0)), theirs.loss, rtol=1e-6, atol=0)
    ours = unpatchify(variant.predict(images, masks((4, 4))), 4, (4, 4))
    torch.testing.assert_close(ours, variant.model.unpatchify(theirs.logits), rtol=0, atol=1e-6)


@pytest.mark.parametrize("grid", [(1, 2), (3, 5), (8, 8), (7, 7), (4, 24)])
@torch.no_grad()
def test_it_hides_what_hide_hides_whatever_their_number(grid: tuple[int, int]) -> None:
    shape, patches = (1, 2 * grid[0], 2 * grid[1]), grid[0] * grid[1]
    variant, images = built(shape, patch=2, depth=0, decoder_depth=0), random(2, *shape)
    for count in range(patches):
        hidden = hide_top(random(2, *grid), count / patches, stream(0))
        variant.count = lambda grid, count=count: count
        seen = variant.look(images, hidden)
        assert torch.equal(seen.mask, hidden.flatten(1).float())
        assert seen.last_hidden_state.shape[1] == 1 + patches - count


@pytest.mark.parametrize("ratio", [0.0, 0.99])
@SHAPES
def test_every_ratio_has_a_loss(shape: tuple[int, int, int], ratio: float) -> None:
    variant, images = built(shape, ratio), random(3, *shape)
    loss, result = variant.loss(images, stream(0)), variant.reconstruct(images, stream(0))
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in variant.parameters())
    assert result.scored.all() == (ratio == 0)
    assert result.pixels.isfinite().all()


def ours(layer: nn.Module, width: int) -> Block:
    """Our block with the weights of one of the library's."""
    parts = [part for part in layer.modules() if isinstance(part, nn.Linear)]  # query, key, value, out, two of the MLP
    norms = [part for part in layer.modules() if isinstance(part, nn.LayerNorm)]
    with torch.random.fork_rng(devices=[]):
        block = Block(width, 2)
    for part, theirs in zip(
        (block.proj, block.fc1, block.fc2, block.norm1, block.norm2), (*parts[3:], *norms), strict=True
    ):
        part.load_state_dict(theirs.state_dict())
    block.norm1.eps = block.norm2.eps = 1e-12
    for kind in ("weight", "bias"):
        getattr(block.qkv, kind).copy_(torch.cat([getattr(part, kind) for part in parts[:3]]))
    return block


@SHAPES
@torch.no_grad()
def test_it_predicts_what_our_blocks_do_with_a_class_token(shape: tuple[int, int, int]) -> None:
    grid = (shape[1] // 4, shape[2] // 4)
    variant, images, hidden = built(shape), random(5, *shape), masks(grid)
    model, decoder, norm = variant.model, variant.model.decoder, nn.functional.layer_norm
    embed = model.vit.embeddings.patch_embeddings.projection
    tokens = nn.functional.linear(patchify(images, 4), embed.weight.flatten(1), embed.bias)
    tokens += sincos_positions(grid, 16).roll(8, 1)  # columns first
    seen = tokens[~hidden.flatten(1)].view(5, -1, 16)
    seen = torch.cat([model.vit.embeddings.cls_token.expand(5, -1, -1), seen], 1)
    for layer in variant.blocks:
        seen = ours(layer, 16)(seen)
    last = model.vit.layernorm
    inner = decoder.decoder_embed(norm(seen, (16,), last.weight, last.bias, 1e-12))
    every = decoder.mask_token.repeat(5, hidden[0].numel(), 1)
    every[~hidden.flatten(1)] = inner[:, 1:].flatten(0, 1)
    every = torch.cat([inner[:, :1], every + sincos_positions(grid, 8).roll(4, 1)], 1)
    for layer in decoder.decoder_layers:
        every = ours(layer, 8)(every)
    last = decoder.decoder_norm
    wanted = decoder.decoder_pred(norm(every, (8,), last.weight, last.bias, 1e-12))[:, 1:]
    by_channel = wanted.view(5, -1, 4, 4, shape[0]).permute(0, 1, 4, 2, 3).flatten(2)
    torch.testing.assert_close(variant.predict(images, hidden), by_channel, rtol=0, atol=1e-5)


@SHAPES
@torch.no_grad()
def test_features_lie_as_the_patches_do(shape: tuple[int, int, int]) -> None:
    variant, images = built(shape), random(5, *shape)
    variant.model.config.mask_ratio = 0.0
    shuffled = variant.model.vit(images, noise=random(5, shape[1] * shape[2] // 16, seed=2))
    places = shuffled.ids_restore[..., None].expand(-1, -1, 16)
    wanted = shuffled.last_hidden_state[:, 1:].gather(1, places)
    features = variant.encode(images)
    assert features.shape == (5, 16, shape[1] // 4, shape[2] // 4)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), wanted, rtol=0, atol=1e-5)
    layers = variant.layers(images)
    assert [one.shape for one in layers] == [features.shape] * 2
    assert torch.equal(layers[-1], features)
    variant.loss(images, stream(0))
    assert torch.equal(variant.encode(images), features)


@torch.no_grad()
def test_attention_is_the_librarys_without_its_class_token() -> None:
    variant, images = built(SQUARE), random(5, *SQUARE)
    config = copy.deepcopy(variant.model.config)
    with torch.random.fork_rng(devices=[]):
        plain = type(variant.model)._from_config(config, attn_implementation="eager").eval()
    plain.load_state_dict(variant.model.state_dict())
    plain.config.mask_ratio = 0.0
    seen = plain.vit(images, noise=torch.arange(16.0).expand(5, -1), output_attentions=True).attentions[-1][..., 1:, 1:]
    wanted = (seen / seen.sum(3, keepdim=True)).mean((1, 2))
    torch.testing.assert_close(variant.attention(images).flatten(1), wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(variant.attention(images).sum((1, 2)), torch.ones(5))


@torch.no_grad()
def test_an_encoder_of_no_block_has_features_and_no_attention() -> None:
    variant, images = built(SQUARE, depth=0), random(5, *SQUARE)
    assert variant.encode(images).shape == (5, 16, 4, 4)
    with pytest.raises(ValueError, match=r"^an encoder of depth 0 has no attention$"):
        variant.attention(images)


def test_it_starts_with_positions_that_never_learn() -> None:
    offered = {"shape": WIDE, "hide": None, "count": None, "report": None}
    variant: Any = seeded(find("variants", "hf_vit_mae"), offered, 0)
    embeddings, decoder = variant.model.vit.embeddings, variant.model.decoder
    positions = embeddings.position_embeddings[0]
    assert not positions[0].any()
    columns, rows = positions[1:].view(2, 6, 128).chunk(2, 2)
    assert torch.equal(columns[0], columns[1])
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert torch.cdist(positions, positions).add(torch.eye(13)).min() > 0.5
    assert decoder.decoder_pos_embed.shape == (1, 13, 64)
    assert not {name for name, _ in variant.named_parameters() if "pos" in name}
    assert all(0.01 < token.std() < 0.03 for token in (embeddings.cls_token, decoder.mask_token))


@pytest.mark.parametrize("ratio", [0.0, 0.5])
@SHAPES
def test_flops_are_those_that_are_counted(shape: tuple[int, int, int], ratio: float) -> None:
    variant, images = built(shape, ratio), random(2, *shape)
    assert variant.flops() == pytest.approx(counted(lambda: variant.loss(images, stream(0))) / 2)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"patch": 5}, "patch 5 does not divide an image of 16 x 16 pixels"),
        ({"heads": 3}, "3 heads do not divide a width of 16"),
        ({"decoder_heads": 0}, "0 heads do not divide a width of 8"),
        ({"decoder_width": 6}, "width 6 is not a multiple of 4"),
        ({"depth": -1}, "the encoder needs a width of 1 or more and a depth of 0 or more, not 16 and -1"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, int], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        built(SQUARE, **settings)


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert names("variants")["hf_vit_mae"].error == ""
    with pytest.raises(ValueError, match=r"^needs the library transformers: pip install 'maebench\[transformers\]'$"):
        built(SQUARE)
