# ruff: noqa: E501
"""Small faults, each put into a copy of the package, and the tests that have to notice them.

    python tests/mutations.py [WORD ...] [--jobs N]

WORD chooses by file, text or tests. Each line of the output says which test noticed a fault first,
that it SURVIVED, or that its text is NOT FOUND: the code has changed, so the list below has to.
The exit status is 1 unless all were noticed. A fault that no test notices is a test to be written.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('mmsamdistill', 'tests', 'benchmarks', 'configs', 'tools')
COPIED = (*FOLDERS, 'mmsamdistill_command.py', 'pyproject.toml', 'setup.py')
# What every test imports: read once, here, for all the processes that are forked from this one.
HEAVY = ('cv2', 'mmengine.runner', 'pytest', 'skimage.segmentation', 'torch', 'torchvision')


class Mutation(NamedTuple):
    """A fault: in this file these words become those, and one of these tests fails."""

    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation(*line)
    for line in [
        # Losses
        ('losses/spd.py', 'return teacher_error < student_error', 'return teacher_error <= student_error', 'test_losses/test_gates.py'),
        ('losses/spd.py', 'return teacher_error < student_error', 'return teacher_error > student_error', 'test_losses/test_gates.py'),
        ('losses/spd.py', '(teacher_error < student_error).to', '(teacher_error <= student_error).to', 'test_losses/test_gates.py'),
        ('losses/spd.py', 'regions.pool((student - gt).square()', 'regions.pool((student - gt).abs()', 'test_losses/test_gates.py'),
        ('losses/spd.py', 'torch.where(inside, closer, pixel_gate(student, teacher, gt))', 'closer', 'test_losses/test_spd.py'),
        ('losses/spd.py', 'widen(teacher.detach())', 'widen(teacher)', 'test_losses/test_spd.py test_cascade/test_restorer.py'),
        ('losses/spd.py', 'torch.where(is_open, teacher, student)', 'torch.where(is_open, student, teacher)', 'test_losses/test_spd.py'),
        ('losses/spd.py', 'return self.loss_weight * self._distance', 'return self._distance', 'test_losses/test_spd.py'),
        ('losses/spd.py', 'return 0.5 * (scale', 'return (scale', 'test_losses/test_distances.py'),
        ('losses/spd.py', '0.5 * (scale * (student - target).square()', '0.5 * (scale * (student - target).abs()', 'test_losses/test_distances.py'),
        ('losses/spd.py', 'torch.where(error > eps, scale, torch.zeros_like(scale))', 'scale', 'test_losses/test_distances.py'),
        ('losses/sgr.py', 'widen(theirs.detach())', 'widen(theirs)', 'test_losses/test_sgr.py'),
        ('losses/sgr.py', 'self.loss_weight * total / sum(weights)', 'self.loss_weight * total / len(weights)', 'test_losses/test_sgr.py'),
        ('losses/sgr.py', '(image_index == images) & (mass >= min_mass)', 'mass >= min_mass', 'test_losses/test_sgr.py'),
        ('losses/sgr.py', 'difference.sum((1, 2)) - difference.diagonal(dim1=1, dim2=2).sum(1)', 'difference.sum((1, 2))', 'test_losses/test_sgr.py'),
        ('losses/sgr.py', 'ranked.topk(most, dim=1)', 'ranked.topk(most, dim=1, largest=False)', 'test_losses/test_sgr.py'),
        ('cache/map_file.py', '(height if whole else stop)', 'height', 'test_cache/test_label_png.py'),
        ('datasets/transforms/region_crop.py', 'dict if alone else copy.deepcopy', 'dict', 'test_datasets/test_region_crop.py'),
        ('sources/alternating.py', '< self.asked_every', '== 0', 'test_sources/test_alternating.py'),
        ('losses/sgr.py', 'own = prototypes[rows].masked_fill(~counted.unsqueeze(2), 0)', 'own = prototypes[rows]', 'test_losses/test_sgr.py'),
        ('losses/sgr.py', '+ eps).rsqrt()', ').rsqrt()', 'test_losses/test_sgr.py'),
        ('losses/spd.py', 'scale[labelled] = known', 'pass', 'test_cascade/test_truth.py'),
        ('losses/spd.py', 'known.mean().expand', 'known.max().expand', 'test_cascade/test_truth.py'),
        # The cascade
        ('cascade/restorer.py', 'restored.detach() if self.detach_cascade else restored', 'restored', 'test_cascade/test_restorer.py'),
        ('cascade/restorer.py', 'restored.detach() if self.detach_cascade else restored', 'restored.detach()', 'test_cascade/test_restorer.py'),
        ('cascade/restorer.py', "(seen.features, shown.features)", "(shown.features, seen.features)", 'test_cascade/test_wiring.py'),
        ('cascade/restorer.py', 'regions_of(restored, self.regions, self.data_preprocessor, data_samples)\n            shielded', 'regions_of(inputs, self.regions, self.data_preprocessor, data_samples)\n            shielded', 'test_cascade/test_wiring.py'),
        ('cascade/restorer.py', 'of_images([restored, target, truth], labelled)', 'of_images([restored, restored, truth], labelled)', 'test_cascade/test_wiring.py'),
        ('cascade/restorer.py', 'warmup_factor(self.spd_warmup) * loss', 'loss', 'test_cascade/test_restorer.py'),
        ('cascade/restorer.py', 'warmup_factor(self.sgr_warmup) * ', '', 'test_cascade/test_restorer.py'),
        ('cascade/restorer.py', "image = restored if self.teacher_input == 'restored' else inputs", 'image = restored', 'test_cascade/test_restorer.py'),
        ('cascade/restorer.py', 'return image if spf is None else spf(image, regions)', 'return image', 'test_cascade/test_restorer.py'),
        ('cascade/restorer.py', 'self._fixed_parts().requires_grad_(False)', 'pass', 'test_cascade/test_wiring.py'),
        ('losses/spd.py', 'count * span * math.sqrt', 'span * math.sqrt', 'test_losses/test_distances.py'),
        ('losses/spd.py', 'count * span * math.sqrt', 'count * math.sqrt', 'test_losses/test_distances.py'),
        ('losses/spd.py', 'is_open = is_open | ~labelled', 'is_open = is_open & labelled', 'test_cascade/test_truth.py'),
        ('cascade/averaged.py', '.clamp_min(self.momentum)', '', 'test_cascade/test_averaged.py'),
        ('cascade/averaged.py', 'if average.trained_by(optimiser):', 'if True:', 'test_cascade/test_averaged.py'),
        ('cascade/averaged.py', 'module.register_buffer(name, parameter.detach())', 'module.register_parameter(name, parameter)', 'test_cascade/test_averaged.py'),
        ('cascade/averaged.py', 'return super().train(False)', 'return super().train(mode)', 'test_cascade/test_averaged.py'),
        ('cascade/restorer.py', 'self._fuse(target_spf, inputs, restored, regions)', 'self._fuse(self.spf, inputs, restored, regions)', 'test_cascade/test_averaged.py'),
        ('cascade/restorer.py', '        spf, teacher = self._target_networks()', '        spf, teacher = self.spf, self.teacher', 'test_cascade/test_averaged.py'),
        ('cascade/restorer.py', 'self.average.restart()', 'pass', 'test_cascade/test_averaged.py'),
        ('cascade/restorer.py', 'len(restored), self._span)', 'len(restored))', 'test_cascade/test_restorer.py'),
        ('cascade/building.py', 'return {**complete, **_average_of(complete, cascade)}', 'return complete', 'test_cascade/test_averaged.py'),
        ('cascade/steps.py', 'torch.where(labelled.view(-1, 1, 1, 1), truth, image.detach())', 'truth', 'test_cascade/test_truth.py'),
        ('cascade/steps.py', '(iteration - begin) / (end - begin)', 'iteration / end', 'test_cascade/test_restorer.py'),
        ('cascade/building.py', 'complete.update(teacher)', 'pass', 'test_cascade/test_restorer.py'),
        ('cascade/image_range.py', 'return images.flip(1)', 'return images', 'test_cascade/test_image_range.py test_cascade/test_restorer.py'),
        ('cascade/image_range.py', 'images * std + mean', 'images * std', 'test_cascade/test_image_range.py test_cascade/test_restorer.py'),
        ('cascade/steps.py', '*others, deployed = stages', 'deployed, *others = stages', 'test_cascade/test_stages.py'),
        ('cascade/spf_head.py', 'nn.init.zeros_(self.tail.weight)', 'pass', 'test_cascade/test_spf_head.py'),
        ('cascade/spf_head.py', 'return image + self.tail(x)', 'return self.tail(x)', 'test_cascade/test_spf_head.py'),
        ('cascade/spf_head.py', 'prior = prior + self.context(x, regions)', 'pass', 'test_cascade/test_spf_head.py'),
        ('cascade/spf_head.py', 'mean - image', 'image - mean', 'test_cascade/test_spf_head.py'),
        ('cascade/spf_head.py', 'sizes.rsqrt()', 'sizes.sqrt()', 'test_cascade/test_spf_head.py'),
        ('cascade/feature_tap.py', 'self._handles.pop().remove()', 'self._handles.pop()', 'test_cascade/test_feature_tap.py'),
        ('cascade/analyzer.py', '- self.mean) / self.std', '- self.mean)', 'test_cascade/test_analyzer.py'),
        # Regions and their operations
        ('regions/compaction.py', 'offsets = torch.arange(num_images, device=labels.device).view(-1, 1, 1) * span', 'offsets = torch.zeros(num_images, 1, 1, dtype=torch.long)', 'test_regions/test_region_map.py'),
        ('regions/compaction.py', 'table[:, 0] = 0', 'pass', 'test_regions/test_region_map.py'),
        ('regions/masks.py', 'areas.argsort(descending=True', 'areas.argsort(descending=False', 'test_regions'),
        ('regions/region_map.py', 'marked[:, :, :-1] |= across', 'pass', 'test_regions/test_region_map.py'),
        ('regions/region_map.py', 'totals / self._counts.to(rows.dtype)', 'totals', 'test_regions/test_region_map.py'),
        ('regions/membership.py', 'counts.float() / cell_pixels[cell]', 'counts.float()', 'test_regions'),
        ('regions/membership.py', '* rows // height', '* rows // width', 'test_regions'),
        # Sources
        ('sources/controls.py', '_draw(1, len(labels) - 1)', '0', 'test_sources/test_sources.py'),
        ('sources/controls.py', 'moved = torch.stack([_roll_away(image) for image in labels])', 'moved = labels', 'test_sources/test_sources.py'),
        ('sources/alternating.py', '(iteration - self.offset) % self.interval', 'iteration % self.interval', 'test_sources/test_alternating.py'),
        ('sources/alternating.py', 'not self.training or iteration is None', 'iteration is None', 'test_sources/test_alternating.py'),
        # The cache
        ('images/decoding.py', 'np.ascontiguousarray(pixels[..., ::-1])', 'pixels', 'test_cache/test_channel_order.py'),
        ('cache/check.py', '.float() / 255', '.float()', 'test_cache/test_extract.py test_cache/test_channel_order.py'),
        ('cache/extract.py', 'list(keys[index::count])', 'list(keys[::count])', 'test_cache/test_extract.py'),
        ('cache/map_file.py', 'bits = 8 if labels.max() < 256 else 16', 'bits = 8', 'test_cache'),
        ('images/header.py', 'if zlib.crc32(kind + content) !=', 'if False and zlib.crc32(kind + content) !=', 'test_cache test_images'),
        ('cache/map_file.py', "16: '>u2'", "16: '<u2'", 'test_cache/test_label_png.py'),
        ('cache/check.py', 'self.stale or self.damaged or self.different', 'self.stale or self.different', 'test_cache/test_store.py'),
        ('cache/check.py', "known.get('image_sha256') == wanted else", 'known else', 'test_engine/test_region_cache.py'),
        ('../tools/extract_regions.py', 'args.shard or rank_of_torchrun()', 'args.shard', 'test_tools/test_extract_regions.py'),
        # Data
        ('datasets/region_pipeline.py', "    'RandomNoise',", "    'RandomNoise',\n    'RandomAffine',", 'test_datasets/test_known_transforms.py'),
        ('datasets/region_pipeline.py', "return [self._with_key(transform, BY_KEYS[name])]", 'return [transform]', 'test_datasets/test_region_dataset.py'),
        ('datasets/region_pipeline.py', "{**pad, 'mode': 'constant'}", "{**pad, 'mode': 'edge'}", 'test_datasets/test_region_transforms.py'),
        ('datasets/transforms/regions.py', '_set_random_state(state)\n    try', 'pass\n    try', 'test_datasets/test_region_transforms.py'),
        ('datasets/transforms/regions.py', '_set_random_state(present)', 'pass', 'test_datasets/test_region_transforms.py'),
        ('datasets/transforms/regions.py', 'if labels.shape[:2] != size:', 'if False:', 'test_datasets/test_region_transforms.py'),
        ('datasets/transforms/regions.py', 'if not self.deferred or turn != 1:', 'if not self.deferred:', 'test_datasets/test_region_transforms.py'),
        ('datasets/mixed_sampler.py', 'seed + number', 'seed', 'test_datasets/test_mixed_sampler.py'),
        ('datasets/transforms/region_crop.py', 'if score > most:', 'if score < most or best is None:', 'test_datasets/test_region_crop.py'),
        ('datasets/transforms/region_mix.py', 'truth + strengths[region_of]', 'degraded + strengths[region_of]', 'test_datasets/test_region_mix.py'),
        ('datasets/transforms/pad.py', 'mode=self.mode)\n', "mode='constant')\n", 'test_datasets/test_pad.py'),
        ('datasets/transforms/degradations.py', 'np.rint(image).clip(0, 255)', 'image.clip(0, 255)', 'test_datasets/test_degradations.py'),
        # Training
        ('engine/batches.py', 'value[..., top : top + size, left : left + size]', 'value[..., left : left + size, top : top + size]', 'test_engine/test_batches.py'),
        ('engine/batches.py', 'pairs[(first == 0) | (second == 0)] = 0', 'pairs[first == 0] = 0', 'test_engine/test_batches.py'),
        ('engine/batches.py', '(int(second.max()) + 1)', '(int(first.max()) + 1)', 'test_engine/test_batches.py'),
        ('engine/batches.py', '[samples[index] for index in indices]', 'samples[: len(indices)]', 'test_engine/test_batches.py'),
        ('engine/batches.py', '[runner.seed, get_rank(), runner.iter, key]', '[runner.seed, get_rank(), key]', 'test_engine/test_mixup.py test_engine/test_batches.py'),
        ('engine/optim.py', "(_clipper(self.teacher_clip), others, 'grad_norm_teacher')", "(_clipper(self.student_clip), others, 'grad_norm_teacher')", 'test_engine/test_optim.py'),
        ('engine/hooks/mixup.py', '(1 - float(weight)) * partner', 'float(weight) * partner', 'test_engine/test_mixup.py'),
        ('engine/hooks/progressive_patch.py', 'bisect.bisect_right', 'bisect.bisect_left', 'test_engine/test_progressive_patch.py'),
        ('frozen.py', 'network.eval().requires_grad_(False)', 'network.eval()', 'test_frozen.py'),
        # Weights
        ('weights/dialects.py', "_WRAPPER = 'module.'", "_WRAPPER = 'modul.'", 'test_weights/test_dialects.py'),
        ('weights/dialects.py', "_AVERAGED = ('params_ema', 'params-ema')", "_AVERAGED = ('params_ema',)", 'test_weights/test_dialects.py'),
        ('weights/dialects.py', "{_NETWORK + key: value", "{key: value", 'test_weights/test_dialects.py test_weights/test_loading.py'),
        ('weights/dialects.py', 'unexpected = [key for key in given if key not in reference]', 'unexpected = []', 'test_weights'),
        # The fast generator
        ('fast_sam/results.py', 'one_class, iou_threshold)', 'one_class, 0.5 * iou_threshold)', 'test_fast_sam'),
        ('fast_sam/results.py', '1 / ((right - left) * (bottom - top))', '(right - left) * (bottom - top)', 'test_fast_sam'),
        ('fast_sam/masks.py', 'return stability >= self.stability_threshold', 'return stability > 2 * self.stability_threshold - 1', 'test_fast_sam'),
        ('fast_sam/encode.py', 'return image[top:bottom, left:right]', 'return image[top:bottom, :right - left]', 'test_fast_sam'),
        # Measuring and deploying
        ('evaluation/protocols.py', 'pixels = self.crop(pixels)', 'pixels = pixels', 'test_evaluation/test_protocols.py'),
        ('evaluation/protocols.py', 'x.narrow(-2, self.crop_border, height)', 'x.narrow(-2, 0, height)', 'test_evaluation/test_protocols.py'),
        ('evaluation/protocols.py', "if self.rounding == 'nearest':", 'if False:', 'test_evaluation/test_protocols.py'),
        ('evaluation/colour.py', '_OFFSET = 16', '_OFFSET = 0', 'test_evaluation/test_colour.py'),
        ('evaluation/psnr.py', '10 * torch.log10(peak**2 / error)', '10 * torch.log10(peak / error)', 'test_evaluation/test_psnr.py'),
        ('evaluation/ssim.py', '(0.01 * peak) ** 2, (0.03 * peak) ** 2', '(0.03 * peak) ** 2, (0.01 * peak) ** 2', 'test_evaluation/test_ssim.py'),
        ('deploy/tiling.py', 'range(0, last, tile - overlap)', 'range(0, last, tile)', 'test_deploy/test_tiling.py'),
        ('deploy/tiling.py', '- overlap / 4) / (overlap / 2)', ') / overlap', 'test_deploy/test_tiling.py'),
        ('deploy/kinds.py', 'pixels if image.dtype.kind == \'f\' else pixels.round()', 'pixels', 'test_deploy/test_kinds.py test_deploy/test_restorer.py'),
        ('deploy/kinds.py', 'restored.clamp(0, source.white)', 'restored', 'test_deploy/test_restorer.py'),
        ('deploy/restorer.py', 'self.model.eval()', 'pass', 'test_deploy/test_restorer.py'),
        ('deploy/restorer.py', 'enabled=self.amp', 'enabled=False', 'test_deploy/test_restorer.py'),
        ('deploy/graph.py', "'Restormer': 8", "'Restormer': 16", 'test_deploy/test_readers.py'),
        ('../tools/test.py', 'load_plain(model, args.checkpoint)', 'load_plain(model, args.checkpoint, False)', 'test_tools/test_train_and_test.py'),
        ('deploy/restorer.py', "(0, right, 0, below), 'replicate')", '(0, right, 0, below))', 'test_deploy/test_kinds.py'),
        # A teacher that rests
        ('cascade/restorer.py', "1 if stage == 'teacher' else teacher_interval", 'teacher_interval', 'test_cascade/test_restorer.py'),
        ('engine/hooks/gradient_shares.py', 'cascade.teacher_interval = 1', 'cascade.teacher_interval = interval', 'test_engine/test_pictures.py'),
        ('engine/optim.py', "getattr(cascade, 'teacher_interval', 1) > 1 and cascade.stage == 'joint'", 'False', 'test_engine/test_optim.py'),
        ('cascade/steps.py', "if not partly_labelled or stage != 'joint'", 'if not partly_labelled', 'test_cascade/test_truth.py'),
        # Silent and lost
        ('engine/hooks/value_range.py', 'self._brightest < _TOO_DARK * self._white', 'False', 'test_engine/test_value_range_hook.py'),
        ('engine/hooks/value_range.py', 'brightest > _TOO_BRIGHT * self._white', 'False', 'test_engine/test_value_range_hook.py'),
        ('compat/resumed_settings.py', "if name not in ('params', 'lr'):", 'if False:', 'test_compat/test_resuming.py'),
        ('compat/resumed_settings.py', '    _require_same_optimiser(runner, filename)\n    found', '    found', 'test_compat/test_resuming.py'),
        ('compat/resuming.py', 'if broken is not None:', 'if False:', 'test_compat/test_resuming.py'),
        ('compat/saving.py', 'if path in in_use:', 'if False:', 'test_compat/test_saving.py'),
        ('compat/saving.py', '(runner.model, *averaged)', '(runner.model,)', 'test_compat/test_saving.py'),
        ('compat/resuming.py', 'runner._has_loaded = True', 'pass', 'test_compat/test_resuming.py'),
        ('compat/saving.py', 'steps[-hook.max_keep_ckpts :]', 'steps[: hook.max_keep_ckpts]', 'test_compat/test_saving.py'),
        ('compat/saving.py', 'write_atomically(path, content)', "open(path, 'wb').write(content)", 'test_compat/test_saving.py'),
        ('compat/resuming.py', 'if match and not match[1]', 'if match', 'test_compat/test_resuming.py'),
        ('files.py', '(machine == _machine() and not _is_alive(int(pid)))', 'not _is_alive(int(pid))', 'test_files.py'),
        ('engine/hooks/guard.py', 'elif value > best:', 'else:', 'test_engine/test_collapse.py'),
        ('../tools/train.py', "'auto' if args.resume == 'auto' else True", 'True', 'test_tools/test_train_and_test.py'),
        ('../tools/train.py', 'if by_epoch and sampler in ENDLESS:', 'if False:', 'test_tools/test_train_and_test.py'),
        ('../tools/train.py', "alone = stage == 'teacher' and", "alone = stage == 'student' and", 'test_tools/test_train_and_test.py'),
        ('cache/extract.py', 'if other and not _made_of(RegionStore(out), now):', 'if other:', 'test_cache/test_extract.py'),
        ('cache/extract.py', "hash_file(path) == record.get('image_sha256')", 'True', 'test_cache/test_extract.py'),
        ('data_check/files.py', 'if key not in ([ignored]', 'if key in ([ignored]', 'test_data_check/test_check.py'),
        ('arguments.py', 'if not isinstance(value, bool):', 'if value is None:', 'test_arguments.py'),
        ('cascade/building.py', '    check_flag(detach_cascade=detach_cascade)', '    pass', 'test_cascade/test_restorer.py'),
        ('deploy/restorer.py', 'if restored.shape[-2:] != images.shape[-2:]:', 'if False:', 'test_deploy/test_restorer.py'),
        ('../tools/train.py', 'FiniteHook, ValueRangeHook, InterruptionHook):', 'FiniteHook, InterruptionHook):', 'test_tools/test_train_and_test.py'),
        ('data_check/readers.py', 'if other != image:', 'if False:', 'test_data_check/test_check.py'),
        ('data_check/files.py', 'if len(set(orders.values())) > 1:', 'if False:', 'test_data_check/test_check.py'),
        ('data_check/preflight.py', 'some = len(report.sizes) < report.samples', 'some = False', 'test_data_check/test_preflight.py'),
        ('compat/remedies.py', 'if not paths or any(path in str(error) for path in paths):', 'if True:', 'test_compat/test_samples.py'),
        ('files.py', '        _raise_for_disk(error, path)\n', '', 'test_files.py'),
        # Networks
        ('restorers/multi_stage.py', 'self.auxiliary_weight * sum', 'sum', 'test_restorers/test_multi_stage.py'),
        ('restorers/hinet.py', 'self.forward_stages(image)[-1]', 'self.forward_stages(image)[0]', 'test_restorers/test_hinet.py'),
        ('restorers/hinet.py', 'self.csff_enc(encoded) + self.csff_dec(decoded)', 'self.csff_enc(decoded) + self.csff_dec(encoded)', 'test_restorers/test_hinet.py'),
        ('restorers/losses.py', 'return image - _blur(kept', 'return _blur(kept', 'test_restorers/test_edge_loss.py'),
        ('restorers/mprnet_parts.py', "'bilinear', align_corners=False", "'bilinear', align_corners=True", 'test_restorers/test_recorded_outputs.py'),
    ]
]  # fmt: skip


def mutate(root: Path, mutation: Mutation) -> bool:
    """Put a fault into a copy; False if its text is not there, or there more than once."""
    path = root / 'mmsamdistill' / mutation.file
    text = path.read_text() if path.is_file() else ''
    if text.count(mutation.old) != 1:
        return False
    path.write_text(text.replace(mutation.old, mutation.new))
    return True


def copy_to(folder: Path) -> None:
    """Copy what the tests need."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__')
            )
        else:
            shutil.copy(ROOT / name, folder / name)


def attempt(mutation: Mutation) -> tuple[Mutation, str]:
    """Run the tests on a copy with the fault; called in a process of its own."""
    import pytest

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copy_to(root)
        if not mutate(root, mutation):
            return mutation, 'NOT FOUND'
        os.chdir(root)
        sys.path[:0] = [str(root)]
        with (root / 'log.txt').open('w') as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            options = ['-x', '-q', '-p', 'no:cacheprovider', f'--rootdir={root}', '--no-header']
            status = pytest.main([*options, *(f'tests/{each}' for each in mutation.tests.split())])
        noticed = re.search(r'^(?:FAILED|ERROR) (\S+)', (root / 'log.txt').read_text(), re.M)
        used = Path(sys.modules['mmsamdistill'].__file__)
        assert root.resolve() in used.resolve().parents, f'{used} is not the copy'
    if status == 0:
        return mutation, 'SURVIVED'
    return mutation, f'noticed by {noticed[1]}' if noticed else f'pytest ended with {status}'


def main() -> int:
    """Try the chosen faults and say what became of each."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('words', nargs='*', help='only faults that contain one of these')
    parser.add_argument('--jobs', type=int, default=1, help='processes at a time')
    args = parser.parse_args()
    chosen = [m for m in MUTATIONS if not args.words or any(w in ' '.join(m) for w in args.words)]
    os.environ['OMP_NUM_THREADS'] = '1'
    for name in HEAVY:
        importlib.import_module(name)
    unnoticed = 0
    # A fresh process for each, since a package is imported once in the life of one.
    with multiprocessing.get_context('fork').Pool(args.jobs, maxtasksperchild=1) as pool:
        for mutation, outcome in pool.imap_unordered(attempt, chosen, chunksize=1):
            unnoticed += not outcome.startswith('noticed')
            print(f'{mutation.file}: {mutation.old!r} -> {mutation.new!r}: {outcome}', flush=True)
    print(f'{len(chosen) - unnoticed} of {len(chosen)} noticed')
    return int(unnoticed > 0)


if __name__ == '__main__':
    sys.exit(main())
