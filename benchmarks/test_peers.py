"""One training step of `vit_mae` against a peer at the same configuration, in one process, the two taking turns.

32x32 pixels, patch 4 and 2, encoder 192 wide, 12 deep, 3 heads; decoder 192, 4, 3; MLPs 4 times as wide; ratio 0.75;
the same batch and optimiser. Both peers carry a class token, which `vit_mae` has not: at patch 4 their encoders see 17
tokens for its 16, their decoders 65 for its 64. Wants `pip install maebench[peers]`; a peer that is missing is skipped.
"""

import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median

import pytest
import torch
from step import DEVICE, SHAPE, STEPS, WARM_UP, Loss, assert_learnt, images, masked_loss, note_rate, trainer, vit_mae
from torch import Tensor, nn

from maebench.contracts import standardise

WIDTH, HEADS, DEPTH, DECODER_DEPTH, RATIO = 192, 3, 12, 4, 0.75
PIXELS = SHAPE[1]
BATCH = {"cpu": {4: 128, 2: 128}, "cuda": {4: 1024, 2: 512}}[DEVICE.type]  # by patch; a GPU needs more to be busy
WAYS = {"cpu": ("float32",), "cuda": ("float32", "bfloat16", "bfloat16 compiled")}[DEVICE.type]
ROUNDS = 7  # turns of each model
pytestmark = pytest.mark.filterwarnings("default")  # warnings of torch.compile and of the peers are not ours to mend


def transformers_mae(patch: int) -> nn.Module:
    """images [B, C, H, W] -> loss, a scalar: `ViTMAEForPreTraining` with the attention it chooses itself."""
    transformers = pytest.importorskip("transformers", minversion="4.48", reason="pip install maebench[peers]")
    config = transformers.ViTMAEConfig(
        image_size=PIXELS,
        patch_size=patch,
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        decoder_hidden_size=WIDTH,
        decoder_num_hidden_layers=DECODER_DEPTH,
        decoder_num_attention_heads=HEADS,
        decoder_intermediate_size=4 * WIDTH,
        mask_ratio=RATIO,
        norm_pix_loss=False,
    )
    return transformers.ViTMAEForPreTraining(config)


class LightlyMAE(nn.Module):
    """lightly's parts for an MAE of timm's ViT, joined as in its MAE example. images -> loss, a scalar."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        # Its older decoder, of before 1.6, goes away in 1.7.
        pytest.importorskip("lightly", minversion="1.6", reason="pip install maebench[peers]")
        from lightly.models import modules, utils
        from timm.models.vision_transformer import VisionTransformer

        vit = VisionTransformer(PIXELS, patch, num_classes=0, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS)
        self.patch, self.utils, tokens = patch, utils, vit.patch_embed.num_patches
        self.encoder = modules.MaskedVisionTransformerTIMM(vit=vit)
        self.embed = nn.Linear(WIDTH, WIDTH)
        self.decoder = modules.MaskedVisionTransformerDecoderTIMM(tokens, WIDTH, DECODER_DEPTH, HEADS)
        self.head = nn.Linear(WIDTH, 3 * patch**2)

    def forward(self, pixels: Tensor) -> Tensor:
        size = (len(pixels), self.encoder.sequence_length)
        keep, hidden = self.utils.random_token_mask(size=size, mask_ratio=RATIO, device=pixels.device)
        visible = self.embed(self.encoder.encode(pixels, idx_keep=keep))
        tokens = self.utils.repeat_token(self.decoder.mask_token, size).to(visible.dtype)
        decoded = self.decoder(self.utils.set_at_index(tokens, keep, visible))
        wanted = self.utils.get_at_index(self.utils.patchify(pixels, self.patch), hidden - 1)  # 0 is the class token
        return nn.functional.mse_loss(self.head(self.utils.get_at_index(decoded, hidden)), wanted)


def lightly_mae(patch: int) -> nn.Module:
    """images [B, C, H, W] -> loss, a scalar."""
    return LightlyMAE(patch)


PEERS: dict[str, Callable[[int], nn.Module]] = {"transformers": transformers_mae, "lightly": lightly_mae}


def peer_loss(model: nn.Module, batch: int, compiled: str) -> Loss:
    """What `step.masked_loss` is, for a peer, which draws its masks itself."""
    pixels = standardise(images(batch).to(DEVICE))
    call = model if compiled == "none" else torch.compile(model, mode=compiled)

    def loss(_: int) -> Tensor:
        result = call(pixels)
        return getattr(result, "loss", result)

    return loss


def trainable(model: nn.Module) -> int:
    """How many weights the optimiser changes."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("patch", [4, 2], ids="patch={}".format)
@pytest.mark.parametrize("peer", PEERS)
def test_step_against_peer(benchmark, capsys, peer, patch, way):
    precision, _, compiled = way.partition(" ")
    mode, batch = "default" if compiled else "none", BATCH[patch]
    with torch.random.fork_rng():
        torch.manual_seed(0)  # peers draw weights and masks from the global generator
        models = {"maebench": vit_mae(patch=patch), peer: PEERS[peer](patch).to(DEVICE).train()}
        makers = {"maebench": masked_loss, peer: peer_loss}
        turns = {
            name: trainer(model.parameters(), makers[name](model, batch, mode), precision)
            for name, model in models.items()
        }
        losses = {name: [turn() for _ in range(WARM_UP)] for name, turn in turns.items()}
        seconds: dict[str, list[float]] = {name: [] for name in turns}

        def clocked(name: str) -> None:
            start = time.perf_counter()
            losses[name].append(turns[name]())
            seconds[name].append(time.perf_counter() - start)

        # pytest-benchmark's own figures are those of maebench; the ratio takes one clock for both.
        benchmark.pedantic(lambda: clocked("maebench"), setup=lambda: clocked(peer), rounds=ROUNDS)
    rates = {name: batch * STEPS / median(times) for name, times in seconds.items()}
    ratio = rates["maebench"] / rates[peer]
    note_rate(benchmark, batch * STEPS)
    benchmark.extra_info |= {"batch": batch, "rates": rates, "ratio": ratio, peer: version(peer)}
    with capsys.disabled():
        told = ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
        print(f"\n{DEVICE.type} {way}, patch {patch}, batch {batch}: images/s {told}, ratio {ratio:.3f}")
    for values in losses.values():
        assert_learnt(values)
    assert trainable(models[peer]) == pytest.approx(trainable(models["maebench"]), rel=0.02)
