"""Small faults of MMEngine and MMagic: one remedy a function, each with its reason."""

import importlib.util
import multiprocessing.context
import os
from collections.abc import Sequence
from importlib import metadata
from importlib.machinery import ModuleSpec
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch

from mmsamdistill.compat.import_hook import Original, in_place_of
from mmsamdistill.images import check_whole
from mmsamdistill.images.finding import sample_path
from mmsamdistill.images.lmdb_file import check_lmdb

# What was seen to be whole stays so for the run: read in each epoch, it is checked once a process.
_whole: set[tuple[str, str]] = set()


@in_place_of('mmengine.dist.utils', '_init_dist_pytorch')
def _init_dist(init: Original, backend: str, init_backend: str = 'torch', **kwargs: Any) -> None:
    """Have ``--launcher pytorch`` start processes that talk over gloo where there is no GPU."""
    # MMEngine's launcher (to 0.10.7) sets a CUDA device before anything else.
    from mmengine.device import is_mlu_available, is_musa_available, is_npu_available

    others = (is_mlu_available, is_npu_available, is_musa_available)
    if torch.cuda.is_available() or any(there() for there in others):
        init(backend, init_backend=init_backend, **kwargs)
    else:
        torch.distributed.init_process_group(backend='gloo', **kwargs)


@in_place_of('mmengine.model.wrappers.distributed', 'MMDistributedDataParallel.__init__')
def _init_wrapper(
    init: Original, wrapper: Any, module: torch.nn.Module, *args: Any, **kwargs: Any
) -> None:
    """Hand no number of a CUDA device over for a model that is on none, as the launcher does."""
    if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
        kwargs['device_ids'] = None
    init(wrapper, module, *args, **kwargs)


@in_place_of('mmengine.runner.runner', 'Runner.train')
def _train_as_current(train: Original, runner: Any) -> torch.nn.Module:
    """Have models and optimisers that ask for the current run be told of the one that trains."""
    # MMEngine (to 0.10.7) takes the Runner that was made last: of two, the first would count its
    # iterations for nobody, and its optimiser would log into the other.
    for each in (runner.message_hub, runner.logger, runner.visualizer):
        known = type(each)._instance_dict
        known[each.instance_name] = known.pop(each.instance_name, each)
    model = train(runner)
    # Who then trains by hand is in no iteration, and not in the last one for ever.
    runner.message_hub.runtime_info.pop('iter', None)
    return model


@in_place_of('mmengine.hooks.ema_hook', 'EMAHook.after_load_checkpoint')
def _load_ema(load: Original, hook: Any, runner: Any, checkpoint: dict) -> None:
    """Give ``EMAHook`` a checkpoint without ``state_dict`` as the Runner gives it to the model."""
    # Of a checkpoint without state_dict, as BasicSR's are, MMEngine (to 0.10.7) hands everything
    # over to the model, while its EMAHook stops with a KeyError.
    load(hook, runner, checkpoint if 'state_dict' in checkpoint else {'state_dict': checkpoint})


@in_place_of('mmengine.structures.base_data_element', 'BaseDataElement.keys')
@in_place_of('mmengine.structures.base_data_element', 'BaseDataElement.metainfo_keys')
def _names_in_one_order(names: Original, element: Any) -> list[str]:
    """Have data samples name their fields in one order, whatever order they were set in."""
    # MMEngine (to 0.10.7) lists sets. Of two samples with the same fields, set in another order,
    # MMagic's collation then says that they differ, if Python's hash seed wants it so.
    return sorted(names(element))


@in_place_of('mmengine.runner.activation_checkpointing', 'checkpoint')
def _recompute(checkpoint: Original, *args: Any) -> Any:
    """Let the config's ``activation_checkpointing`` use torch's present form of it."""
    # MMEngine (to 0.10.7) calls checkpoint with its old default. That form drops, without a word,
    # the gradient of outputs inside of a list, as the analyser's are, and of modules whose input
    # wants none, as the student's.
    return checkpoint(*args, use_reentrant=False)


@in_place_of('mmengine.config.config', 'Config._get_cfg_path')
def _get_cfg_path(find: Original, cfg_path: str, filename: str) -> tuple[str, str | None]:
    """Make ``_base_ = 'mmsamdistill::nafnet/...'`` work."""
    # MMEngine (0.7 to 0.10.7) resolves package::config for the packages in its own table only, and
    # then marks every part of the config as belonging to that package's registry. Our parts are
    # registered in MMagic's registries, so MMagic's is the scope to mark.
    path, scope = find(cfg_path, filename)
    return path, 'mmagic' if scope == 'mmsamdistill' else scope


# setuptools 82 dropped pkg_resources; earlier ones warn, and MMEngine (to 0.10.7) reloads it at
# each question, which takes a second. Inheritance of configs across packages needs the answers.
@in_place_of('mmengine.utils.package_utils', 'is_installed')
def _is_installed(_: Original, package: str) -> bool:
    """Say whether a distribution or importable package of this name exists."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        spec = _find_spec(package)
        return spec is not None and spec.origin is not None
    return True


@in_place_of('mmengine.utils.package_utils', 'get_installed_path')
def _get_installed_path(_: Original, package: str) -> str:
    """Find the folder a package is installed in."""
    spec = _find_spec(package)
    if spec is None:
        top = metadata.distribution(package).read_text('top_level.txt') or ''
        module = (top.split() or [package])[0]
        spec = _find_spec(module)
        if spec is None:
            raise ValueError(f'the distribution {package!r} has no importable module {module!r}')
    if spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package, which has no single folder')
    return str(Path(spec.origin).parent)


def _find_spec(name: str) -> ModuleSpec | None:
    return importlib.util.find_spec(name) if name.isidentifier() else None


def activate_in_spawned_workers() -> None:
    """Activate the remedies in data-loader workers before their dataset is unpickled."""
    # A worker that is not forked imports the dataset's module, hence MMagic, before any code of the
    # config runs. A pickle is read in order, so what the process is built by runs before its
    # dataset is read. Other processes are left alone.
    for name in ('SpawnProcess', 'ForkServerProcess'):
        kind = getattr(multiprocessing.context, name, None)  # Windows has no ForkServerProcess
        if kind is not None:
            ForkingPickler.register(kind, reduce_process)


def rebuild_process(kind: type[BaseProcess]) -> BaseProcess:
    """Activate the remedies, then make an empty process object; runs in the worker."""
    from mmsamdistill.compat.activation import activate  # which imports this module

    activate()
    return kind.__new__(kind)


def reduce_process(process: BaseProcess) -> tuple[Any, ...]:
    """Pickle a process; if it is a data-loader worker, so that the worker activates us."""
    target = process.__dict__.get('_target')
    if str(getattr(target, '__module__', '')).startswith('torch.utils.data'):
        return rebuild_process, (type(process),), process.__dict__
    return process.__reduce_ex__(2)  # type: ignore[return-value]


@in_place_of('mmagic.datasets.transforms.loading', 'LoadImageFromFile._load_image')
def _load_image(_: Original, loader: Any, filename: str) -> Any:
    """Let ``LoadImageFromFile`` stop at a damaged image, whoever builds it."""
    # OpenCV fills in what it cannot decode, so that a training learns stripes and grey areas, and
    # its own errors do not say which file is meant.
    import mmcv
    from mmengine.fileio import get_file_backend

    # 1. Where the file is: on its own, or in a database, which is checked before it is opened.
    options = loader.backend_args or {}
    if loader.file_backend is None:
        loader.file_backend = get_file_backend(uri=filename, backend_args=loader.backend_args)
    name = filename
    if options.get('backend') == 'lmdb':
        name = os.path.splitext(os.path.basename(filename))[0]
        database = (str(options.get('db_path')), '')
        if database not in _whole:
            check_lmdb(database[0])
            _whole.add(database)
    # 2. Its content, which must be whole.
    data = loader.cache.get(name)
    if data is None:
        data = _get(loader.file_backend, name, options)
    if data is None:
        raise FileNotFoundError(f'there is no {name} in {options.get("db_path")}')
    if loader.use_cache:
        loader.cache[name] = data
    which = (str(options.get('db_path')), filename)
    if which not in _whole:
        check_whole(bytes(data), filename)
        _whole.add(which)
    # 3. The image.
    try:
        image = mmcv.imfrombytes(
            content=data,
            flag=loader.color_type,
            channel_order=loader.channel_order,
            backend=loader.imdecode_backend,
        )
    # What a decoder gives for a broken file depends on the decoder: None, or its own error.
    except Exception as error:
        raise ValueError(f'{filename} cannot be read as an image: {error}') from error
    if image is None:
        raise ValueError(f'{filename} cannot be read as an image')
    return image


def _get(backend: Any, name: str, options: dict[str, Any]) -> Any:
    if options.get('backend') != 'lmdb':
        return backend.get(name)
    try:
        return backend.get(name)
    # The library's own errors do not say of which database they are.
    except Exception as error:
        raise ValueError(f'{options.get("db_path")} cannot be read: {error}') from error


@in_place_of('mmengine.dataset.base_dataset', 'BaseDataset.prepare_data')
def _prepare(prepare: Original, dataset: Any, index: int) -> Any:
    """Let an error of a pipeline say of which file it is: transforms do not know."""
    try:
        return prepare(dataset, index)
    except Exception as error:
        info = dataset.get_data_info(index)
        paths = [info[key] for key in ('gt_path', 'img_path') if isinstance(info.get(key), str)]
        if not paths or any(path in str(error) for path in paths):
            raise
        kind = ''
        if not isinstance(error, ValueError):  # no message for users: whose it is, and what
            from mmsamdistill.command_line import raised_in

            owner = raised_in(error)
            kind = f'{owner}: {type(error).__name__}: ' if owner else f'{type(error).__name__}: '
        raise ValueError(f'{" and ".join(paths)}: {kind}{error}') from error


@in_place_of('mmagic.structures.data_sample', 'DataSample.stack')
def _stack(stack: Original, data_samples: Sequence[Any]) -> Any:
    """Let samples that cannot be stacked say which files they are of, and what differs."""
    # MMagic's assertion, and torch's error about tensors, name neither file nor key.
    first = data_samples[0]
    for other in data_samples[1:]:
        files = [sample_path(each.metainfo) or 'an image' for each in (first, other)]
        which = f'{" and ".join(files)} cannot be in one batch: '
        lone = sorted(set(first.keys()) ^ set(other.keys()))
        if lone:
            raise ValueError(
                f'{which}only one of them has {", ".join(lone)}. Give all images of a data set '
                "the same pipeline, or dict(type='WithoutTruth') to those without truth"
            )
        for key, value in first.items():
            shapes = [tuple(getattr(each, 'shape', ())) for each in (value, other.get(key))]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f'{which}{key} is of {shapes[0]} and of {shapes[1]}; have the pipeline cut all '
                    'to one size (PairedRandomCrop; before it PadToPatch, if they are small), or '
                    'set batch_size=1'
                )
    return stack(data_samples)
