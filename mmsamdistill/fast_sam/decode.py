"""Third step of the fast generator: prompts to output tokens, without any mask.

SAM predicts the quality of its masks from a token alone. So the tokens of all prompts are computed
first; the costly way from tokens to masks (``masks.py``) is for those that survive.

The image is not projected for every prompt either. In SAM's mask decoder a handful of tokens T of
each prompt B attend to the N pixels of the image embedding and the pixels attend to them. The
reference projects all pixels of all prompts to keys, values or queries of d channels. But with so
few tokens it is cheaper to project the tokens the other way:

    (q_t) . (W_k x_n)  =  (W_k^T q_t) . x_n          sum_n a_n (W_v x_n)  =  W_v (sum_n a_n x_n)

and where the pixels are still the same for all prompts, they are projected once. The results are
the reference's up to the order of additions.

Letters: B prompts, T tokens, N pixels of the embedding, C its channels, G heads, D channels a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SharedImage:
    """What all prompts of an image have in common."""

    pixels: Tensor  # the image embedding plus SAM's "no mask given", (N, C)
    grid: tuple[int, int]  # height and width of the embedding
    first_keys: _ProjectedPixels  # the pixels as the first layer's tokens see them
    first_queries: _ProjectedPixels  # the pixels as they ask the first layer's tokens
    # Keys of the positional encoding for layers 1 and on, and for the last attention.
    later_keys: list[_ProjectedPixels]
    later_queries: list[_ProjectedPixels]  # queries of the positional encoding for layers 1 and on


@dataclass(frozen=True)
class DecodedPrompts:
    """The mask decoder's state after its transformer."""

    scores: Tensor  # predicted IoU of each mask, (B, M) float32, the single-mask output left out
    mask_tokens: Tensor  # one token for each mask, (B, M, C)
    pixels: Tensor  # the image embedding as each prompt sees it, (B, N, C)


def share_image(sam: nn.Module, embedding: Tensor) -> SharedImage:
    """Compute once what every prompt needs of an image's embedding, ``(C, h, w)``."""
    transformer = sam.mask_decoder.transformer
    no_mask = sam.prompt_encoder.no_mask_embed.weight
    pixels = embedding.flatten(1).T + no_mask
    positions = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T.contiguous()
    first, *later = transformer.layers
    with_position = pixels + positions
    reading = first.cross_attn_token_to_image
    asking = first.cross_attn_image_to_token
    keys = _project_pixels(reading.k_proj, with_position, reading.num_heads, bias=False)
    values = _project_pixels(reading.v_proj, pixels, reading.num_heads).transpose(1, 2).contiguous()
    later_reading = [layer.cross_attn_token_to_image for layer in later]
    return SharedImage(
        pixels=pixels,
        grid=tuple(embedding.shape[-2:]),
        first_keys=_ProjectedPixels(keys, values),
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
) -> _ProjectedPixels:
    return _ProjectedPixels(_project_pixels(linear, pixels, attn.num_heads, bias))


def embed_points(sam: nn.Module, points: Tensor) -> Tensor:
    """``(B, 2)`` -> ``(B, 2, C)``: the point, and SAM's placeholder for a box that is not there."""
    labels = torch.ones(len(points), 1, dtype=torch.int, device=points.device)
    sparse, _ = sam.prompt_encoder(points=(points.unsqueeze(1), labels), boxes=None, masks=None)
    return sparse


def decode_prompts(decoder: nn.Module, image: SharedImage, prompts: Tensor) -> DecodedPrompts:
    """Run the mask decoder up to its tokens on prompts ``(B, P, C)``."""
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
    read = partial(_tokens_to_shared_pixels, pixels=image.first_keys)
    tokens = _update_tokens(first, prompt, prompt, read)
    attn = first.cross_attn_image_to_token
    pixels = _shared_pixels_to_tokens(
        attn, image.pixels, image.first_queries, tokens + prompt, tokens
    )
    pixels = first.norm4(pixels)
    for index, layer in enumerate(later):
        read = partial(_tokens_to_pixels, pixels=pixels, positions=image.later_keys[index])
        tokens = _update_tokens(layer, tokens, prompt, read)
        attn = layer.cross_attn_image_to_token
        pixels = _pixels_to_tokens(
            attn, pixels, image.later_queries[index], tokens + prompt, tokens
        )
        pixels = layer.norm4(pixels)
    attn = transformer.final_attn_token_to_image
    tokens = tokens + _tokens_to_pixels(attn, tokens + prompt, pixels, image.later_keys[-1])
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


@dataclass(frozen=True)
class _ProjectedPixels:
    """What one attention layer knows about an image before any prompt."""

    rows: Tensor  # one projection of the pixels, (G, D, N)
    values: Tensor | None = None  # their values, (G, N, D), where the pixels are attended to


def _project_pixels(linear: nn.Linear, pixels: Tensor, heads: int, bias: bool = True) -> Tensor:
    """Project the pixels that all prompts share: ``(N, C)`` -> ``(G, D, N)``."""
    out = nn.functional.linear(pixels, linear.weight, linear.bias if bias else None)
    return out.view(len(pixels), heads, -1).permute(1, 2, 0).contiguous()


def _tokens_to_shared_pixels(attn: nn.Module, queries: Tensor, pixels: _ProjectedPixels) -> Tensor:
    """Tokens ``(B, T, C)`` attend to pixels that are the same for all prompts."""
    batch, tokens = queries.shape[:2]
    scores = _heads_first(attn, attn.q_proj(queries)) @ pixels.rows
    attended = scores.softmax(dim=-1).to(pixels.values.dtype) @ pixels.values
    attended = attended.view(attn.num_heads, batch, tokens, -1).permute(1, 2, 0, 3)
    return attn.out_proj(attended.reshape(batch, tokens, -1))


def _tokens_to_pixels(
    attn: nn.Module, queries: Tensor, pixels: Tensor, positions: _ProjectedPixels
) -> Tensor:
    """Tokens ``(B, T, C)`` attend to the pixels of their own prompt, ``(B, N, C)``."""
    batch, tokens, _ = queries.shape
    projected = _scaled(attn, attn.q_proj(queries)).view(batch, tokens, attn.num_heads, -1)
    weights = _scores(projected, attn.k_proj.weight, pixels, positions).softmax(dim=-1)
    # (B, G * T, C): for each head the average pixel; its values are taken afterwards.
    average = weights.flatten(1, 2).to(pixels.dtype) @ pixels
    average = average.view(batch, attn.num_heads, tokens, -1)
    attended = torch.einsum('bgtc,gdc->btgd', average, _by_head(attn.v_proj.weight, attn.num_heads))
    attended = attended.reshape(batch, tokens, -1) + attn.v_proj.bias
    return attn.out_proj(attended)


def _shared_pixels_to_tokens(
    attn: nn.Module, pixels: Tensor, projected: _ProjectedPixels, keys: Tensor, values: Tensor
) -> Tensor:
    """Pixels ``(N, C)`` of all prompts attend to each prompt's tokens: ``(B, N, C)``."""
    batch, tokens = keys.shape[:2]
    scores = _heads_first(attn, attn.k_proj(keys)) @ projected.rows
    scores = scores.view(attn.num_heads, batch, tokens, -1).transpose(0, 1)
    return _add_attended(attn, pixels.expand(batch, -1, -1), scores, values)


def _pixels_to_tokens(
    attn: nn.Module, pixels: Tensor, positions: _ProjectedPixels, keys: Tensor, values: Tensor
) -> Tensor:
    """Pixels ``(B, N, C)`` attend to the tokens of their own prompt, ``(B, T, C)``."""
    batch, tokens, _ = keys.shape
    projected = _scaled(attn, attn.k_proj(keys)).view(batch, tokens, attn.num_heads, -1)
    scores = _scores(projected, attn.q_proj.weight, pixels, positions)
    return _add_attended(attn, pixels, scores, values)


def _scores(tokens: Tensor, weight: Tensor, pixels: Tensor, positions: _ProjectedPixels) -> Tensor:
    """Scores of projected tokens ``(B, T, G, D)`` against projected pixels: ``(B, G, T, N)``."""
    batch, count, heads, _ = tokens.shape
    onto_pixels = torch.einsum('btgd,gdc->bgtc', tokens, _by_head(weight, heads))
    scores = (onto_pixels.flatten(1, 2) @ pixels.transpose(1, 2)).view(batch, heads, count, -1)
    by_position = tokens.permute(2, 0, 1, 3).flatten(1, 2) @ positions.rows
    scores += by_position.view(heads, batch, count, -1).transpose(0, 1)
    return scores


def _add_attended(attn: nn.Module, pixels: Tensor, scores: Tensor, values: Tensor) -> Tensor:
    """Pixels plus what they get from the tokens, from scores ``(B, G, T, N)``."""
    batch, heads, tokens, _ = scores.shape
    weights = scores.softmax(dim=2).reshape(batch, heads * tokens, -1)
    projected = attn.v_proj(values).view(batch, tokens, heads, -1)
    out_weight = attn.out_proj.weight.view(attn.embedding_dim, heads, -1)
    # (B, G * T, C): what a pixel receives for a full look at one token through one head.
    parts = torch.einsum('btgd,cgd->bgtc', projected, out_weight).flatten(1, 2)
    # A pixel's weights sum to 1 in each head: the bias can come along, without a pass of its own.
    parts = (parts + attn.out_proj.bias / heads).to(weights.dtype)
    return torch.baddbmm(pixels.to(weights.dtype), weights.transpose(1, 2), parts)


def _heads_first(attn: nn.Module, tokens: Tensor) -> Tensor:
    """``(B, T, G * D)`` -> ``(G, B * T, D)``, divided by the root of D."""
    batch, count, _ = tokens.shape
    tokens = _scaled(attn, tokens).view(batch * count, attn.num_heads, -1)
    return tokens.transpose(0, 1)


def _scaled(attn: nn.Module, tokens: Tensor) -> Tensor:
    return tokens * (attn.internal_dim // attn.num_heads) ** -0.5


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """``(G * D, C)`` -> ``(G, D, C)``."""
    return weight.view(heads, -1, weight.shape[1])
