"""Third step of the fast generator: what all prompts of an image have in common.

No prompt gets an image embedding of its own. In SAM's mask decoder a handful of tokens attend to
the N pixels of the embedding, and the pixels, attending to these few tokens, receive a mixture of
few vectors. What a prompt sees at pixel n is therefore

    x_n = a_n (X_n + sum_r w_rn p_r) + c

with C channels of X and a constant c that are the same for all prompts, and for each prompt a
number a_n at each pixel and R vectors p_r with weights w_rn (R is tokens times heads, 56, for each
layer). LayerNorm keeps the form: it centres X and p, divides a_n by the deviation, which follows
from products of X and p, and multiplies X and p by its weights. So every projection of x_n is one
of X, made once for all prompts, and products as small as R. The results are the reference's up to
the order of additions.

Letters: B prompts, T tokens, N pixels of the embedding, C its channels, G heads, D channels a head.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Rows:
    """A projection of the pixels."""

    pixels: Tensor  # of X, (G, D, N)
    rest: Tensor | None  # of positions and c, (G, D, N); None: a is 1, they are in the above


@dataclass(frozen=True)
class SharedLayer:
    """What the attention of one layer needs."""

    keys: Rows
    values: Tensor  # of X, (G, N, D)
    value_constant: Tensor  # of c, (G * D)
    queries: Rows | None  # None in the last attention
    # How p of each layer before, in this layer's frame, follows from its values and 1: (G, D+1, C).
    spreads: list[Tensor]


@dataclass(frozen=True)
class SharedNorm:
    """What the deviation over the channels in one layer follows from."""

    squares: Tensor  # of X, (N)
    products: list[Tensor]  # 2 X times the spread of each layer so far, (G, D + 1, N)
    spreads: list[Tensor]  # as in a layer, and centred


@dataclass(frozen=True)
class SharedImage:
    """What all prompts of an image have in common."""

    layers: list[SharedLayer]  # for each layer of the transformer, and for its last attention
    norms: list[SharedNorm]  # for each layer
    # What becomes of X, c and spreads in the first of the transposed convolutions from pixels to
    # masks, which has four outputs of c channels for each pixel.
    upscaled: Tensor  # (h, w, 4 c)
    upscaled_constant: Tensor  # (4 c)
    upscaled_spreads: list[Tensor]  # (G, D + 1, 4 c)


def share_image(sam: nn.Module, embedding: Tensor) -> SharedImage:
    """Compute once what every prompt needs of an image's embedding, ``(C, h, w)``."""
    transformer = sam.mask_decoder.transformer
    pixels = embedding.flatten(1).T + sam.prompt_encoder.no_mask_embed.weight
    positions = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T
    constant = torch.zeros_like(pixels[0])
    layers, norms, spreads = [], [], []
    for layer in transformer.layers:
        asking, norm = layer.cross_attn_image_to_token, layer.norm4
        shared = _share_layer(layer.cross_attn_token_to_image, pixels, positions, constant, spreads)
        queries = _rows(asking.q_proj, asking.num_heads, pixels, positions, constant, spreads)
        layers.append(replace(shared, queries=queries))
        # 1. What the pixels receive carries the constant too: its weights sum to 1 in each head.
        spreads = [*spreads, _spread(asking, constant)]
        # 2. Centred, for the deviation.
        spreads, pixels = [_centred(spread) for spread in spreads], _centred(pixels)
        products = [2 * spread @ pixels.T for spread in spreads]
        norms.append(SharedNorm(pixels.square().sum(-1), products, spreads))
        # 3. With the weights of the normalisation, for the next layer.
        spreads, pixels = [spread * norm.weight for spread in spreads], pixels * norm.weight
        constant = norm.bias
    final = transformer.final_attn_token_to_image
    layers.append(_share_layer(final, pixels, positions, constant, spreads))
    weight, bias = matrix_of(sam.mask_decoder.output_upscaling[0])
    return SharedImage(
        layers=layers,
        norms=norms,
        upscaled=F.linear(pixels, weight).view(*embedding.shape[1:], -1),
        upscaled_constant=F.linear(constant, weight, bias),
        upscaled_spreads=[spread @ weight.T for spread in spreads],
    )


def matrix_of(conv: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """A transposed convolution as a linear layer: weight ``(4 * out, in)`` and bias.

    With kernel and stride 2 outputs do not overlap: each pixel has four of its own.
    """
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)


def _share_layer(
    attn: nn.Module, pixels: Tensor, positions: Tensor, constant: Tensor, spreads: list[Tensor]
) -> SharedLayer:
    """What the tokens that read the pixels need."""
    return SharedLayer(
        keys=_rows(attn.k_proj, attn.num_heads, pixels, positions, constant, spreads),
        values=_project(attn.v_proj.weight, attn.num_heads, pixels).transpose(1, 2).contiguous(),
        value_constant=attn.v_proj(constant),
        queries=None,
        spreads=spreads,
    )


def _rows(
    linear: nn.Linear,
    heads: int,
    pixels: Tensor,
    positions: Tensor,
    constant: Tensor,
    spreads: list[Tensor],
) -> Rows:
    weight, bias = linear.weight, linear.bias
    if not spreads:
        return Rows(_project(weight, heads, pixels + positions, bias), None)
    rest = _project(weight, heads, positions + constant, bias)
    return Rows(_project(weight, heads, pixels), rest)


def _project(weight: Tensor, heads: int, pixels: Tensor, bias: Tensor | None = None) -> Tensor:
    """``(N, C)`` -> ``(G, D, N)``."""
    out = F.linear(pixels, weight, bias)
    return out.view(len(pixels), heads, -1).permute(1, 2, 0).contiguous()


def _spread(attn: nn.Module, constant: Tensor) -> Tensor:
    """What the D values and the 1 of each head add to the pixels: ``(G, D + 1, C)``."""
    weight = attn.out_proj.weight.T.reshape(attn.num_heads, -1, attn.embedding_dim)
    last = (attn.out_proj.bias + constant) / attn.num_heads
    return torch.cat([weight, last.expand(attn.num_heads, 1, -1)], dim=1)


def _centred(vectors: Tensor) -> Tensor:
    return vectors - vectors.mean(-1, keepdim=True)
