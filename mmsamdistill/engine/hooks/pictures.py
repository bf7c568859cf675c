"""See the distillation while it trains: what is restored, and where the student is taught."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmagic.registry import HOOKS
from mmengine.dataset import pseudo_collate
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmsamdistill.arguments import check_number
from mmsamdistill.cascade.steps import regions_of
from mmsamdistill.engine.hooks.teacher_evaluation import cascade_of
from mmsamdistill.images.finding import sample_path
from mmsamdistill.losses.spd import pixel_gate, region_gate
from mmsamdistill.regions import RegionMap

_BOUNDARY = np.array([255, 235, 0], np.uint8)
_OPEN = np.array([0, 200, 80], np.uint8)
_STRIP = 18  # pixels above each panel for its title


@HOOKS.register_module()
class DistillationPictureHook(Hook):
    """Draw a few validation images after each validation, into MMEngine's visualizer.

    Panels: the degraded image, student, teacher and truth, the regions' boundaries on the student's
    image, and in green where the gate of SPD is open, that is where the student learns from the
    teacher. The visualizer's backends decide where the pictures go: files below the work directory
    (``vis_data/vis_image``), TensorBoard, wandb.

    With cached regions the validation data need regions as well (``RegionDataset``); without them
    the first panels are drawn and the log says why.

    Args:
        indices: Which images of the first validation set. Default: the first two.
        interval: Every how many validations. Default: 1.
        width: Largest width of a panel in pixels; larger images are scaled down. Default: 320.

    Raises:
        ValueError: If ``interval`` or ``width`` is less than 1, or an index is negative.
        TypeError: At the first validation, if the model has no teacher.

    Example:
        In a config::

            custom_hooks = [dict(type='DistillationPictureHook', indices=(0, 7))]
            visualizer = dict(type='Visualizer', vis_backends=[dict(type='TensorboardVisBackend')])
    """

    # After the logger, whose line comes first.
    priority = 'VERY_LOW'

    def __init__(
        self, indices: Sequence[int] = (0, 1), interval: int = 1, width: int = 320
    ) -> None:
        check_number(1, interval=interval, width=width)
        for index in indices:
            check_number(0, whole=True, indices=index)
        self.indices = tuple(indices)
        self.interval = interval
        self.width = width
        self.validations = 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw."""
        self.validations += 1
        if (self.validations - 1) % self.interval or not is_main_process():
            return
        loop = runner.val_loop
        dataset = (getattr(loop, 'dataloaders', None) or [loop.dataloader])[0].dataset
        cascade = cascade_of(runner, type(self).__name__)
        for index in self.indices:
            if index >= len(dataset):
                continue
            name, panels = self._panels(cascade, pseudo_collate([dataset[index]]), runner)
            # A slash would name a folder, which MMEngine's file backend does not make.
            title = f'distillation_{index}_{name}'
            runner.visualizer.add_image(title, draw_row(panels, self.width), runner.iter)

    @torch.no_grad()
    def _panels(
        self, cascade: Any, batch: dict, runner: Runner
    ) -> tuple[str, dict[str, np.ndarray]]:
        data = cascade.data_preprocessor(batch, False)
        inputs, samples = data['inputs'], data['data_samples']
        white = getattr(cascade.data_preprocessor, 'value_range', 255.0)
        restored = cascade(inputs, samples, mode='predict')[0]
        sample = restored.to_dict()
        images = {'degraded': sample['input'], 'student': restored.output.pred_img}
        try:
            images['teacher'] = cascade.predict_teacher(inputs, samples)[0].output.pred_img
            output = cascade.restorer(inputs, samples, mode='tensor')
            regions = regions_of(output, cascade.regions, cascade.data_preprocessor, samples)
        except (KeyError, ValueError) as error:
            runner.logger.warning(f'no teacher in the pictures: {error}')
            regions = None
        if 'gt_img' in sample:
            images['truth'] = sample['gt_img']
        images = {name: image.detach().float().cpu() for name, image in images.items()}
        panels = {name: _picture(image, white) for name, image in images.items()}
        if regions is not None:
            # Without what the preprocessor padded, on the right and at the bottom.
            height, width = images['student'].shape[-2:]
            regions = RegionMap.from_labels(regions.ids[:, :height, :width].cpu())
            panels |= _region_panels(panels, images, regions, cascade)
        return Path(sample_path(sample) or 'image').stem, panels


def draw_row(panels: dict[str, np.ndarray], width: int) -> np.ndarray:
    """Put pictures of one size side by side, each under its title: (H, W, 3) uint8 in RGB."""
    columns = []
    for title, picture in panels.items():
        scale = min(1.0, width / picture.shape[1])
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        # Tiny images are enlarged pixel by pixel: a title needs room.
        times = max(1, 96 // size[0])
        small = small.repeat(times, axis=0).repeat(times, axis=1)
        strip = np.full((_STRIP, small.shape[1], 3), 255, np.uint8)
        cv2.putText(
            strip, title, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA
        )
        column = np.concatenate([strip, small])
        columns += [column, np.full((len(column), 4, 3), 255, np.uint8)]
    return np.ascontiguousarray(np.concatenate(columns[:-1], axis=1))


def _region_panels(
    panels: dict[str, np.ndarray], images: dict[str, Tensor], regions: RegionMap, cascade: Any
) -> dict[str, np.ndarray]:
    """Boundaries on the student's image, and the gate where there is a truth to judge by."""
    edges = regions.boundaries()[0, 0].cpu().numpy()
    found = {'regions': np.where(edges[..., None], _BOUNDARY, panels['student'])}
    if 'truth' in images and cascade.spd_loss is not None:
        student, teacher, truth = (images[name][None] for name in ('student', 'teacher', 'truth'))
        gate = getattr(cascade.spd_loss, 'gate', None)
        opened = torch.ones_like(student[:, :1], dtype=torch.bool)
        if gate == 'region':
            opened = region_gate(student, teacher, truth, regions)
        elif gate is not None:
            opened = pixel_gate(student, teacher, truth)
        grey = panels['student'].mean(axis=2, keepdims=True).repeat(3, axis=2)
        mask = opened[0, 0].numpy()[..., None]
        tinted = np.where(mask, 0.45 * grey + 0.55 * _OPEN, 0.6 * grey)
        found[f'gate open {100 * mask.mean():.0f}%'] = tinted.round().astype(np.uint8)
    return found


def _picture(image: Tensor, white: float) -> np.ndarray:
    """An image of the validation, BGR as MMagic gives it, as RGB pixels; NaN is magenta."""
    pixels = (image * (255 / white)).clamp(0, 255).round()
    pixels = pixels.expand(3, -1, -1).flip(0).permute(1, 2, 0)
    broken = ~torch.isfinite(pixels).all(2, keepdim=True)
    pixels = torch.where(broken, torch.tensor([255.0, 0.0, 255.0]), pixels.nan_to_num())
    return pixels.numpy().astype(np.uint8)
