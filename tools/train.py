"""Train a restorer, plain or distilled, from a config."""

import argparse
import contextlib
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

from mmsamdistill_command import add_config_options, add_launcher


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the training config')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from the newest checkpoint in the work directory, or from the one given',
    )
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help="scale the learning rate by the batch's size"
    )
    add_launcher(parser)
    add_config_options(parser)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

# First, since it prepares MMEngine and MMagic for what follows.
import mmsamdistill  # noqa: F401

# isort: split
from filelock import FileLock, Timeout
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmsamdistill.command_line import (
    UsageError,
    check_launcher,
    check_output,
    did_you_mean,
    is_first_process,
    read_config,
    run,
)
from mmsamdistill.data_check.preflight import check_loading
from mmsamdistill.datasets.region_pipeline import type_name
from mmsamdistill.engine import FiniteHook, InterruptionHook, RunRecordHook, ValueRangeHook
from mmsamdistill.evaluation.validation_sets import check_validation

# What MMEngine reads of these; the rest it would pass over, or end at without saying where.
HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
ENVIRONMENT = ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')
# Draw for ever: a loop that counts epochs never gets to the end of its first.
ENDLESS = ('InfiniteSampler', 'MixedSampler')


def check_settings(cfg: Config) -> None:
    """Refuse settings by which a run would not do what they say."""
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if isinstance(hook, dict) and 'type' not in hook:
            raise UsageError(f'default_hooks.{name} has no type{did_you_mean(name, HOOKS)}')
    check_saving((cfg.get('default_hooks') or {}).get('checkpoint'))
    for name in set(cfg.get('env_cfg') or {}) - set(ENVIRONMENT):
        raise UsageError(f'nothing reads env_cfg.{name}{did_you_mean(name, ENVIRONMENT)}')
    interval = cfg.train_cfg.get('val_interval', 1)
    if not isinstance(interval, int) or interval < 1:
        raise UsageError(
            f'train_cfg.val_interval={interval!r} must be a whole number above 0; to train without '
            'validation, set val_cfg, val_dataloader and val_evaluator to None'
        )
    seed = (cfg.get('randomness') or {}).get('seed')
    if seed is not None and not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise UsageError(f'randomness.seed={seed!r} must be a whole number from 0 to 2**32 - 1')
    by_epoch = type_name({'type': '', **cfg.train_cfg}) == 'EpochBasedTrainLoop' or (
        'type' not in cfg.train_cfg and cfg.train_cfg.get('by_epoch')
    )
    sampler = type_name({'type': '', **(cfg.train_dataloader.get('sampler') or {})})
    if by_epoch and sampler in ENDLESS:
        raise UsageError(
            f'train_cfg counts epochs, and the {sampler} of train_dataloader never ends one: set '
            "sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True), or train by "
            'iterations (IterBasedTrainLoop, max_iters)'
        )


def check_saving(hook: dict | None) -> None:
    """Refuse arguments that MMEngine's hook takes, and trips over at the first checkpoint."""
    if not isinstance(hook, dict) or type_name(hook) != 'CheckpointHook':
        return
    takers = (CheckpointHook, Runner.save_checkpoint)
    known = {name for taker in takers for name in inspect.signature(taker).parameters}
    for name in set(hook) - known - {'type', 'priority', '_scope_'}:
        raise UsageError(
            f'nothing reads default_hooks.checkpoint.{name}{did_you_mean(name, sorted(known))}'
        )


def check_stage(cfg: Config) -> None:
    """Refuse a stage that would keep a network fixed which nobody has trained."""
    stage = cfg.model.get('stage')
    fixed = {'teacher': 'student', 'student': 'SPF and teacher'}.get(stage)
    # A teacher that sees the degraded image needs no student to begin with.
    alone = stage == 'teacher' and cfg.model.get('teacher_input') == 'degraded'
    # Weights may also come by init_cfg, wherever in the model.
    if not fixed or alone or cfg.get('load_from') or 'Pretrained' in str(cfg.model):
        return
    # What is resumed brings its own; where other folders hold it, that is seen when it is resumed.
    elsewhere = 'out_dir' in ((cfg.get('default_hooks') or {}).get('checkpoint') or {})
    if cfg.get('resume') and (elsewhere or any(Path(cfg.work_dir).rglob('*.pth'))):
        return
    raise UsageError(
        f'model.stage={stage!r} keeps {fixed} as loaded, and nothing is loaded: set load_from '
        'to the checkpoint of the training before'
    )


def load_config(args: argparse.Namespace) -> Config:
    """Merge the config file with the command line, which has the last word."""
    check_launcher(args.launcher)
    cfg = read_config(args.config, args.cfg_options, ('model', 'train_dataloader', 'train_cfg'))
    check_validation(cfg)
    check_settings(cfg)
    check_loading(cfg)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    check_output('--work-dir', cfg.work_dir, folder=True)
    if args.resume is not None:
        # With 'auto' the config's own `load_from` is what the run starts from the first time.
        cfg.resume = 'auto' if args.resume == 'auto' else True
        if args.resume != 'auto':
            cfg.load_from = args.resume
    check_stage(cfg)
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise UsageError(
                f'--auto-scale-lr: {args.config} has no `auto_scale_lr = dict(base_batch_size=...)`'
            )
        cfg.auto_scale_lr.enable = True
    return cfg


def enable_amp(cfg: Config) -> None:
    """Turn the config's optimiser wrapper into its mixed-precision form."""
    kind = type_name({'type': 'OptimWrapper', **cfg.optim_wrapper})
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise UsageError(f'--amp knows OptimWrapper, this config uses {kind}; set AMP there')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def build_runner(cfg: Config) -> Runner:
    """Build the Runner, with the hooks that guard every run unless the config has its own."""
    runner = Runner.from_cfg(cfg)
    for kind in (RunRecordHook, FiniteHook, ValueRangeHook, InterruptionHook):
        if not any(isinstance(hook, kind) for hook in runner.hooks):
            runner.register_hook(kind())
    for hook in runner.hooks:
        if isinstance(hook, InterruptionHook):
            hook.listen()
    return runner


@contextlib.contextmanager
def work_dir_held(cfg: Config) -> Iterator[None]:
    """Let one training at a time write: two would replace and remove each other's checkpoints."""
    if not is_first_process(cfg.launcher):
        yield
        return
    Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    path = Path(cfg.work_dir, '.training.lock')
    held: contextlib.AbstractContextManager = contextlib.nullcontext()
    try:
        held = FileLock(path, timeout=0).acquire()
    except Timeout:
        raise UsageError(
            f'another training writes into {cfg.work_dir}: wait for its end, or choose --work-dir; '
            f'if none does (a killed one, on a file system without locks), remove {path}'
        ) from None
    except (OSError, NotImplementedError):
        pass  # some file systems of clusters have no locks; what is wrong otherwise ends the run
    with held:
        yield


def main() -> None:
    """Train."""
    cfg = load_config(parse_args())
    with work_dir_held(cfg):
        build_runner(cfg).train()


if __name__ == '__main__':
    run(main)
