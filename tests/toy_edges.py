"""An edge network's file with random weights, and what it computes, written down independently."""

import numpy as np
import torch
from torch.nn import functional as F

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
BGR_MEAN = (104.00699, 116.66877, 122.67892)


def random_arrays(seed=0, widths=None):
    """Arrays by their keys in the file, in TensorFlow's layout."""
    draw = np.random.default_rng(seed)
    arrays = {}

    def convolution(key, shape, scale):
        arrays[f'{key}/vars/0'] = draw.normal(0, scale, shape).astype(np.float32)
        arrays[f'{key}/vars/1'] = draw.normal(0, 0.1, shape[-1:]).astype(np.float32)

    channels = 3
    for block, (count, width) in enumerate(BLOCKS, 1):
        width = widths[block - 1] if widths else width
        for index in range(count):
            name = f'block{block}/layers/conv2d' + (f'_{index}' if index else '')
            gain = 0.01 if channels == 3 else 1.0
            convolution(name, (3, 3, channels, width), gain * (2 / (9 * channels)) ** 0.5)
            channels = width
        convolution(f'dsn{block}', (1, 1, width, 1), width**-0.5)
    convolution('fuse', (1, 1, 5, 1), 0.5)
    return arrays


def write_arrays(path, arrays):
    """Write them as Keras does."""
    import h5py

    with h5py.File(path, 'w') as file:
        for key, value in arrays.items():
            file[key] = value
    return path


def transcription(arrays, images):
    """The network as its author wrote it: features of each block, and the edges.

    In TensorFlow's terms: 'same' padding, pooling with the last row and column repeated by nobody
    (windows are cut off at the border), BGR of 0 to 255 minus the mean.
    """

    def convolve(x, key):
        kernel = torch.from_numpy(arrays[f'{key}/vars/0']).permute(3, 2, 0, 1)
        bias = torch.from_numpy(arrays[f'{key}/vars/1'])
        return F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)

    x = images.flip(1) * 255 - torch.tensor(BGR_MEAN).view(1, 3, 1, 1)
    features, sides = [], []
    for block, (count, _) in enumerate(BLOCKS, 1):
        if block > 1:
            height, width = x.shape[-2:]
            padded = F.pad(x, (0, width % 2, 0, height % 2), value=float('-inf'))
            x = F.max_pool2d(padded, 2)
        for index in range(count):
            name = f'block{block}/layers/conv2d' + (f'_{index}' if index else '')
            x = convolve(x, name).relu()
        features.append(x)
        sides.append(F.interpolate(convolve(x, f'dsn{block}'), images.shape[-2:], mode='bilinear'))
    return features, convolve(torch.cat(sides, 1), 'fuse').squeeze(1).sigmoid()
