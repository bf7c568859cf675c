"""Fourth step of the fast generator: prompts to output tokens, without any mask.

SAM predicts the quality of its masks from a token alone. So the tokens of all prompts are computed
first; the costly way from tokens to masks (``upscale.py``) is for those that survive. Letters are
those of ``share.py``.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsamdistill.fast_sam.encode import chunk_length
from mmsamdistill.fast_sam.share import Rows, SharedImage, SharedLayer, SharedNorm


@dataclass(frozen=True)
class PromptPixels:
    """The image embedding as each prompt sees it; weights and values are of each layer so far."""

    scale: Tensor | None = None  # a, (B, 1, N); None is 1
    weights: tuple[Tensor, ...] = ()  # w, (B, G * T, N)
    values: tuple[Tensor, ...] = ()  # what p is made of: values and 1, (B, G, T, D + 1)

    def parts(self, spreads: list[Tensor]) -> list[Tensor]:
        """The vectors p of each layer, ``(B, G * T, C)``."""
        pairs = zip(self.values, spreads, strict=True)
        return [(values @ spread).flatten(1, 2) for values, spread in pairs]

    def select(self, prompts: Tensor) -> 'PromptPixels':
        """Some of the prompts."""
        weights, values = (tuple(x[prompts] for x in xs) for xs in (self.weights, self.values))
        return PromptPixels(self.scale[prompts], weights, values)


@dataclass(frozen=True)
class DecodedPrompts:
    """The mask decoder's state after its transformer."""

    scores: Tensor  # predicted IoU of each mask, (B, M) float32, the single-mask output left out
    mask_tokens: Tensor  # one token for each mask, (B, M, C)
    pixels: list[PromptPixels]  # of as many prompts as are decoded at once


def embed_points(sam: nn.Module, points: Tensor) -> Tensor:
    """``(B, 2)`` -> ``(B, 2, C)``: the point, and SAM's placeholder for a box that is not there."""
    labels = torch.ones(len(points), 1, dtype=torch.int, device=points.device)
    sparse, _ = sam.prompt_encoder(points=(points.unsqueeze(1), labels), boxes=None, masks=None)
    return sparse


def decode_prompts(decoder: nn.Module, image: SharedImage, prompts: Tensor) -> DecodedPrompts:
    """Run the mask decoder up to its tokens on prompts ``(B, P, C)``."""
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    prompts = torch.cat([own.expand(len(prompts), -1, -1), prompts], dim=1)
    # Tokens of all prompts together, for large matrices; pixels of a few, for the cache.
    tokens, transformer = prompts, decoder.transformer
    pixels = [PromptPixels()] * -(-len(prompts) // _prompts_at_once(image, prompts))
    # 1. The layers of the two-way transformer.
    for layer, shared, norm in zip(transformer.layers, image.layers, image.norms, strict=False):
        tokens = _update_alone(layer, tokens, prompts)
        attn = layer.cross_attn_token_to_image
        tokens = layer.norm2(tokens + _read_pixels(attn, tokens + prompts, shared, pixels))
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        pixels = _update_pixels(layer, tokens, prompts, shared, norm, pixels)
    # 2. Its last attention, for the tokens of the quality and of the masks alone. Token 1 is for
    # the single mask of unambiguous prompts, which a grid has none of.
    used = [0, *range(2, 1 + decoder.num_mask_tokens)]
    tokens, prompts = tokens[:, used], prompts[:, used]
    attn = transformer.final_attn_token_to_image
    tokens = tokens + _read_pixels(attn, tokens + prompts, image.layers[-1], pixels)
    tokens = transformer.norm_final_attn(tokens)
    scores = decoder.iou_prediction_head(tokens[:, 0])[:, 1:]
    return DecodedPrompts(scores, tokens[:, 1:], pixels)


def _prompts_at_once(image: SharedImage, prompts: Tensor) -> int:
    # Three times what a layer's weights take: they, those before, and what is being computed.
    heads, _, pixels = image.layers[0].keys.pixels.shape
    return chunk_length(12 * prompts.shape[1] * heads * pixels, prompts.device)


def _update_alone(layer: nn.Module, tokens: Tensor, prompts: Tensor) -> Tensor:
    """A layer's work on the tokens among themselves."""
    if layer.skip_first_layer_pe:
        return layer.norm1(layer.self_attn(q=tokens, k=tokens, v=tokens))
    queries = tokens + prompts
    return layer.norm1(tokens + layer.self_attn(q=queries, k=queries, v=tokens))


def _read_pixels(
    attn: nn.Module, tokens: Tensor, shared: SharedLayer, pixels: list[PromptPixels]
) -> Tensor:
    """What tokens ``(B, T, C)`` get from the pixels."""
    queries = _by_head(attn.q_proj(tokens), attn.num_heads)
    queries *= queries.shape[-1] ** -0.5
    chunks = zip(queries.tensor_split(len(pixels)), pixels, strict=True)
    read = [_read_some(attn, chunk, shared, seen) for chunk, seen in chunks]
    return attn.out_proj(torch.cat(read).transpose(1, 2).flatten(2) + shared.value_constant)


def _read_some(
    attn: nn.Module, queries: Tensor, shared: SharedLayer, pixels: PromptPixels
) -> Tensor:
    parts = pixels.parts(shared.spreads)
    scores = _scores(queries, attn.k_proj.weight, shared.keys, pixels, parts)
    attention = scores.softmax(dim=-1)
    if pixels.scale is not None:
        attention *= pixels.scale
    # Values of X, and those of the average p.
    read = _times_shared(attention.unflatten(1, queries.shape[1:3]), shared.values)
    for weights, vectors in zip(pixels.weights, parts, strict=True):
        average = (attention @ weights.transpose(1, 2)) @ vectors
        value_weight = attn.v_proj.weight.unflatten(0, (attn.num_heads, -1))
        read = read + average.view(*read.shape[:3], -1) @ value_weight.transpose(1, 2)
    return read


def _update_pixels(
    layer: nn.Module,
    tokens: Tensor,
    prompts: Tensor,
    shared: SharedLayer,
    norm: SharedNorm,
    pixels: list[PromptPixels],
) -> list[PromptPixels]:
    """The pixels attend to the tokens ``(B, T, C)`` and are normalised."""
    attn = layer.cross_attn_image_to_token
    keys = _by_head(attn.k_proj(tokens + prompts), attn.num_heads)
    keys *= keys.shape[-1] ** -0.5
    values = F.pad(_by_head(attn.v_proj(tokens), attn.num_heads), (0, 1), value=1.0)
    chunks = (x.tensor_split(len(pixels)) for x in (keys, values))
    return [
        _update_some(layer, key, value, shared, norm, seen)
        for key, value, seen in zip(*chunks, pixels, strict=True)
    ]


def _update_some(
    layer: nn.Module,
    keys: Tensor,
    values: Tensor,
    shared: SharedLayer,
    norm: SharedNorm,
    pixels: PromptPixels,
) -> PromptPixels:
    attn, scale = layer.cross_attn_image_to_token, pixels.scale
    parts = pixels.parts(shared.spreads)
    scores = _scores(keys, attn.q_proj.weight, shared.queries, pixels, parts)
    weights = scores.unflatten(1, keys.shape[1:3]).softmax(dim=2).flatten(1, 2)
    if scale is not None:
        weights /= scale
    pixels = PromptPixels(scale, (*pixels.weights, weights), (*pixels.values, values))
    variance = _variance(norm, pixels, attn.embedding_dim)
    if scale is None:
        return replace(pixels, scale=(variance + layer.norm4.eps).rsqrt())
    return replace(pixels, scale=scale * (variance * scale.square() + layer.norm4.eps).rsqrt())


def _scores(
    tokens: Tensor, weight: Tensor, rows: Rows, pixels: PromptPixels, parts: list[Tensor]
) -> Tensor:
    """Scores of projected tokens ``(B, G, T, D)`` and pixels to be projected: ``(B, G * T, N)``."""
    scores = _times_shared(tokens, rows.pixels).flatten(1, 2)
    onto_pixels = (tokens @ weight.view(tokens.shape[1], -1, weight.shape[1])).flatten(1, 2)
    for weights, vectors in zip(pixels.weights, parts, strict=True):
        scores.baddbmm_(onto_pixels @ vectors.transpose(1, 2), weights)
    if pixels.scale is None:
        return scores
    return torch.addcmul(_times_shared(tokens, rows.rest).flatten(1, 2), scores, pixels.scale)


def _variance(norm: SharedNorm, pixels: PromptPixels, channels: int) -> Tensor:
    """Of the channels of ``X_n + sum_r w_rn p_r``: ``(B, 1, N)``."""
    squares = norm.squares
    parts = pixels.parts(norm.spreads)
    for index, (weights, values) in enumerate(zip(pixels.weights, pixels.values, strict=True)):
        # Twice the products of p and X, and of p and those before; once those with itself.
        products = _times_shared(values, norm.products[index]).flatten(1, 2)
        for other in range(index + 1):
            grams = parts[index] @ parts[other].transpose(1, 2)
            alpha = 1 if other == index else 2
            products.baddbmm_(grams, pixels.weights[other], alpha=alpha)
        squares = squares + products.mul_(weights).sum(1, keepdim=True)
    return squares.clamp_(min=0.0) / channels


def _by_head(tokens: Tensor, heads: int) -> Tensor:
    """``(B, T, G * D)`` -> ``(B, G, T, D)``."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def _times_shared(left: Tensor, shared: Tensor) -> Tensor:
    """``(B, G, T, X)`` times ``(G, X, Y)`` without a copy of the latter for each prompt."""
    batch, heads, tokens, _ = left.shape
    out = left.transpose(0, 1).flatten(1, 2) @ shared
    return out.view(heads, batch, tokens, -1).transpose(0, 1)
