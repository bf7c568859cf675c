"""What keeps a training from running here, looked for before it runs.

Each check yields findings: a verdict (``OK``, ``REMARK`` or ``FAILED``), what was looked at, and
what was found, with the cure if there is something to be cured.
"""

import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmsamdistill.compat import unavailable_editors
from mmsamdistill.data_check import check_data
from mmsamdistill.data_check.files import datasets_of, leaves_of
from mmsamdistill.datasets.region_pipeline import type_name
from mmsamdistill.deploy.cost import peak_memory
from mmsamdistill.deploy.cost_by_part import training_step
from mmsamdistill.deploy.export import build_model
from mmsamdistill.engine import RegionCacheHook
from mmsamdistill.weights.edge_weights import locate_edge_weights
from mmsamdistill.weights.sam_weights import OFFICIAL_FILES

OK, REMARK, FAILED = 'ok', 'remark', 'FAILED'
Finding = tuple[str, str, str]
# Memory is measured on images of this side and scaled: activations are linear in pixels.
_SIDE = 64
# A cascade that needs no weights, for when no config is given.
_SMALL = {
    'type': 'SAMDistillRestorer',
    'restorer': {
        'type': 'BaseEditModel',
        'generator': {
            'type': 'NAFNet', 'img_channels': 3, 'mid_channels': 8,
            'enc_blk_nums': [1], 'middle_blk_num': 1, 'dec_blk_nums': [1],
        },
        'pixel_loss': {'type': 'PSNRLoss'},
        'data_preprocessor': {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [255.0] * 3},
    },
    'spf': {'type': 'SPFHead', 'channels': 8},
    'analyzer': {'type': 'VGGAnalyzer', 'weights': 'random', 'layers': ('relu1_2',)},
}  # fmt: skip


def check_machine() -> Iterator[Finding]:
    """Devices, weights that were found, and the models of MMagic that cannot be used."""
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = _gib(properties.total_memory)
        yield OK, 'device', f'cuda:{index} {properties.name}, {memory}'
    if not torch.cuda.is_available():
        yield REMARK, 'device', f'no GPU that torch {torch.__version__} can use: training is slow'
    yield from _check_weights()
    reasons: dict[str, list[str]] = {}
    for editor, reason in sorted(unavailable_editors().items()):
        reasons.setdefault(reason, []).append(editor)
    for reason, editors in reasons.items():
        yield REMARK, 'MMagic', f'{", ".join(editors)}: not, or not all of it, since {reason}'


def check_data_of(cfg: Config) -> Iterator[Finding]:
    """Folders, pairs, files and region maps, and who made these."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmagic')):
        reports = check_data(cfg)
        for report in reports:
            verdict = FAILED if not report.ok else REMARK if report.remarks else OK
            yield verdict, 'data', str(report)
        training = [report for report in reports if report.split == 'train']
        if not training:
            yield FAILED, 'data', 'the config has no train_dataloader'
        elif all(report.ok or report.regions for report in training):
            yield from _check_caches(cfg)


def check_step(cfg: Config | None, device: torch.device) -> Iterator[Finding]:
    """Take a step of the config's model (or of a small cascade), and say what memory one needs."""
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore' if cfg is None else 'default')  # its random VGG
            model = build_model(cfg or Config({'model': _SMALL})).to(device)
        moved, losses, step = _train_once(model, device)
    except Exception as error:
        yield FAILED, 'step', f'{type(error).__name__}: {error}'
        return
    what = f'{type(model).__name__}, {time.monotonic() - start:.1f} s on {device}: {losses}'
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad or not moved:
        yield FAILED, 'step', f'{what}; {", ".join(bad) or "the student does not learn"}'
        return
    yield OK, 'step', what
    if cfg is not None:
        yield _check_memory(cfg, model, step, device)


def estimate_memory(model: nn.Module, step: Any, batch: int, side: int, device: Any) -> int:
    """Bytes of tensors in a training step, from steps on one and on two small images.

    ``step`` is what :func:`training_step` prepared, taken once already: the optimiser's state is
    there, and stays.
    """
    _, optimizer = step
    state = optimizer.optimizer.state.values()
    tensors = [each for entry in state for each in entry.values() if torch.is_tensor(each)]
    held = [*model.parameters(), *model.buffers(), *tensors]
    standing = sum(each.numel() * each.element_size() for each in held)
    peaks = []
    for count in (1, 2):
        taken, _ = training_step(model, (_SIDE, _SIDE), device, count)
        taken()  # its own optimiser's state
        peaks.append(peak_memory(taken, device))
    image = peaks[1] - peaks[0]
    return int(standing + peaks[0] - image + image * batch * (side / _SIDE) ** 2)


def _check_weights() -> Iterator[Finding]:
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    names = [file.name for file in OFFICIAL_FILES.values()]
    found = [*(folder / name for name in names), *folder.glob('vgg*.pth')]
    there = [str(path) for path in found if path.is_file()]
    try:
        there.append(str(locate_edge_weights()[0]))
    except (FileNotFoundError, ValueError) as error:
        yield REMARK, 'weights', f'edges: {error}'
    if there:
        yield OK, 'weights', ', '.join(there)
    if not any('sam_' in name for name in there):
        yield REMARK, 'weights', f'no SAM in {folder}; a checkpoint elsewhere is given by its path'


def _check_caches(cfg: Config) -> Iterator[Finding]:
    """Let the hook look that will look when the training starts; it knows the cure."""
    leaves = [leaf for each in datasets_of(cfg, 'train') for leaf in leaves_of(each)]
    folders = sorted({leaf.regions for leaf in leaves if leaf.regions})
    if not folders:
        return
    hooks = [dict(each) for each in cfg.get('custom_hooks') or [] if isinstance(each, dict)]
    own = next((each for each in hooks if type_name(each) == 'RegionCacheHook'), {})
    hook = RegionCacheHook(**{key: own[key] for key in own if key not in ('type', 'priority')})
    try:
        loader = SimpleNamespace(dataset=DATASETS.build(cfg.train_dataloader.dataset))
        hook.before_train(SimpleNamespace(cfg=cfg, train_dataloader=loader, model=nn.Linear(1, 1)))
    except (FileNotFoundError, ValueError) as error:
        yield FAILED, 'region cache', str(error)
    else:
        yield OK, 'region cache', f'{", ".join(folders)} fits'


def _train_once(model: nn.Module, device: torch.device) -> tuple[bool, dict[str, float], Any]:
    student = list(getattr(model, 'restorer', model).parameters())
    before = [parameter.detach().clone() for parameter in student]
    step = training_step(model, (_SIDE, _SIDE), device)
    logged = {name: value.detach() for name, value in step[0]().items() if 'loss' in name}
    losses = {name: round(float(value), 4) for name, value in logged.items()}
    pairs = zip(before, student, strict=True)
    return any(not torch.equal(old, new) for old, new in pairs), losses, step


def _check_memory(cfg: Config, model: nn.Module, step: Any, device: torch.device) -> Finding:
    leaves = [leaf for each in datasets_of(cfg, 'train') for leaf in leaves_of(each)]
    side = max((leaf.patch() for leaf in leaves), default=0)
    if not side:
        return REMARK, 'memory', 'no training data that are cropped: nothing to estimate by'
    batch = cfg.train_dataloader.get('batch_size', 1)
    needed = estimate_memory(model, step, batch, side, device)
    text = f'about {_gib(needed)} for a step of {batch} x {side} x {side}, single precision'
    if device.type == 'cuda':
        there = torch.cuda.get_device_properties(device).total_memory
        if needed > 0.9 * there:
            return REMARK, 'memory', f'{text}; the GPU has {_gib(there)}: a smaller batch, or --amp'
    return OK, 'memory', text


def _gib(size: int) -> str:
    return f'{size / 2**30:.2f} GiB'
