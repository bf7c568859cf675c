"""The fast generator against the reference, which is the only judge here."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

pytest.importorskip('segment_anything')

from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.utils import amg

from lab.agreement import agreement
from mmsamdistill.fast_sam import encode as fast_sam_encode
from mmsamdistill.fast_sam.decode import decode_prompts, embed_points
from mmsamdistill.fast_sam.encode import check_image, check_model, encode_images
from mmsamdistill.fast_sam.generator import FastSamMaskGenerator
from mmsamdistill.fast_sam.masks import boxes_of_masks, pack_masks, unpack_masks
from mmsamdistill.fast_sam.results import run_lengths
from mmsamdistill.fast_sam.share import share_image
from mmsamdistill.fast_sam.upscale import MaskResizer, mask_logits
from mmsamdistill.regions.agreement import label_agreement
from mmsamdistill.regions.masks import masks_to_labels

WIDTH = 16
EVERYTHING = {'pred_iou_thresh': -1e9, 'stability_score_thresh': 0.0, 'box_nms_thresh': 0.98}


def build_sam(seed=0, layers=2, window=3, size=64):
    """A tiny Sam with every kind of layer of the real ones: windows that overhang the image,
    global attention, relative positions, more than one decoder layer."""
    grid = size // 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = ImageEncoderViT(
            img_size=size,
            embed_dim=24,
            depth=2,
            num_heads=2,
            out_chans=WIDTH,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=window,
            global_attn_indexes=(1,),
        )
        prompts = PromptEncoder(WIDTH, (grid, grid), (size, size), 4)
        transformer = TwoWayTransformer(layers, WIDTH, num_heads=2, mlp_dim=16)
        decoder = MaskDecoder(transformer_dim=WIDTH, transformer=transformer)
        sam = Sam(encoder, prompts, decoder)
        for name, parameter in sam.named_parameters():
            # Biases too: a forgotten one must show.
            scale = 0.3 if parameter.dim() == 1 else 1.5 * parameter[0].numel() ** -0.5
            if 'norm' not in name:
                nn.init.normal_(parameter, std=scale)
        for network in decoder.output_hypernetworks_mlps:
            network.layers[-1].weight.data.mul_(8)
    return sam.eval().requires_grad_(False)


SAMS = [build_sam(seed) for seed in range(3)]


def photo(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 5, 5)))
    image = nn.functional.interpolate(coarse, (height, width), mode='bicubic')[0]
    return image.clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def between(values, quantile):
    """A threshold near the quantile, in the widest gap there: no rounding crosses it."""
    values = np.unique(values)
    values = np.concatenate([values[:1] - 1, values, values[-1:] + 1])
    start = int(quantile * (len(values) - 2))
    gaps = np.diff(values)[start : start + 5]
    index = start + int(gaps.argmax())
    return float(values[index : index + 2].mean())


def reference_records(sam, image, **options):
    """None where the reference cannot: it fails on crops without any mask."""
    try:
        return SamAutomaticMaskGenerator(sam, **options).generate(image)
    except (RuntimeError, IndexError, ValueError):
        return None


def decode(segmentation):
    if not isinstance(segmentation, dict):
        return segmentation
    if isinstance(segmentation['counts'], list):
        return amg.rle_to_mask(segmentation)
    from pycocotools import mask as coco

    return coco.decode(segmentation).astype(bool)


def reference_logits(sam, image, record):
    left, top, width, height = map(int, record['crop_box'])
    predictor = SamPredictor(sam)
    predictor.set_image(image[top : top + height, left : left + width])
    point = np.array(record['point_coords']) - [left, top]
    logits, scores, _ = predictor.predict(point, np.array([1]), return_logits=True)
    return logits[np.abs(scores - record['predicted_iou']).argmin()]


def assert_differs_only_at_the_cutoff(sam, image, record, mine):
    left, top, width, height = map(int, record['crop_box'])
    logits = reference_logits(sam, image, record)
    different = decode(record['segmentation']) != mine
    inside = different[top : top + height, left : left + width]
    assert inside.sum() == different.sum()
    assert (np.abs(logits[inside] - sam.mask_threshold) < 1e-4).all()


def assert_same_stability(sam, image, record, mine):
    """Within 1e-5, or explained by pixels within 1e-4 of the two shifted cutoffs."""
    if mine != pytest.approx(record['stability_score'], abs=1e-5, nan_ok=True):
        logits = reference_logits(sam, image, record) - sam.mask_threshold
        least = (logits > 1 + 1e-4).sum() / (logits > -1 - 1e-4).sum()
        most = (logits > 1 - 1e-4).sum() / (logits > -1 + 1e-4).sum()
        assert least - 1e-6 <= mine <= most + 1e-6


def assert_same(sam, image, expected, got):
    assert len(got) == len(expected)
    for theirs, ours in zip(expected, got, strict=True):
        assert list(ours) == list(theirs)
        assert type(ours['segmentation']) is type(theirs['segmentation'])
        assert ours['predicted_iou'] == pytest.approx(theirs['predicted_iou'], abs=1e-5)
        assert_same_stability(sam, image, theirs, ours['stability_score'])
        for key in ('point_coords', 'crop_box'):
            assert ours[key] == theirs[key]
        mask = decode(ours['segmentation'])
        if np.array_equal(mask, decode(theirs['segmentation'])):
            assert ours['area'] == theirs['area']
            assert ours['bbox'] == theirs['bbox']
            if isinstance(theirs['segmentation'], dict):
                assert ours['segmentation'] == theirs['segmentation']
        else:
            assert_differs_only_at_the_cutoff(sam, image, theirs, mask)


# The whole generator


OPTIONS = st.fixed_dictionaries(
    {
        'points_per_side': st.integers(1, 5),
        'points_per_batch': st.integers(1, 30),
        'stability_score_thresh': st.sampled_from([0.0, 0.2, 0.5]),
        'box_nms_thresh': st.sampled_from([0.5, 0.9, 1.0]),
        'crop_nms_thresh': st.sampled_from([0.5, 0.9, 1.0]),
        'crop_n_layers': st.integers(0, 2),
        'min_mask_region_area': st.sampled_from([0, 0, 12]),
        'output_mode': st.sampled_from(['binary_mask', 'uncompressed_rle', 'coco_rle']),
    }
)


@pytest.mark.slow
def test_equals_the_reference_whatever_the_options():
    compared = []

    # Without shrinking: a failure would take minutes to become a little simpler.
    @settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(
        number=st.integers(0, len(SAMS) - 1),
        size=st.tuples(st.integers(9, 90), st.integers(9, 90)),
        quantile=st.sampled_from([None, 0.0, 0.3, 0.8]),
        options=OPTIONS,
    )
    def check(number, size, quantile, options):
        sam, image = SAMS[number], photo(*size, seed=number)
        everything = {**EVERYTHING, 'points_per_side': options['points_per_side']}
        everything['box_nms_thresh'] = 1.0
        scores = [
            r['predicted_iou'] for r in FastSamMaskGenerator(sam, **everything).generate(image)
        ]
        options['pred_iou_thresh'] = 0.0 if quantile is None else between(scores, quantile)
        if options['crop_n_layers'] == 1 and options['points_per_side'] > 1:
            options['crop_n_points_downscale_factor'] = 2
        expected = reference_records(sam, image, **options)
        got = FastSamMaskGenerator(sam, **options).generate(image)
        if expected is not None:
            assert_same(sam, image, expected, got)
            compared.append(len(expected))

    check()
    assert sum(number > 2 for number in compared) > 8, compared


@pytest.mark.parametrize('quantile', [0.0, 0.4, 0.7])
@pytest.mark.parametrize('layers', [0, 1])
def test_equals_the_reference_with_many_masks(quantile, layers):
    sam, image = SAMS[1], photo(70, 50)
    options = {**EVERYTHING, 'points_per_side': 6, 'crop_n_layers': layers}
    everything = SamAutomaticMaskGenerator(sam, **options).generate(image)
    if quantile:
        scores = [record['predicted_iou'] for record in everything]
        options['pred_iou_thresh'] = between(scores, quantile)
    expected = SamAutomaticMaskGenerator(sam, **options).generate(image)
    assert len(expected) > 1
    assert (len(expected) < len(everything)) == (quantile > 0)
    assert_same(sam, image, expected, FastSamMaskGenerator(sam, **options).generate(image))


@pytest.mark.parametrize('area', [4, 40])
def test_equals_the_reference_where_masks_lose_small_regions(area):
    sam, image = SAMS[1], photo(70, 50)
    options = {**EVERYTHING, 'points_per_side': 6, 'crop_n_layers': 1}
    options['min_mask_region_area'] = area
    expected = SamAutomaticMaskGenerator(sam, **options).generate(image)
    assert len(expected) > 1
    assert_same(sam, image, expected, FastSamMaskGenerator(sam, **options).generate(image))


def test_equals_the_reference_with_explicit_grids():
    rng = np.random.default_rng(0)
    options = {
        **EVERYTHING,
        'points_per_side': None,
        'point_grids': [rng.uniform(size=(n, 2)) for n in (7, 3)],
        'crop_n_layers': 1,
    }
    image = photo(40, 61)
    expected = SamAutomaticMaskGenerator(SAMS[0], **options).generate(image)
    assert len(expected) > 1
    assert_same(SAMS[0], image, expected, FastSamMaskGenerator(SAMS[0], **options).generate(image))


@pytest.mark.parametrize(('attribute', 'value'), [('mask_threshold', 0.7), ('image_format', 'BGR')])
def test_follows_the_attributes_of_the_model(attribute, value):
    image = photo(50, 60)
    sam = build_sam(1)
    options = {**EVERYTHING, 'points_per_side': 4}
    before = FastSamMaskGenerator(sam, **options).label_map(image)
    setattr(sam, attribute, value)
    expected = SamAutomaticMaskGenerator(sam, **options).generate(image)
    generator = FastSamMaskGenerator(sam, **options)
    assert_same(sam, image, expected, generator.generate(image))
    assert not np.array_equal(generator.label_map(image), before)


@pytest.mark.parametrize('layers', [0, 1])
def test_no_surviving_mask_gives_nothing_rather_than_an_error(layers):
    generator = FastSamMaskGenerator(SAMS[0], 3, pred_iou_thresh=1e9, crop_n_layers=layers)
    image = photo(20, 30)
    assert generator.generate(image) == []
    labels = generator.label_map(image)
    assert labels.shape == (20, 30)
    assert labels.dtype == np.int32
    assert not labels.any()


def test_scores_that_are_not_numbers_are_dropped():
    sam = build_sam()
    sam.mask_decoder.iou_prediction_head.layers[-1].bias.data.fill_(torch.nan)
    assert FastSamMaskGenerator(sam, 2, pred_iou_thresh=0.1).generate(photo(20, 20)) == []


@pytest.mark.parametrize('layers', [0, 1])
def test_label_map_is_the_painted_records(layers):
    options = {**EVERYTHING, 'points_per_side': 5, 'crop_n_layers': layers}
    generator = FastSamMaskGenerator(SAMS[1], **options)
    image = photo(45, 67)
    masks = np.stack([record['segmentation'] for record in generator.generate(image)])
    labels = generator.label_map(image)
    assert labels.dtype == np.int32
    assert len(np.unique(labels)) > 3
    assert np.array_equal(labels, masks_to_labels(masks))


def test_painting_does_not_depend_on_how_many_at_once(monkeypatch):
    generator = FastSamMaskGenerator(SAMS[1], 5, **EVERYTHING)
    image = photo(45, 67)
    expected = generator.label_map(image)
    monkeypatch.setitem(fast_sam_encode._BYTES_AT_ONCE, 'cpu', 1)
    assert np.array_equal(generator.label_map(image), expected)


# Arguments: each changes something

BASE = {**EVERYTHING, 'points_per_side': 4}
CHANGES = [
    {'points_per_side': 6},
    {'pred_iou_thresh': 0.3},
    {'stability_score_thresh': 0.5},
    {'stability_score_offset': 0.3},
    {'box_nms_thresh': 0.3},
    {'crop_n_layers': 1},
    {'min_mask_region_area': 200},
    {'output_mode': 'coco_rle'},
]
CROP_CHANGES = [
    {'crop_nms_thresh': 0.1},
    {'crop_overlap_ratio': 0.1},
    {'crop_n_points_downscale_factor': 2},
]


@pytest.mark.parametrize(
    ('base', 'change'),
    [(BASE, change) for change in CHANGES]
    + [({**BASE, 'crop_n_layers': 1}, change) for change in CROP_CHANGES],
    ids=lambda options: '-'.join(options),
)
def test_every_argument_changes_the_result(base, change):
    image = photo(64, 48)
    before = FastSamMaskGenerator(SAMS[1], **base).generate(image)
    after = FastSamMaskGenerator(SAMS[1], **{**base, **change}).generate(image)
    assert repr(before) != repr(after)


def test_points_per_batch_limits_the_decoder():
    generator = FastSamMaskGenerator(SAMS[0], 4, points_per_batch=5)
    sizes = []
    decode_exactly = generator._decode

    def counted(decoder, image, prompts):
        sizes.append(len(prompts))
        return decode_exactly(decoder, image, prompts)

    generator._decode = counted
    generator.generate(photo(30, 30))
    assert sizes == [5, 5, 5, 1]


def test_images_share_a_pass_of_the_encoder():
    sam = build_sam()
    sizes = []
    sam.image_encoder.patch_embed.register_forward_hook(lambda *call: sizes.append(len(call[1][0])))
    images = [photo(30, 40), photo(50, 20), photo(64, 64)]
    options = {**EVERYTHING, 'points_per_side': 3, 'crop_n_layers': 1}
    one = FastSamMaskGenerator(sam, **options).generate_batch(images)
    assert sizes == [1] * 15
    sizes.clear()
    generator = FastSamMaskGenerator(sam, **options, images_per_batch=4)
    for image, expected, got in zip(images, one, generator.generate_batch(images), strict=True):
        assert_same(sam, image, expected, got)
    assert sizes == [4, 4, 4, 3]
    for image, labels in zip(images, generator.label_maps(images), strict=True):
        assert labels.shape == image.shape[:2]


# Inexact, on request


def test_half_precision_is_used_and_agrees_roughly():
    image = photo(64, 56)
    exact = FastSamMaskGenerator(SAMS[2], **BASE).generate(image)
    half = FastSamMaskGenerator(SAMS[2], **BASE, dtype=torch.bfloat16).generate(image)
    measured = agreement(exact, half)
    assert [r['predicted_iou'] for r in exact] != [r['predicted_iou'] for r in half]
    assert 0.7 < measured['mask_iou'] <= 1.0
    assert measured['label_agreement'] > 0.5


@pytest.mark.slow
def test_compiled_networks_give_the_same_masks():
    image = photo(40, 40)
    torch._dynamo.reset()
    generator = FastSamMaskGenerator(SAMS[0], **BASE, compile='eager')
    exact = FastSamMaskGenerator(SAMS[0], **BASE)
    assert generator._decode is not exact._decode
    assert_same(SAMS[0], image, exact.generate(image), generator.generate(image))


def test_agreement_of_equal_disjoint_and_missing_masks():
    left = {'segmentation': np.array([[True, False, False]])}
    right = {'segmentation': np.array([[False, True, False]])}
    both = {'segmentation': np.array([[True, True, False]])}
    assert agreement([left, right], [right, left])['worst_mask_iou'] == 1.0
    assert agreement([left, right], [right, left])['label_agreement'] == 1.0
    assert agreement([left], [both])['mask_iou'] == 0.5
    assert agreement([left], [both])['label_agreement'] == pytest.approx(2 / 3)
    assert agreement([left], [])['mask_iou'] == 0.0
    assert agreement([left], [])['fast_masks'] == 0.0
    assert agreement([], [left])['mask_iou'] == 0.0
    assert agreement([], []) == {
        'exact_masks': 0.0,
        'fast_masks': 0.0,
        'mask_iou': 1.0,
        'worst_mask_iou': 1.0,
        'label_agreement': 1.0,
    }
    with pytest.raises(ValueError, match='binary_mask'):
        agreement([{'segmentation': {'counts': []}}], [])


def test_label_agreement_ignores_numbers():
    labels = np.array([[0, 1, 1], [2, 2, 1]])
    assert label_agreement(labels, labels * 7 + 3) == 1.0
    assert label_agreement(labels, np.zeros_like(labels)) == 0.5


# The steps


@pytest.mark.parametrize('window', [0, 3, 4])
@pytest.mark.parametrize('budget', [1, 3000, 2**24])
def test_encoder_equals_the_reference(monkeypatch, window, budget):
    monkeypatch.setitem(fast_sam_encode._BYTES_AT_ONCE, 'cpu', budget)
    encoder = build_sam(window=window).image_encoder
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(encode_images(encoder, images), encoder(images))


def test_encoder_without_positions_and_biases():
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        32, 16, 3, 8, 1, 2, use_abs_pos=False, use_rel_pos=False, qkv_bias=False, window_size=2
    )
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(encode_images(encoder, images), encoder(images))


def test_other_encoders_are_called_as_they_are():
    class Other(nn.Module):
        img_size = 64

        def forward(self, images):
            return images.mean((2, 3))[:, :1, None, None].expand(-1, WIDTH, 4, 4)

    sam = build_sam()
    sam.image_encoder = Other()
    image = photo(64, 40)
    expected = SamAutomaticMaskGenerator(sam, **BASE).generate(image)
    assert_same(sam, image, expected, FastSamMaskGenerator(sam, **BASE).generate(image))


@pytest.mark.parametrize('layers', [1, 2, 3])
@pytest.mark.parametrize('budget', [1, 2**24])
def test_decoder_equals_the_reference(monkeypatch, layers, budget):
    monkeypatch.setitem(fast_sam_encode._BYTES_AT_ONCE, 'cpu', budget)
    sam = build_sam(layers=layers)
    embedding = torch.randn(WIDTH, 4, 4, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[3.0, 5.0], [60.0, 1.0], [30.0, 33.0]])
    sparse, dense = sam.prompt_encoder((points[:, None], torch.ones(3, 1)), None, None)
    logits, scores = sam.mask_decoder(
        embedding[None], sam.prompt_encoder.get_dense_pe(), sparse, dense, True
    )
    image = share_image(sam, embedding)
    decoded = decode_prompts(sam.mask_decoder, image, embed_points(sam, points))
    keep = torch.tensor([[True, False, True], [False] * 3, [False, False, True]])
    got = mask_logits(sam.mask_decoder, image, decoded, keep, (4, 4))
    torch.testing.assert_close(decoded.scores, scores, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got, logits[keep], atol=2e-5, rtol=1e-5)


def test_decoder_of_the_real_size_equals_the_reference():
    torch.manual_seed(0)
    prompts = PromptEncoder(256, (64, 64), (1024, 1024), 16)
    transformer = TwoWayTransformer(2, 256, num_heads=8, mlp_dim=2048)
    decoder = MaskDecoder(transformer_dim=256, transformer=transformer, iou_head_hidden_dim=256)
    sam = nn.ModuleDict({'prompt_encoder': prompts, 'mask_decoder': decoder}).eval()
    for norm in (layer.norm4 for layer in transformer.layers):
        nn.init.normal_(norm.weight, mean=1.0, std=0.3)
        nn.init.normal_(norm.bias, std=0.3)
    embedding = torch.randn(256, 64, 64)
    points = torch.tensor([[100.0, 700.0], [512.0, 3.0]])
    with torch.no_grad():
        sparse, dense = prompts((points[:, None], torch.ones(2, 1)), None, None)
        expected = decoder(embedding[None], prompts.get_dense_pe(), sparse, dense, True)
        image = share_image(sam, embedding)
        decoded = decode_prompts(decoder, image, embed_points(sam, points))
        keep = torch.tensor([[True, False, True], [False, True, False]])
        # A wide image: the lower rows of the embedding are padding.
        logits = mask_logits(decoder, image, decoded, keep, (37, 64))
    torch.testing.assert_close(decoded.scores, expected[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, expected[0][keep][:, :148], atol=1e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([32, 64, 128]))
def test_resizing_in_one_step_equals_two(height, width, side):
    scale = side / max(height, width)
    inner = tuple(max(1, int(length * scale + 0.5)) for length in (height, width))
    logits = torch.randn(2, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    resizer = MaskResizer((side // 16,) * 2, side, inner, (height, width))
    sam = SAMS[0]
    sam_size, sam.image_encoder.img_size = sam.image_encoder.img_size, side
    expected = sam.postprocess_masks(logits[None], inner, (height, width))[0]
    sam.image_encoder.img_size = sam_size
    torch.testing.assert_close(resizer(logits), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 3), st.integers(1, 20), st.integers(1, 20), st.sampled_from([0.0, 0.1, 0.5, 1.0])
)
def test_boxes_bits_and_run_lengths_equal_the_reference(count, height, width, density):
    rng = np.random.default_rng(height * 100 + width)
    masks = torch.from_numpy(rng.uniform(size=(count, height, width)) < density)
    bits = pack_masks(masks)
    assert bits.shape == (count, height, -(-width // 8))
    assert torch.equal(unpack_masks(bits, width), masks)
    assert torch.equal(boxes_of_masks(masks), amg.batched_mask_to_box(masks).long())
    expected = amg.mask_to_rle_pytorch(masks)
    assert [run_lengths(mask.numpy()) for mask in masks] == expected


# Refusals


def test_models_of_other_parts_are_refused():
    sam = build_sam()
    check_model(sam)
    sam.mask_decoder.output_upscaling[0] = nn.Conv2d(WIDTH, 4, 1)
    with pytest.raises(TypeError, match='output_upscaling'):
        FastSamMaskGenerator(sam)
    with pytest.raises(TypeError, match='image_encoder'):
        FastSamMaskGenerator(nn.Identity())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'points_per_side': None}, 'points_per_side or point_grids'),
        ({'point_grids': [np.zeros((1, 2))]}, 'points_per_side or point_grids'),
        (
            {'points_per_side': None, 'point_grids': [np.zeros((1, 2))], 'crop_n_layers': 1},
            'crop_n_layers=1',
        ),
        ({'output_mode': 'png'}, 'png'),
        ({'dtype': torch.int8}, 'int8'),
        ({'points_per_batch': 0}, 'points_per_batch'),
        ({'images_per_batch': 0}, 'images_per_batch'),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FastSamMaskGenerator(SAMS[0], **options)


def test_good_options_pass():
    grids, options = [np.zeros((1, 2))], {'output_mode': 'coco_rle', 'dtype': torch.float16}
    FastSamMaskGenerator(SAMS[0], points_per_side=None, point_grids=grids, **options)


@pytest.mark.parametrize(
    ('image', 'error'),
    [
        (np.zeros((4, 4, 3)), TypeError),
        (torch.zeros(4, 4, 3), TypeError),
        (np.zeros((3, 4, 4), np.uint8), ValueError),
        (np.zeros((0, 4, 3), np.uint8), ValueError),
    ],
)
def test_what_is_no_image_is_refused(image, error):
    with pytest.raises(error):
        FastSamMaskGenerator(SAMS[0]).generate(image)
    check_image(photo(4, 4))
