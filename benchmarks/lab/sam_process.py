"""What one process of ``time_sam.py`` measures: one generator on one image, by stages."""

import argparse
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import nn

from mmsamdistill.weights import read_checkpoint

STAGES = ('encoder', 'tokens', 'upscaling', 'resizing', 'filtering', 'painting/RLE', 'other')
# Share of masks above the predicted-IoU threshold, and of these above the stability threshold.
CASES = {'none': (0.0, 1.0), 'typical': (0.3, 0.5), 'all': (1.0, 1.0)}
# Where other processes want the same cores, one thread's own CPU seconds still can be compared.
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}


class StageClock:
    """Seconds spent in each stage; a stage within a stage is not counted twice."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack = ['other']
        self._now = CLOCKS[args.clock]
        self._since = self._now()
        self._device = args.device

    def _switch(self) -> None:
        if self._device == 'cuda':
            torch.cuda.synchronize()
        now = self._now()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def timed(self, stage: str, function: Callable) -> Callable:
        """The same function, its time booked on ``stage``."""

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            self._stack.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch()
                self._stack.pop()

        return wrapper

    def watch(self, owner: Any, names: str, stage: str) -> None:
        """Book calls of ``owner``'s functions, replacing them for the rest of the process."""
        for name in names.split():
            setattr(owner, name, self.timed(stage, getattr(owner, name)))

    def finish(self) -> dict[str, float]:
        """Stop, and return the seconds by stage."""
        self._switch()
        return {stage: self.seconds[stage] for stage in STAGES}


def build_sam(args: argparse.Namespace) -> nn.Module:
    """The model, trained if a checkpoint is given."""
    from segment_anything import sam_model_registry

    torch.manual_seed(0)
    sam = sam_model_registry[args.model_type]()
    if args.checkpoint is not None:
        sam.load_state_dict(read_checkpoint(args.checkpoint))
    else:
        for layer in sam.mask_decoder.output_upscaling:
            if isinstance(layer, nn.ConvTranspose2d):
                layer.weight.data[:] = layer.weight.data.mean((2, 3), keepdim=True)
    return sam.eval().requires_grad_(False).to(args.device)


def load_image(path: str | None) -> np.ndarray:
    """The image at ``path``, or a photograph of 512 x 512 pixels."""
    from skimage import color, data, io

    image = data.astronaut() if path is None else io.imread(path)
    if image.ndim == 2:
        image = color.gray2rgb(image)
    return np.ascontiguousarray(image[..., :3], dtype=np.uint8)


def watch_reference(clock: StageClock) -> None:
    """Book the reference's functions on their stages."""
    from segment_anything import SamPredictor, automatic_mask_generator, modeling

    clock.watch(SamPredictor, 'set_image', 'encoder')
    clock.watch(modeling.PromptEncoder, 'forward get_dense_pe', 'tokens')
    clock.watch(modeling.TwoWayTransformer, 'forward', 'tokens')
    clock.watch(modeling.MaskDecoder, 'forward', 'upscaling')
    clock.watch(modeling.Sam, 'postprocess_masks', 'resizing')
    filtering = 'calculate_stability_score batched_mask_to_box is_box_near_crop_edge batched_nms'
    clock.watch(automatic_mask_generator, filtering, 'filtering')
    clock.watch(automatic_mask_generator.MaskData, 'filter cat', 'filtering')
    encoding = 'mask_to_rle_pytorch rle_to_mask area_from_rle coco_encode_rle'
    clock.watch(automatic_mask_generator, encoding, 'painting/RLE')


def watch_fast(clock: StageClock, generator: Any) -> None:
    """Book the fast generator's functions on their stages."""
    from mmsamdistill.fast_sam import generator as fast_sam
    from mmsamdistill.fast_sam import masks as fast_sam_masks

    clock.watch(generator, '_embed', 'encoder')
    clock.watch(generator, '_decode', 'tokens')
    clock.watch(fast_sam, 'share_image embed_points', 'tokens')
    clock.watch(fast_sam, 'mask_logits', 'upscaling')
    clock.watch(fast_sam.MaskResizer, '__call__', 'resizing')
    clock.watch(fast_sam, 'find_masks without_duplicates', 'filtering')
    clock.watch(fast_sam_masks, 'pack_masks', 'painting/RLE')
    clock.watch(fast_sam, 'to_records paint_labels', 'painting/RLE')


def probe(args: argparse.Namespace) -> dict[str, Any]:
    """Thresholds of the cases, the machine's peak, and what the stages compute."""
    from mmsamdistill.fast_sam.generator import FastSamMaskGenerator

    generator = FastSamMaskGenerator(
        build_sam(args),
        points_per_side=args.points_per_side,
        pred_iou_thresh=-np.inf,
        stability_score_thresh=0.0,
        stability_score_offset=args.stability_offset,
        box_nms_thresh=1.0,
    )
    masks = next(generator.find([load_image(args.image)]))
    cases = {}
    for name, (share, stable) in CASES.items():
        threshold = float(masks.scores.quantile(1 - share)) if 0 < share < 1 else 0.0
        if share == 0:
            threshold = float(masks.scores.max()) + 1
        elif share == 1:
            threshold = -np.inf
        good = masks.stability[masks.scores > threshold].nan_to_num()
        cases[name] = (threshold, float(good.quantile(1 - stable)) if 0 < stable < 1 else 0.0)
    return {'cases': cases, 'peak': matmul_peak(args.device, CLOCKS[args.clock])}


def matmul_peak(device: str, now: Callable[[], float], size: int = 2048) -> float:
    """Most floating-point operations per second that a float32 matrix product reaches."""
    left = torch.randn(size, size, device=device)
    best = np.inf
    for _ in range(8):
        start = now()
        (left @ left)[0, 0].item()
        best = min(best, now() - start)
    return 2 * size**3 / best


def run_child(args: argparse.Namespace) -> dict[str, Any]:
    """One generator on the image, once: seconds, CPU seconds, peak memory, and its masks."""
    image = load_image(args.image)
    sam = build_sam(args)
    options = {
        'points_per_side': args.points_per_side,
        'points_per_batch': args.points_per_batch,
        'pred_iou_thresh': args.thresholds[0],
        'stability_score_thresh': args.thresholds[1],
        'stability_score_offset': args.stability_offset,
        'box_nms_thresh': args.box_nms_thresh,
    }
    generator = make_generator(args, sam, options)
    if args.device == 'cuda':
        generator.generate(image)
        torch.cuda.reset_peak_memory_stats()
    clock = StageClock(args)
    if args.child == 'reference':
        watch_reference(clock)
    else:
        watch_fast(clock, generator)
    records = generator.generate(image)
    stages = clock.finish()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if args.device == 'cuda':
        peak = torch.cuda.max_memory_allocated()
    np.savez_compressed(
        args.records,
        masks=np.array([record['segmentation'] for record in records], dtype=bool),
        scores=[(record['predicted_iou'], record['stability_score']) for record in records],
    )
    return {
        'seconds': sum(stages.values()),
        'peak_bytes': peak,
        'masks': len(records),
        'stages': stages,
    }


def make_generator(args: argparse.Namespace, sam: nn.Module, options: dict[str, Any]) -> Any:
    """The generator that the child is to measure."""
    from segment_anything import SamAutomaticMaskGenerator

    from mmsamdistill.fast_sam.generator import FastSamMaskGenerator

    if args.child == 'reference':
        return SamAutomaticMaskGenerator(sam, **options)
    if args.child == 'inexact':
        options.update(dtype=getattr(torch, args.dtype), compile=args.compile)
    return FastSamMaskGenerator(sam, **options)
