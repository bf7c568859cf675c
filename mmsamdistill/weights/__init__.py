"""Restorer checkpoints in the dialects in use, read safely and loaded completely or not at all."""

from mmsamdistill.weights.dialects import (
    adopt_plain_state_dict,
    find_state_dict,
    load_plain,
    read_weights,
    require_same_keys,
    to_plain_state_dict,
)
from mmsamdistill.weights.reading import CheckpointError, load_checkpoint_file, read_checkpoint

__all__ = [
    'CheckpointError', 'adopt_plain_state_dict', 'find_state_dict', 'load_checkpoint_file',
    'load_plain', 'read_checkpoint', 'read_weights', 'require_same_keys', 'to_plain_state_dict',
]  # fmt: skip
