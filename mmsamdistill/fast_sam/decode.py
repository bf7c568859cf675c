"""Third step of the fast generator: prompts to output tokens, without any mask.

SAM predicts the quality of its masks from a token alone. So the tokens of all prompts are computed
first; the costly way from tokens to masks (``masks.py``) is for those that survive.

Nor does any prompt get an image embedding of its own. In SAM's mask decoder a handful of tokens
attend to the N pixels of the embedding, and the pixels, attending to these few tokens, receive a
mixture of few vectors. What a prompt sees at pixel n is therefore

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

from mmsamdistill.fast_sam.encode import chunk_length


@dataclass(frozen=True)
class _Rows:
    """A projection of the pixels."""

    pixels: Tensor  # of X, (G, D, N)
    rest: (
        Tensor | None
    )  # of positions and c, (G, D, N); None where a is 1 and they are in the above


@dataclass(frozen=True)
class _SharedLayer:
    keys: _Rows
    values: Tensor  # of X, (G, N, D)
    value_constant: Tensor  # of c, (G * D)
    queries: _Rows | None  # None in the last attention
    # How p of each layer before, in this layer's frame, follows from its values and 1: (G, D+1, C).
    spreads: list[Tensor]


@dataclass(frozen=True)
class _SharedNorm:
    squares: Tensor  # of X, (N)
    products: list[Tensor]  # 2 X times the spread of each layer so far, (G, D + 1, N)
    spreads: list[Tensor]  # as in a layer, and centred


@dataclass(frozen=True)
class SharedImage:
    """What all prompts of an image have in common."""

    layers: list[_SharedLayer]  # for each layer of the transformer, and for its last attention
    norms: list[_SharedNorm]  # for each layer
    # What becomes of X, c and spreads in the first of the transposed convolutions from pixels to
    # masks, which has four outputs of c channels for each pixel.
    upscaled: Tensor  # (h, w, 4 c)
    upscaled_constant: Tensor  # (4 c)
    upscaled_spreads: list[Tensor]  # (G, D + 1, 4 c)


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
        norms.append(_SharedNorm(pixels.square().sum(-1), products, spreads))
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
) -> _SharedLayer:
    """What the tokens that read the pixels need."""
    return _SharedLayer(
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
) -> _Rows:
    weight, bias = linear.weight, linear.bias
    if not spreads:
        return _Rows(_project(weight, heads, pixels + positions, bias), None)
    rest = _project(weight, heads, positions + constant, bias)
    return _Rows(_project(weight, heads, pixels), rest)


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
    attn: nn.Module, tokens: Tensor, shared: _SharedLayer, pixels: list[PromptPixels]
) -> Tensor:
    """What tokens ``(B, T, C)`` get from the pixels."""
    queries = _by_head(attn.q_proj(tokens), attn.num_heads)
    queries *= queries.shape[-1] ** -0.5
    chunks = zip(queries.tensor_split(len(pixels)), pixels, strict=True)
    read = [_read_some(attn, chunk, shared, seen) for chunk, seen in chunks]
    return attn.out_proj(torch.cat(read).transpose(1, 2).flatten(2) + shared.value_constant)


def _read_some(
    attn: nn.Module, queries: Tensor, shared: _SharedLayer, pixels: PromptPixels
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
    shared: _SharedLayer,
    norm: _SharedNorm,
    pixels: list[PromptPixels],
) -> list[PromptPixels]:
    """The pixels attend to the tokens ``(B, T, C)`` and are normalised."""
    attn = layer.cross_attn_image_to_token
    keys = _by_head(attn.k_proj(tokens + prompts), attn.num_heads)
    keys *= keys.shape[-1] ** -0.5
    values = F.pad(_by_head(attn.v_proj(tokens), attn.num_heads), (0, 1), value=1.0)
    chunks = (x.tensor_split(len(pixels)) for x in (keys, values))
    return [
        _update_some(layer, *chunk, shared, norm, seen)
        for *chunk, seen in zip(*chunks, pixels, strict=True)
    ]


def _update_some(
    layer: nn.Module,
    keys: Tensor,
    values: Tensor,
    shared: _SharedLayer,
    norm: _SharedNorm,
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
    tokens: Tensor, weight: Tensor, rows: _Rows, pixels: PromptPixels, parts: list[Tensor]
) -> Tensor:
    """Scores of projected tokens ``(B, G, T, D)`` and pixels to be projected: ``(B, G * T, N)``."""
    scores = _times_shared(tokens, rows.pixels).flatten(1, 2)
    onto_pixels = (tokens @ weight.view(tokens.shape[1], -1, weight.shape[1])).flatten(1, 2)
    for weights, vectors in zip(pixels.weights, parts, strict=True):
        scores.baddbmm_(onto_pixels @ vectors.transpose(1, 2), weights)
    if pixels.scale is None:
        return scores
    return torch.addcmul(_times_shared(tokens, rows.rest).flatten(1, 2), scores, pixels.scale)


def _variance(norm: _SharedNorm, pixels: PromptPixels, channels: int) -> Tensor:
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
