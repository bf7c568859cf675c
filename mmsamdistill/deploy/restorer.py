"""Restoring images with a trained model, exactly as its config tests it."""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn import functional as F

from mmsamdistill.arguments import check_choice, check_number
from mmsamdistill.command_line import read_config
from mmsamdistill.deploy import settings, tiling
from mmsamdistill.deploy.export import build_model, plain_config
from mmsamdistill.deploy.kinds import Levels, describe, from_levels, to_levels
from mmsamdistill.value_range import require_restorable, value_range
from mmsamdistill.weights import load_plain

# What the padding and the windows of every network in use fit into.
_WORKING_SIZE = 64
# Pixels that are restored without asking first how much memory is free.
_SURELY_FIT = 1 << 22


class Restorer:
    """Restore images with the plain restorer of a config.

    Of a distilled config and checkpoint, the student is used and nothing else is built. Images go
    through the model's own ``data_preprocessor`` and ``mode='predict'`` in the channel order of the
    config's test pipeline, so that no second opinion on either exists.

    Args:
        config: A whole config, plain or distilled, or its path.
        checkpoint: Weights in any dialect.
        tile: Side in pixels of the windows that large images are restored in, see
            :func:`~mmsamdistill.deploy.tiling.restore_tiled`; 'auto': whole images where they fit
            into memory, else the largest windows that do; None: whole images. What runs out of
            memory is tried again in smaller windows in any case.
        overlap: Overlap of windows in pixels. Default: 64.
        device: Where to compute; None: CUDA if there is any.
        ema: Take averaged weights if there are any; else the raw ones.
        amp: Compute in half precision where the network allows it.
        local: Window in pixels of local statistics (TLC); None: as the config says; 0: none.

    Attributes:
        remarks: What was done otherwise than asked for, each once.

    Raises:
        ValueError: If the weights do not fit, no pipeline of the config loads images, the device
            is not there, or tile and overlap are out of range.
        FileNotFoundError: If config or checkpoint does not exist.

    Example::

        from mmsamdistill.deploy import Restorer
        restorer = Restorer('config.py', 'checkpoint.pth')
        restored = restorer(PIL.Image.open('photo.jpg'))
    """

    def __init__(
        self,
        config: Config | str | Path,
        checkpoint: str | Path,
        tile: int | str | None = None,
        overlap: int | None = None,
        device: str | None = None,
        ema: bool = True,
        amp: bool = False,
        local: int | None = None,
    ) -> None:
        if overlap is not None and tile is None:
            raise ValueError(f'overlap={overlap} means nothing without tiles: give a tile, too')
        if not isinstance(tile, int) and tile not in (None, 'auto'):
            raise ValueError(f"tile={tile!r} is neither a number of pixels nor 'auto'")
        self.overlap = tiling.DEFAULT_OVERLAP if overlap is None else overlap
        tiling.check_tile(
            tile if isinstance(tile, int) else tiling.SMALLEST_TILE + self.overlap, self.overlap
        )
        cfg = config if isinstance(config, Config) else read_config(config)
        cfg = plain_config(cfg)
        settings.set_local_window(cfg, local)
        self.tile, self.amp = tile, amp
        self.device = settings.find_device(device)
        self.remarks: list[str] = []
        self.model = build_model(cfg)
        load_plain(self.model, checkpoint, ema)
        self.model.eval()
        self.channels = settings.image_channels(self.model)
        self.window = settings.local_window(cfg)
        settings.apply_local_window(self.model, self.window, self.channels)
        self.model.to(self.device)
        self._largest: int | None = None
        self._prepare(cfg)

    def __call__(self, images: Any, channel_order: str = 'rgb', batch_size: int = 1) -> Any:
        """Restore an image or several.

        ======================  ==============================================  ==================
        kind                    shape                                           range
        ======================  ==============================================  ==================
        ``PIL.Image``           any mode of 8 bits, or ``I;16``                  its own
        ``numpy.ndarray``       (H, W), (H, W, C)                               by its type: uint8
        ``torch.Tensor``        (C, H, W), (N, C, H, W)                         0..255, uint16
                                                                                0..65535, floats
                                                                                0..1
        list or tuple of these                                                  each its own
        ======================  ==============================================  ==================

        Colours are RGB unless ``channel_order`` says otherwise; a second or fourth channel is
        transparency and stays as it is. Grey images stay grey in a colour restorer, colours are
        restored one by one in a grey one.

        Args:
            images: The image or images.
            channel_order: 'rgb', or 'bgr' for arrays as OpenCV reads them.
            batch_size: How many neighbours of equal size are restored at once. Default: 1.

        Returns:
            The same kind, shape, type and order.

        Raises:
            TypeError: If an image is of no such kind.
            ValueError: If its shape or range is, or ``batch_size`` is less than 1.
            FloatingPointError: If the network's result is not finite.
        """
        check_choice(('rgb', 'bgr'), channel_order=channel_order)
        check_number(1, batch_size=batch_size)
        if not isinstance(images, (list, tuple)):
            return self._several([images], channel_order, 1)[0]
        return type(images)(self._several(images, channel_order, batch_size))

    def _several(self, images: Sequence[Any], order: str, batch_size: int) -> list[Any]:
        """Restore equal ones among neighbours together."""
        restored: list[Any] = []
        sources = [to_levels(image, self.channels, order) for image in images]
        for _, run in groupby(zip(images, sources, strict=True), lambda pair: describe(pair[1])):
            group = list(run)
            for start in range(0, len(group), batch_size):
                part = group[start : start + batch_size]
                colours = self._restore_levels([source for _, source in part])
                restored += [
                    from_levels(image, source, result, order)
                    for (image, source), result in zip(part, colours, strict=True)
                ]
        return restored

    def _restore_levels(self, sources: list[Levels]) -> list[Tensor]:
        """Restore stacks of equal images; gives each in its own range, not yet rounded."""
        if sources[0].colours[0, 0].numel() > _SURELY_FIT:
            tiling.require_memory(sources[0].colours)
        scale = self.white / sources[0].white
        colours = torch.cat([source.colours for source in sources]).float() * scale
        count, given = len(colours), colours.shape[1]
        if given == 1 and self.channels > 1:
            colours = colours.expand(-1, self.channels, -1, -1)
        elif given != self.channels:
            # One by one through a restorer of one channel.
            colours = colours.flatten(0, 1)[:, None]
        restored = self._in_windows(colours) / scale
        if given == 1:
            restored = restored.mean(1, keepdim=True)
        restored = restored.reshape(count, given, *restored.shape[-2:])
        return list(restored.split([len(source.colours) for source in sources]))

    def _in_windows(self, images: Tensor) -> Tensor:
        """Restore at once or in windows, in smaller ones when memory runs out."""
        tile = self._tile_for(images)
        while True:
            try:
                if tile is None:
                    return self._predict(images)
                overlap = min(self.overlap, (tile - 1) // tiling.GRID * tiling.GRID)
                return tiling.restore_tiled(self._predict, images, tile, overlap)
            except (RuntimeError, MemoryError) as error:
                side = max(images.shape[-2:]) if tile is None else tile
                smaller = side // 2 // tiling.GRID * tiling.GRID
                if not tiling.is_out_of_memory(error) or smaller < tiling.SMALLEST_TILE:
                    raise
            # Outside of the handler, which holds what could not be computed.
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()
            tile = self._largest = smaller
            self._remark('some images ran out of memory at once and were restored in windows')

    def _tile_for(self, images: Tensor) -> int | None:
        if isinstance(self.tile, int):
            return self.tile
        pixels = images.shape[0] * images.shape[-2] * images.shape[-1]
        # A system kills what asks for too much of its memory instead of refusing it.
        unasked = self.tile is None
        if unasked and (self.device.type != 'cpu' or pixels <= _SURELY_FIT):
            return None
        if self._largest is None:
            self._largest = tiling.largest_tile(
                lambda side: self._predict(torch.zeros(1, self.channels, side, side)), self.device
            )
        if pixels <= self._largest**2 * (2 if unasked else 1):
            return None
        self._remark('some images did not fit into memory at once and were restored in windows')
        return self._largest

    def _predict(self, images: Tensor) -> Tensor:
        """Restore whole images; such as are too small for the network on a larger canvas."""
        height, width = images.shape[-2:]
        below, right = (max(0, _WORKING_SIZE - side) for side in (height, width))
        try:
            return self._step(images)
        except RuntimeError as error:
            if tiling.is_out_of_memory(error) or not below + right:
                raise
        canvas = F.pad(images, (0, right, 0, below), 'replicate')
        return self._step(canvas)[..., :height, :width]

    @torch.no_grad()
    def _step(self, images: Tensor) -> Tensor:
        flip = self.order == 'bgr' and self.channels == 3
        batch: dict[str, list] = {'inputs': [], 'data_samples': []}
        for image in images.flip(1) if flip else images:
            pixels = image.permute(1, 2, 0).contiguous().numpy()
            # What the config's loading step gives for such an image.
            loaded = {
                'img': pixels,
                'img_path': '',
                # The host swaps colours, and can swap three or four channels only.
                'img_channel_order': self.order if self.channels == 3 else 'bgr',
                'img_color_type': self.color_type,
                'ori_img_shape': pixels.shape,
            }
            sample = self._pack(loaded)
            batch['inputs'].append(sample['inputs'])
            batch['data_samples'].append(sample['data_samples'])
        half = torch.float16 if self.device.type == 'cuda' else torch.bfloat16
        with torch.autocast(self.device.type, half, enabled=self.amp):
            found = self.model.test_step(batch)
        restored = torch.stack([each.output.pred_img for each in found]).float().cpu()
        if restored.shape[-2:] != images.shape[-2:]:
            raise ValueError(
                f'the network made {tuple(restored.shape[-2:])} pixels of '
                f'{tuple(images.shape[-2:])}: it must cut off what it pads'
            )
        # MMagic gives colours in OpenCV's order, whatever the network saw.
        return restored.flip(1) if self.channels == 3 else restored

    def _prepare(self, cfg: Config) -> None:
        step = settings.loading_step(cfg)
        self.order = step.get('channel_order', 'bgr')
        self.color_type = step.get('color_type', 'color')
        # There is no truth to preprocess, which the host would warn of.
        self.model.data_preprocessor.data_keys = None
        try:
            self.white = value_range(self.model.data_preprocessor)
        except ValueError:
            self.white = 255.0
            self._remark('mean and std do not tell which value is white: 255 is taken for it')
        require_restorable(self.white)
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmagic')):
            self._pack: Callable = TRANSFORMS.build({'type': 'PackInputs'})
        network = getattr(self.model, 'generator', self.model)
        network.register_forward_hook(_require_finite)

    def _remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)


def _require_finite(network: nn.Module, inputs: Any, output: Any) -> None:
    """Stop before the host cuts infinite values to white and NaN becomes black."""
    if isinstance(output, Tensor) and not torch.isfinite(output).all():
        raise FloatingPointError(
            f'{type(network).__name__} gave NaN or infinite values: its weights or amp do not suit '
            'this image'
        )
