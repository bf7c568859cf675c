"""A Segment Anything model small enough for tests, built from the package's own classes."""

from __future__ import annotations

from functools import partial

import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import nn

PATCH = 16
WIDTH = 16


def build_tiny_sam(seed: int = 0, image_size: int = 64) -> Sam:
    """Build a `Sam` with random weights whose masks differ between prompts and images.

    The weights of a network fresh from its constructor are so small that every prompt gives the
    same mask; they are drawn wider here. `image_size` (a multiple of 16) is what the longest side
    of an image is resized to. Neither reads nor changes the global random state.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = _assemble(image_size)
        for parameter in sam.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
        # Larger mask logits, so that stability scores spread over (0, 1).
        for network in sam.mask_decoder.output_hypernetworks_mlps:
            network.layers[-1].weight.data.mul_(30)
    return sam.eval().requires_grad_(False)


def _assemble(image_size: int) -> Sam:
    grid = (image_size // PATCH,) * 2
    encoder = ImageEncoderViT(
        img_size=image_size,
        patch_size=PATCH,
        embed_dim=16,
        depth=1,
        num_heads=2,
        mlp_ratio=2.0,
        out_chans=WIDTH,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=0,
        global_attn_indexes=(0,),
    )
    prompts = PromptEncoder(
        embed_dim=WIDTH,
        image_embedding_size=grid,
        input_image_size=(image_size, image_size),
        mask_in_chans=4,
    )
    decoder = MaskDecoder(
        transformer_dim=WIDTH,
        transformer=TwoWayTransformer(depth=1, embedding_dim=WIDTH, num_heads=2, mlp_dim=16),
        num_multimask_outputs=3,
        iou_head_depth=2,
        iou_head_hidden_dim=16,
    )
    return Sam(encoder, prompts, decoder)


def build_exact_sam() -> Sam:
    """Build a tiny `Sam` whose weights need no random numbers: the same bits on every machine."""
    sam = _assemble(64)
    for number, tensor in enumerate(sam.state_dict().values()):
        ramp = torch.arange(tensor.numel()).mul(7 + 2 * number).remainder(31)
        tensor.copy_((ramp.float() - 15).div(32).reshape(tensor.shape))
    return sam.eval().requires_grad_(False)
