"""Third step of the fast generator: prompts to output tokens, without any mask.

SAM predicts the quality of its masks from a token alone. So the tokens of all prompts are computed
first; the costly way from tokens to masks (``fast_sam_upscale.py``) is for those that survive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mmsamdistill.fast_sam.attention import (
    ProjectedPixels,
    pixels_to_tokens,
    project_pixels,
    shared_pixels_to_tokens,
    tokens_to_pixels,
    tokens_to_shared_pixels,
)


@dataclass(frozen=True)
class SharedImage:
    """What all prompts of an image have in common.

    Attributes:
        pixels: The image embedding plus SAM's "no mask given", ``(N, C)``.
        grid: Height and width of the embedding.
        first_keys: The pixels as the first layer's tokens see them.
        first_queries: The pixels as they ask the first layer's tokens.
        later_keys: Keys of the positional encoding for layers 1 and on, and for the last attention.
        later_queries: Queries of the positional encoding for layers 1 and on.
    """

    pixels: Tensor
    grid: tuple[int, int]
    first_keys: ProjectedPixels
    first_queries: ProjectedPixels
    later_keys: list[ProjectedPixels]
    later_queries: list[ProjectedPixels]


@dataclass(frozen=True)
class DecodedPrompts:
    """The mask decoder's state after its transformer.

    Attributes:
        scores: Predicted IoU of each mask, ``(B, M)`` float32, the single-mask output left out.
        mask_tokens: One token for each mask, ``(B, M, C)``.
        pixels: The image embedding as each prompt sees it, ``(B, N, C)``.
    """

    scores: Tensor
    mask_tokens: Tensor
    pixels: Tensor


def share_image(sam: nn.Module, embedding: Tensor) -> SharedImage:
    """Compute once what every prompt of an image needs.

    Shape:
        - embedding: ``(C, h, w)``
    """
    transformer = sam.mask_decoder.transformer
    no_mask = sam.prompt_encoder.no_mask_embed.weight
    pixels = embedding.flatten(1).T + no_mask
    positions = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T.contiguous()
    first, *later = transformer.layers
    with_position = pixels + positions
    reading = first.cross_attn_token_to_image
    asking = first.cross_attn_image_to_token
    keys = project_pixels(reading.k_proj, with_position, reading.num_heads, bias=False)
    values = project_pixels(reading.v_proj, pixels, reading.num_heads).transpose(1, 2).contiguous()
    later_reading = [layer.cross_attn_token_to_image for layer in later]
    return SharedImage(
        pixels=pixels,
        grid=tuple(embedding.shape[-2:]),
        first_keys=ProjectedPixels(keys, values),
        first_queries=_project(asking, asking.q_proj, with_position),
        later_keys=[
            _project(attn, attn.k_proj, positions, bias=False)
            for attn in [*later_reading, transformer.final_attn_token_to_image]
        ],
        later_queries=[
            _project(attn, attn.q_proj, positions)
            for attn in (layer.cross_attn_image_to_token for layer in later)
        ],
    )


def _project(
    attn: nn.Module, linear: nn.Linear, pixels: Tensor, bias: bool = True
) -> ProjectedPixels:
    return ProjectedPixels(project_pixels(linear, pixels, attn.num_heads, bias))


def embed_points(sam: nn.Module, points: Tensor) -> Tensor:
    """Embed one foreground point for each prompt.

    Shape:
        - points: ``(B, 2)``
        - result: ``(B, 2, C)``: the point, and SAM's placeholder for the box that is not there

    Source: ``segment_anything``, whose prompt encoder does the work.
    """
    labels = torch.ones(len(points), 1, dtype=torch.int, device=points.device)
    sparse, _ = sam.prompt_encoder(points=(points.unsqueeze(1), labels), boxes=None, masks=None)
    return sparse


def decode_prompts(decoder: nn.Module, image: SharedImage, prompts: Tensor) -> DecodedPrompts:
    """Run the mask decoder up to its tokens.

    Shape:
        - prompts: ``(B, P, C)``
    """
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(prompts), -1, -1), prompts], dim=1)
    tokens, pixels = _transform(decoder.transformer, image, tokens)
    return DecodedPrompts(
        scores=decoder.iou_prediction_head(tokens[:, 0])[:, 1:].float(),
        # Token 1 is for the single mask of unambiguous prompts, which a grid has none of.
        mask_tokens=tokens[:, 2 : 1 + decoder.num_mask_tokens],
        pixels=pixels,
    )


def _transform(transformer: nn.Module, image: SharedImage, prompt: Tensor) -> tuple[Tensor, Tensor]:
    """The two-way transformer: tokens ``(B, T, C)`` -> tokens, and pixels ``(B, N, C)``."""
    first, *later = transformer.layers
    read = partial(tokens_to_shared_pixels, pixels=image.first_keys)
    tokens = _update_tokens(first, prompt, prompt, read)
    attn = first.cross_attn_image_to_token
    pixels = shared_pixels_to_tokens(
        attn, image.pixels, image.first_queries, tokens + prompt, tokens
    )
    pixels = first.norm4(pixels)
    for index, layer in enumerate(later):
        read = partial(tokens_to_pixels, pixels=pixels, positions=image.later_keys[index])
        tokens = _update_tokens(layer, tokens, prompt, read)
        attn = layer.cross_attn_image_to_token
        pixels = pixels_to_tokens(attn, pixels, image.later_queries[index], tokens + prompt, tokens)
        pixels = layer.norm4(pixels)
    attn = transformer.final_attn_token_to_image
    tokens = tokens + tokens_to_pixels(attn, tokens + prompt, pixels, image.later_keys[-1])
    return transformer.norm_final_attn(tokens), pixels


def _update_tokens(layer: nn.Module, tokens: Tensor, prompt: Tensor, read: partial) -> Tensor:
    """A layer's work on the tokens: among themselves, from the pixels, each on its own."""
    if layer.skip_first_layer_pe:
        tokens = layer.self_attn(q=tokens, k=tokens, v=tokens)
    else:
        queries = tokens + prompt
        tokens = tokens + layer.self_attn(q=queries, k=queries, v=tokens)
    tokens = layer.norm1(tokens)
    tokens = layer.norm2(tokens + read(layer.cross_attn_token_to_image, tokens + prompt))
    return layer.norm3(tokens + layer.mlp(tokens))
