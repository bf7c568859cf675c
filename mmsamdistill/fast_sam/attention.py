"""The two-way transformer's cross-attentions, without projecting the image for every prompt.

In SAM's mask decoder a handful of tokens T of each prompt B attend to the N pixels of the image
embedding and the pixels attend to them. The reference projects all pixels of all prompts to keys,
values or queries of d channels. But with so few tokens it is cheaper to project the tokens the
other way:

    (q_t) . (W_k x_n)  =  (W_k^T q_t) . x_n          sum_n a_n (W_v x_n)  =  W_v (sum_n a_n x_n)

and where the pixels are still the same for all prompts, they are projected once. The results are
the reference's up to the order of additions.

Letters: B prompts, T tokens, N pixels of the embedding, C its channels, G heads, D channels a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ProjectedPixels:
    """What one attention layer knows about an image before any prompt.

    Attributes:
        rows: One projection of the pixels, ``(G, D, N)``.
        values: Their values, ``(G, N, D)``, where the pixels are attended to.
    """

    rows: Tensor
    values: Tensor | None = None


def project_pixels(linear: nn.Linear, pixels: Tensor, heads: int, bias: bool = True) -> Tensor:
    """Project the pixels that all prompts share.

    Shape:
        - pixels: ``(N, C)``
        - result: ``(G, D, N)``

    Example:
        >>> project_pixels(nn.Linear(4, 6), torch.zeros(5, 4), heads=3).shape
        torch.Size([3, 2, 5])
    """
    out = nn.functional.linear(pixels, linear.weight, linear.bias if bias else None)
    return out.view(len(pixels), heads, -1).permute(1, 2, 0).contiguous()


def tokens_to_shared_pixels(attn: nn.Module, queries: Tensor, pixels: ProjectedPixels) -> Tensor:
    """Tokens attend to pixels that are the same for all prompts.

    Shape:
        - queries: ``(B, T, C)``
        - result: ``(B, T, C)``
    """
    batch, tokens = queries.shape[:2]
    scores = _heads_first(attn, attn.q_proj(queries)) @ pixels.rows
    attended = scores.softmax(dim=-1).to(pixels.values.dtype) @ pixels.values
    attended = attended.view(attn.num_heads, batch, tokens, -1).permute(1, 2, 0, 3)
    return attn.out_proj(attended.reshape(batch, tokens, -1))


def tokens_to_pixels(
    attn: nn.Module, queries: Tensor, pixels: Tensor, positions: ProjectedPixels
) -> Tensor:
    """Tokens attend to the pixels of their own prompt.

    Shape:
        - queries: ``(B, T, C)``
        - pixels: ``(B, N, C)``
        - result: ``(B, T, C)``
    """
    batch, tokens, _ = queries.shape
    projected = _scaled(attn, attn.q_proj(queries)).view(batch, tokens, attn.num_heads, -1)
    weights = _scores(projected, attn.k_proj.weight, pixels, positions).softmax(dim=-1)
    # (B, G * T, C): for each head the average pixel; its values are taken afterwards.
    average = weights.flatten(1, 2).to(pixels.dtype) @ pixels
    average = average.view(batch, attn.num_heads, tokens, -1)
    attended = torch.einsum('bgtc,gdc->btgd', average, _by_head(attn.v_proj.weight, attn.num_heads))
    attended = attended.reshape(batch, tokens, -1) + attn.v_proj.bias
    return attn.out_proj(attended)


def shared_pixels_to_tokens(
    attn: nn.Module, pixels: Tensor, projected: ProjectedPixels, keys: Tensor, values: Tensor
) -> Tensor:
    """Pixels that are the same for all prompts attend to each prompt's tokens.

    Shape:
        - pixels: ``(N, C)``
        - keys, values: ``(B, T, C)``
        - result: ``(B, N, C)``
    """
    batch, tokens = keys.shape[:2]
    scores = _heads_first(attn, attn.k_proj(keys)) @ projected.rows
    scores = scores.view(attn.num_heads, batch, tokens, -1).transpose(0, 1)
    return _add_attended(attn, pixels.expand(batch, -1, -1), scores, values)


def pixels_to_tokens(
    attn: nn.Module, pixels: Tensor, positions: ProjectedPixels, keys: Tensor, values: Tensor
) -> Tensor:
    """Pixels attend to the tokens of their own prompt.

    Shape:
        - pixels: ``(B, N, C)``
        - keys, values: ``(B, T, C)``
        - result: ``(B, N, C)``
    """
    batch, tokens, _ = keys.shape
    projected = _scaled(attn, attn.k_proj(keys)).view(batch, tokens, attn.num_heads, -1)
    scores = _scores(projected, attn.q_proj.weight, pixels, positions)
    return _add_attended(attn, pixels, scores, values)


def _scores(tokens: Tensor, weight: Tensor, pixels: Tensor, positions: ProjectedPixels) -> Tensor:
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
