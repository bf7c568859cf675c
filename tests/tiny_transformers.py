"""Models of transformers' mask generators, tiny, built from the real classes of each family."""

from __future__ import annotations

import torch
from tiny_sam import PATCH, WIDTH
from torch import nn

SIDE = 64
# Sides of the three feature maps that SAM 2 and its successors decode from.
_MAPS = [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2]
_PROMPTS = {'hidden_size': WIDTH, 'image_size': SIDE, 'patch_size': PATCH, 'mask_input_channels': 4}
_DECODER = {
    'hidden_size': WIDTH,
    'mlp_dim': 16,
    'num_hidden_layers': 1,
    'num_attention_heads': 2,
    'iou_head_depth': 2,
    'iou_head_hidden_dim': 16,
}
_VIT = {
    'hidden_size': 16,
    'output_channels': WIDTH,
    'num_hidden_layers': 1,
    'num_attention_heads': 2,
    'image_size': SIDE,
    'patch_size': PATCH,
    'mlp_ratio': 2.0,
    'mlp_dim': 32,
    'window_size': 0,
    'global_attn_indexes': [0],
    'num_pos_feats': WIDTH // 2,
}


def _parts(vision, decoder=None):
    return {
        'vision_config': vision,
        'prompt_encoder_config': _PROMPTS,
        'mask_decoder_config': decoder or _DECODER,
    }


def _sam():
    from transformers import SamConfig, SamModel

    decoder = {**_DECODER, 'hidden_act': 'relu'}
    return SamModel(SamConfig(**_parts(_VIT, decoder))), _padding_processor()


def _sam_hq():
    from transformers import SamHQConfig, SamHQModel

    decoder = {**_DECODER, 'hidden_act': 'relu', 'vit_dim': 16}
    return SamHQModel(SamHQConfig(**_parts(_VIT, decoder))), _padding_processor()


def _sam2():
    from transformers import Sam2Config, Sam2Model

    backbone = {
        'model_type': 'sam2_hiera_det_model',
        'image_size': [SIDE, SIDE],
        'hidden_size': 8,
        'blocks_per_stage': [1, 1, 2, 1],
        'embed_dim_per_stage': [8, 16, 32, 64],
        'num_attention_heads_per_stage': [1, 1, 2, 2],
        'window_size_per_stage': [4, 2, 2, 2],
        'global_attention_blocks': [3],
        'window_positional_embedding_background_size': [2, 2],
    }
    vision = {
        'backbone_config': backbone,
        'backbone_channel_list': [64, 32, 16, 8],
        'backbone_feature_sizes': _MAPS,
        'fpn_hidden_size': WIDTH,
    }
    return Sam2Model(Sam2Config(**_parts(vision))), _stretching_processor()


def _sam3_tracker():
    from transformers import Sam3ImageProcessor, Sam3TrackerConfig, Sam3TrackerModel

    backbone = {
        'model_type': 'sam3_vit_model',
        'hidden_size': 16,
        'intermediate_size': 32,
        'num_hidden_layers': 1,
        'num_attention_heads': 2,
        'image_size': SIDE,
        'patch_size': PATCH,
        'window_size': 2,
        'global_attn_indexes': [0],
        'pretrain_image_size': SIDE,
    }
    vision = {
        'model_type': 'sam3_vision_model',
        'backbone_config': backbone,
        'backbone_feature_sizes': _MAPS,
        'fpn_hidden_size': WIDTH,
    }
    config = Sam3TrackerConfig(**_parts(vision))
    return Sam3TrackerModel(config), Sam3ImageProcessor(size={'height': SIDE, 'width': SIDE})


def _edgetam():
    from transformers import EdgeTamConfig, EdgeTamModel, EdgeTamVisionConfig, TimmWrapperConfig

    backbone = TimmWrapperConfig(
        architecture='repvit_m0_9',
        model_args={'in_chans': 3, 'features_only': True, 'out_indices': [0, 1, 2, 3]},
    )
    vision = EdgeTamVisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[384, 192, 96, 48],
        backbone_feature_sizes=_MAPS,
        fpn_hidden_size=WIDTH,
    )
    return EdgeTamModel(EdgeTamConfig(**_parts(vision))), _stretching_processor()


def _padding_processor():
    from transformers import SamImageProcessor

    padded = {'height': SIDE, 'width': SIDE}
    return SamImageProcessor(size={'longest_edge': SIDE}, pad_size=padded)


def _stretching_processor():
    from transformers import Sam2ImageProcessor

    return Sam2ImageProcessor(size={'height': SIDE, 'width': SIDE})


FAMILIES = {
    'sam': _sam,
    'sam_hq': _sam_hq,
    'sam2': _sam2,
    'sam3_tracker': _sam3_tracker,
    'edgetam': _edgetam,
}


def build(family: str, seed: int = 0) -> tuple[nn.Module, object]:
    """A model with random weights whose masks differ between prompts, and its processor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = FAMILIES[family]()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
        for network in model.mask_decoder.output_hypernetworks_mlps:
            network.proj_out.weight.data.mul_(30)
    return model.eval(), processor


def save(family: str, folder, seed: int = 0):
    """Write a model as the hub holds it."""
    model, processor = build(family, seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


# Names of segment_anything in those of transformers, applied one after the other.
_NAMES = (
    ('image_encoder.blocks.', 'vision_encoder.layers.'),
    ('image_encoder.', 'vision_encoder.'),
    ('patch_embed.proj', 'patch_embed.projection'),
    ('neck.0.', 'neck.conv1.'),
    ('neck.1.', 'neck.layer_norm1.'),
    ('neck.2.', 'neck.conv2.'),
    ('neck.3.', 'neck.layer_norm2.'),
    ('.norm', '.layer_norm'),
    ('mask_downscaling.0.', 'mask_embed.conv1.'),
    ('mask_downscaling.1.', 'mask_embed.layer_norm1.'),
    ('mask_downscaling.3.', 'mask_embed.conv2.'),
    ('mask_downscaling.4.', 'mask_embed.layer_norm2.'),
    ('mask_downscaling.6.', 'mask_embed.conv3.'),
    ('point_embeddings', 'point_embed'),
    ('pe_layer.positional_encoding_gaussian_matrix', 'shared_embedding.positional_embedding'),
    ('output_upscaling.0.', 'upscale_conv1.'),
    ('output_upscaling.1.', 'upscale_layer_norm.'),
    ('output_upscaling.3.', 'upscale_conv2.'),
    ('iou_prediction_head.layers.0.', 'iou_prediction_head.proj_in.'),
    ('iou_prediction_head.layers.1.', 'iou_prediction_head.proj_out.'),
)


def in_transformers_layout(state):
    """Weights of a tiny ``segment_anything`` in transformers' names."""
    renamed = {}
    for name, tensor in state.items():
        for ours, theirs in _NAMES:
            name = name.replace(ours, theirs)
        if 'hypernetworks' in name:
            for ours, theirs in (('.0.', 'proj_in'), ('.1.', 'layers.0'), ('.2.', 'proj_out')):
                name = name.replace(f'.layers{ours}', f'.{theirs}.')
        if 'pixel_' not in name:
            renamed[name] = tensor
    shared = renamed['prompt_encoder.shared_embedding.positional_embedding']
    return {**renamed, 'shared_image_embedding.positional_embedding': shared}
