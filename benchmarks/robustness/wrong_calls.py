"""Call every tool wrongly, in each way that was thought of, and judge how it ends.

A wrong call must end with another exit code than 0, in a short message without a traceback that
names the file, key, option or value at fault. Each call runs in a process of its own, forked from
one that has everything imported. Exit code 1 if a call ended otherwise.

    python benchmarks/robustness/wrong_calls.py [--tools train test] [--show]
"""

import argparse
import json
import os
import runpy
import shlex
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests'))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

import mmsamdistill  # noqa: E402, F401

# Of the message, of which argparse's usage is no part.
LINES, LETTERS = 14, 2500
SECONDS = 120

# Configs, by name: (base, changes as --cfg-options would make them, or the whole text).
CONFIG_TEXTS = {
    'empty.py': '\n',
    'comment.py': '# nothing here\n',
    'syntax.py': 'model = dict(\n',
    'raising.py': 'model = dict()\nmodel.type.name\n',
    'undefined.py': 'model = dict(type=Nothing)\n',
    'orphan.py': "_base_ = 'gone.py'\n",
    'circular.py': "_base_ = 'circular.py'\n",
    'binary.py': b'\x00\xff\xfe' * 30,
    'latin.py': 'model = dict(type="Größe")\n'.encode('latin-1'),
    'cut.json': '{"model": ',
    'list.json': '[1, 2]',
    'function.py': 'model = dict(type="A")\nwork_dir = print\n',
    'base_folder.py': "_base_ = '.'\n",
    'cut_short.yaml': 'model: {type: ',
    'notes.txt': 'model',
    'no_suffix': 'model = dict()',
    'no_model.py': 'train_cfg = dict(max_iters=1)\n',
    'import.py': "custom_imports = dict(imports=['package_of_nobody'])\nmodel = dict(type='A')\n",
}
CONFIG_CHANGES = {
    'type': {'model.generator.type': 'NAFNett'},
    'model_type': {'model.type': 'Nothing'},
    'argument': {'model.generator.chanels': 4},
    'value': {'model.generator.channels': 'many'},
    'negative': {'model.generator.channels': -1},
    'no_images': {'train_dataloader.dataset.data_prefix.img': 'none'},
    'prefix_key': {'train_dataloader.dataset.data_prefix': {'lq': 'img', 'gt': 'gt'}},
    'root': {
        f'{split}_dataloader.dataset.data_root': '/nowhere' for split in ('train', 'val', 'test')
    },
    'empty_folder': {
        'train_dataloader.dataset.data_prefix': {'img': 'nothing', 'gt': 'nothing'},
        'test_dataloader.dataset.data_prefix': {'img': 'nothing', 'gt': 'nothing'},
    },
    'pipeline': {'train_dataloader.dataset.pipeline.0.type': 'LoadNothing'},
    'patch': {'train_dataloader.dataset.pipeline.3.gt_patch_size': 512},
    'patch_text': {'train_dataloader.dataset.pipeline.3.gt_patch_size': 'large'},
    'no_loader': {'train_dataloader': None},
    'no_loop': {'train_cfg': None},
    'iters': {'train_cfg.max_iters': 'ten'},
    'loop': {'train_cfg.type': 'NoLoop'},
    'batch': {'train_dataloader.batch_size': 0},
    'workers': {'train_dataloader.num_workers': -1},
    'sampler': {'train_dataloader.sampler.type': 'NoSampler'},
    'optimizer': {'optim_wrapper.optimizer.type': 'NoOptimizer'},
    'rate': {'optim_wrapper.optimizer.lr': 'fast'},
    'wrapper': {'optim_wrapper.type': 'NoWrapper'},
    'scheduler': {'param_scheduler.type': 'NoSchedule'},
    'hook': {'custom_hooks': [{'type': 'NoHook'}]},
    'hook_argument': {'custom_hooks': [{'type': 'FiniteHook', 'limits': 3}]},
    'hook_value': {'custom_hooks': [{'type': 'FiniteHook', 'limit': 0}]},
    'metric': {'val_evaluator.0.type': 'NoMetric', 'test_evaluator.0.type': 'NoMetric'},
    'best': {'default_hooks.checkpoint.save_best': 'PSNRR'},
    'scope': {'default_scope': 'nothing'},
    'load_from': {'load_from': '/nowhere/net.pth'},
    'load_broken': {'load_from': '{broken}'},
    'load_wide': {'load_from': '{wide}'},
    'init_cfg': {'model.init_cfg': {'type': 'Pretrained', 'checkpoint': '/nowhere/init.pth'}},
    'damaged': {
        f'{split}_dataloader.dataset.data_prefix': {'img': 'damaged', 'gt': 'gt'}
        for split in ('train', 'val', 'test')
    },
    'one_pixel': {
        f'{split}_dataloader.dataset.data_prefix': {'img': 'pixel', 'gt': 'true_pixel'}
        for split in ('train', 'val', 'test')
    },
    'no_truth': {'train_dataloader.dataset.pipeline': [], 'model.generator.channels': 4},
    'mean': {'model.data_preprocessor.mean': [0.0, 0.0]},
}
TEACHING_CHANGES = {
    'stage': {'model.stage': 'pupil'},
    'white': {'model.restorer.data_preprocessor.std': [17.0, 3.0, 99.0]},
    'spf': {'model.spf.type': 'NoHead'},
    'spf_argument': {'model.spf.deep': 1},
    'spd_weight': {'model.spd_loss': {'type': 'SPDLoss', 'loss_weight': 'much'}},
    'spd_layers': {'model.spd_loss': {'type': 'SPDLoss', 'layers': ['nowhere.conv']}},
    'sgr': {'model.sgr_loss': {'type': 'SGRLoss'}, 'model.analyzer': {'type': 'NoAnalyzer'}},
    'vgg': {
        'model.sgr_loss': {'type': 'SGRLoss'},
        'model.analyzer': {'type': 'VGGAnalyzer', 'weights': '/nowhere/vgg.pth'},
    },
    'vgg_broken': {
        'model.sgr_loss': {'type': 'SGRLoss'},
        'model.analyzer': {'type': 'VGGAnalyzer', 'weights': '{broken}'},
    },
    'vgg_layer': {
        'model.sgr_loss': {'type': 'SGRLoss'},
        'model.analyzer': {'type': 'VGGAnalyzer', 'weights': 'random', 'layers': ['relu9_9']},
    },
    'regions': {'model.regions': {'type': 'NoSuchRegions'}},
    'scale': {'model.regions': {'type': 'SuperpixelRegions', 'scale': 'abc'}},
    'sam': {'model.regions': {'type': 'SAMRegions', 'checkpoint': '/nowhere/sam.pth'}},
    'cache': {'train_dataloader.dataset.regions': '/nowhere/regions'},
    'no_regions': {'train_dataloader.dataset.type': 'BasicImageDataset'},
    'teacher_key': {'model.teacher': {'generatr': {'channels': 8}}},
    'restorer': {'model.restorer': None},
    'restorer_type': {'model.restorer.type': 'NoModel'},
    'warmup': {'model.spd_warmup': [9, 1]},
    'momentum': {'model.teacher_momentum': 2.0},
}

# Tool: calls as (arguments, what the message has to name). {name} is a path of the world.
CALLS: dict[str, list[tuple[str, str]]] = {
    'train': [
        ('', 'config'),
        ('{plain} --launchr pytorch', 'launchr'),
        ('{plain} --launcher torch', 'launcher'),
        ('{plain} --launcher pytorch', 'torchrun'),
        ('{plain} --launcher slurm', 'srun'),
        ('{plain} --launcher mpi', 'mpirun'),
        ('{plain} --local-rank x', 'local'),
        ('{plain} --work-dir {plain}', 'plain.py'),
        ('{plain} --work-dir /proc/none', '/proc/none'),
        ('{plain} --resume /nowhere/iter_1.pth', '/nowhere/iter_1.pth'),
        ('{plain} --resume {broken}', 'broken.pth'),
        ('{plain} --resume {net}', 'net.pth'),
        ('{plain} --resume {images}', 'img'),
        ('{plain} --auto-scale-lr', 'auto_scale_lr'),
        ('{plain} --cfg-options', 'cfg-options'),
        ('{plain} --cfg-options train_cfg.max_iters', 'train_cfg.max_iters'),
        ('{plain} --cfg-options =3', '=3'),
        ('{plain} --cfg-options train_cfg..max_iters=3', 'train_cfg..max_iters'),
        ('{plain} --cfg-options model.generator.channels.wide=3', 'channels'),
        ('{plain} --cfg-options train_dataloader=3', 'train_dataloader'),
        ('{plain} --cfg-options model=ToyNet', 'model'),
        ('{plain} --cfg-options optim_wrapper.optimizer.lr=[1,', '[1,'),
        ('{plain} --cfg-options model.generator.type=ToyNe', 'ToyNe'),
        ('{plain} --cfg-options randomness.seed=abc', 'seed'),
        ('{plain} --cfg-options randomness.seed=-1', 'seed'),
        ('{plain} --cfg-options default_hooks.chekpoint.interval=1', 'chekpoint'),
        ('{plain} --cfg-options env_cfg.cudnn_benchmak=True', 'cudnn_benchmak'),
        ('{plain} --cfg-options train_cfg.val_interval=0', 'val_interval'),
        ('{plain} --cfg-options default_hooks.checkpoint.save_best=auto', 'save_best'),
        ('{plain} --cfg-options optim_wrapper.clip_grad=dict(max_norm=1,norm_type=2)', 'clip_grad'),
        ('{plain} --cfg-options train_dataloader.dataset.data_prefix.img=gt', 'gt'),
        ('{plain} --cfg-options train_dataloader.dataset.pipeline.0.channel_order=bgr', 'bgr'),
        ('{plain} --cfg-options load_from={nan}', 'nan.pth'),
        ('{plain} --cfg-options log_level=LOUD', 'LOUD'),
        ('{plain} extra', 'extra'),
        ('{stage} --resume {net}', 'pupil'),
        ('{plain} --amp --cfg-options optim_wrapper.type=OtherWrapper', 'OtherWrapper'),
    ],
    'test': [
        ('{plain}', 'checkpoint'),
        ('{plain} /nowhere/net.pth', '/nowhere/net.pth'),
        ('{plain} {broken}', 'broken.pth'),
        ('{plain} {empty_file}', 'empty.pth'),
        ('{plain} {wide}', 'wide.pth'),
        ('{plain} {images}', 'img'),
        ('{plain} {plain}', 'plain.py'),
        ('{plain} {nan}', 'is no number'),
        ('{plain} {hostile}', 'hostile.pth'),
        ('{plain} {net} --out {plain}/table', 'plain.py'),
        ('{plain} {net} --launcher pytorch', 'torchrun'),
        ('{root} {net}', '/nowhere'),
        ('{metric} {net}', 'NoMetric'),
        ('{damaged} {net}', 'damaged'),
        ('{one_pixel} {net} --cfg-options test_evaluator.0.type=SSIM', 'SSIM is no number'),
        ('{empty_folder} {net}', 'nothing'),
        ('{plain} {net} --cfg-options test_dataloader.batch_size=x', 'batch_size'),
        ('{plain} {net} --cfg-options test_cfg.type=NoLoop', 'NoLoop'),
    ],
    'restore': [
        ('{plain} {net}', 'images'),
        ('{plain} {net} /nowhere {out}', '/nowhere'),
        ('{plain} {net} {nothing} {out}', 'nothing'),
        ('{plain} {net} {damaged_images} {out}', '0.png'),
        ('{plain} {net} {net} {out}', 'net.pth'),
        ('{plain} {broken} {images} {out}', 'broken.pth'),
        ('{plain} {wide} {images} {out}', 'wide.pth'),
        ('{plain} {nan} {images} {out}', 'NaN'),
        ('{plain} {net} {images} {out} --device abacus', 'abacus'),
        ('{plain} {net} {images} {out} --device cuda:7', 'cuda:7'),
        ('{plain} {net} {images} {out} --tile zero', 'zero'),
        ('{plain} {net} {images} {out} --tile -8', '-8'),
        ('{plain} {net} {images} {out} --tile 16 --tile-overlap 16', 'overlap'),
        ('{plain} {net} {images} {out} --batch-size 0', 'batch_size'),
        ('{plain} {net} {images} {out} --local -1', '-1'),
        ('{plain} {net} {images} {plain}', 'plain.py'),
        ('{plain} {net} {images} {images}', 'img'),
        ('{plain} {net} {images} {out} --suffix a/b', 'a/b'),
        ('{plain} {net} {images}/0.png {out} --page {plain}', 'plain.py'),
        ('{no_model} {net} {images} {out}', 'model'),
        ('{type} {net} {images} {out}', 'NAFNett'),
    ],
    'compare': [
        ('', '--truth'),
        ('--truth /nowhere --degraded {images} --out {out}/f.png', '/nowhere'),
        ('--truth {gt} --out {out}/f.png', '--column'),
        ('--truth {gt} --degraded {images}', '--out'),
        ('--truth {gt} --degraded {nothing} --out {out}/f.png', 'nothing'),
        ('--truth {gt} --column a --out {out}/f.png', 'NAME=FOLDER'),
        ('--truth {gt} --column =x --out {out}/f.png', '=x'),
        ('--truth {gt} --column truth={images} --out {out}/f.png', 'truth'),
        ('--truth {gt} --column a=/nowhere --out {out}/f.png', '/nowhere'),
        ('--truth {gt} --column a={few} --out {out}/f.png', 'few'),
        ('--truth {gt} --column a={damaged_images} --out {out}/f.png', '0.png'),
        ('--truth {gt} --column a={pixel} --out {out}/f.png', 'pixel'),
        ('--truth {gt} --model a={plain} --degraded {images} --out {out}/f.png', 'CHECKPOINT'),
        ('--truth {gt} --model a={plain},{net} --out {out}/f.png', '--degraded'),
        ('--truth {gt} --degraded {images} --model a={plain},/no.pth --out {out}/f.png', '/no.pth'),
        ('--truth {gt} --degraded {images} --model a={plain},{broken} --out {out}/f.png', 'broken'),
        ('--truth {gt} --degraded {images} --model a={plain},{nan} --out {out}/f.png', 'NaN'),
        ('--truth {gt} --degraded {images} --model a=/no.py,{net} --out {out}/f.png', '/no.py'),
        ('--truth {gt} --degraded {images} --out {out}/f.xyz', 'f.xyz'),
        ('--truth {gt} --degraded {images} --out {out}/f.png --protocol blur', 'blur'),
        ('--truth {gt} --degraded {images} --out {out}/f.png --images 9', '9'),
        ('--truth {gt} --degraded {images} --out {out}/f.png --count 0', 'count'),
        ('--truth {gt} --degraded {images} --out {out}/f.png --pick nicest', 'nicest'),
        ('--truth {gt} --degraded {images} --out {out}/f.png --crop 1,2', '1,2'),
        ('--truth {gt} --degraded {images} --out {out}/f.png --crop 900,0,8', '900'),
        ('--truth {gt} --degraded {images} --out {out}/f.png --crop-size 0', 'crop'),
        ('--truth {gt} --degraded {images} --out {out}/f.png --width 0', 'width'),
        ('--truth {gt} --degraded {images} --out {out}/f.png --dpi -3', 'dpi'),
        ('--truth {gt} --degraded {images} --error-maps --error-max -1 --out {out}/f.png', 'error'),
        ('--truth {gt} --degraded {images} --gallery {plain}', 'plain.py'),
    ],
    'export_restorer': [
        ('{plain} {net}', 'out'),
        ('{plain} /nowhere.pth {out}/a.pth', '/nowhere.pth'),
        ('{plain} {broken} {out}/a.pth', 'broken.pth'),
        ('{plain} {wide} {out}/a.pth', 'wide.pth'),
        ('{plain} {nan} {out}/a.pth', 'nan.pth'),
        ('{plain} {net} {out}/a.zip', '.zip'),
        ('{plain} {net} {out}/a.pth --format tflite', 'tflite'),
        ('{plain} {net} {plain}/a.pth', 'plain.py'),
        ('{plain} {net} {images}', 'img'),
        ('{plain} {net} {net}', 'net.pth'),
        ('{plain} {net} {out}/a.pth --report /nowhere.json', '/nowhere.json'),
        ('{plain} {net} {out}/a.pth --report {cut}', 'cut.json'),
        ('{plain} {net} {out}/a.pth --report {list}', 'list.json'),
        ('{plain} {net} {out}/a.pth --local -4', '-4'),
        ('{no_model} {net} {out}/a.pth', 'model'),
        ('{plain} {hostile} {out}/a.pth', 'hostile.pth'),
    ],
    'extract_regions': [
        ('{images}', 'out'),
        ('{images} {out}', '--source'),
        ('{images} {out} --source telepathy', 'telepathy'),
        ('/nowhere {out} --source superpixel', '/nowhere'),
        ('{nothing} {out} --source superpixel', 'nothing'),
        ('{net} {out} --source superpixel', 'net.pth'),
        ('{damaged_images} {out} --source superpixel', '0.png'),
        ('{images} {plain} --source superpixel', 'plain.py'),
        ('{images} {out} --source superpixel --shard 2/2', '2/2'),
        ('{images} {out} --source superpixel --shard half', 'half'),
        ('{images} {out} --source superpixel --cfg-options scale', 'scale'),
        ('{images} {out} --source superpixel --cfg-options scale=abc', 'scale'),
        ('{images} {out} --source superpixel --cfg-options scale=-1', 'scale'),
        ('{images} {out} --source superpixel --cfg-options min_size=big', 'min_size'),
        ('{images} {out} --source superpixel --cfg-options sigma=[1,2]', 'sigma'),
        ('{images} {out} --source superpixel --cfg-options colour=3', 'colour'),
        ('{images} {out} --source superpixel --cfg-options method=quickshift', 'quickshift'),
        ('{images} {out} --source superpixel --cfg-options n_segments=3', 'n_segments'),
        (
            '{images} {out} --source superpixel --cfg-options method=slic n_segments=0',
            'n_segments',
        ),
        ('{images} {out} --source superpixel --checkpoint {net}', 'checkpoint'),
        ('{images} {out} --source superpixel --device abacus', 'abacus'),
        ('{images} {out} --source superpixel --import package_of_nobody', 'package_of_nobody'),
        ('{images} {out} --source superpixel --masks', 'masks'),
        ('{images} {out} --source superpixel --verify 2', '{out}'),
        ('{images} {regions_cut} --source superpixel', 'regions.json'),
        ('{images} {out} --source superpixel --verify -1', '{out}'),
        ('{images} {out} --source superpixel --tolerance x', 'tolerance'),
        ('{images} {out} --source sam', 'checkpoint'),
        ('{images} {out} --source sam --checkpoint /nowhere.pth', '/nowhere.pth'),
        ('{images} {out} --source sam --checkpoint {broken}', 'broken.pth'),
        ('{images} {out} --source sam --checkpoint {net} --model-type vit_b', 'net.pth'),
        ('{images} {out} --source sam --checkpoint {net} --model-type vit_z', 'vit_z'),
        ('{images} {out} --source transformers --checkpoint /nowhere/sam', '/nowhere/sam'),
        ('{images} {out} --source edges --checkpoint /nowhere.h5', '/nowhere.h5'),
        (
            '{images} {out} --source sam --cfg-options generator.points_per_side=x',
            'checkpoint',
        ),
        ('{images} {out} --source sam --cfg-options generator_type=best', 'best'),
        ('{images} {out} --source sam --cfg-options generator=3', 'generator'),
        ('{images} {out} --source sam --cfg-options sha256=12345', 'checkpoint'),
        ('{images} {out} --source SAM2Regions', 'facebookresearch/sam2'),
        ('{images} {out} --source NAFNet', 'NAFNet'),
        ('{images} {out} --source edges --cfg-options threshold=abc', 'threshold'),
        ('{images} {out} --source edges --cfg-options sigma=abc', 'sigma'),
        ('{images} {out} --source CachedRegions', 'CachedRegions'),
    ],
    'show_regions': [
        ('{images}', 'cache'),
        ('/nowhere {maps} {out}', '/nowhere'),
        ('{images} /nowhere {out}', '/nowhere'),
        ('{images} {nothing} {out}', 'img'),
        ('{images} {maps} {out} --keys nine', 'nine'),
        ('{images} {maps} {out} --count 0', 'count'),
        ('{images} {maps} {plain}', 'plain.py'),
        ('{images} {regions_cut} {out}', 'regions_cut'),
    ],
    'check_data': [
        ('', 'config'),
        ('{no_model} --split test', 'test'),
        ('{plain} --split some', 'some'),
        ('{plain} --workers x', 'workers'),
        ('{root}', '/nowhere'),
        ('{no_images}', 'none'),
        ('{empty_folder}', 'nothing'),
        ('{damaged} --full', 'damaged'),
        ('{patch}', 'smaller than the patch'),
        ('{cache}', '/nowhere/regions'),
        ('{plain} --cfg-options train_dataloader.dataset.type=NoData', 'NoData'),
        ('{plain} --cfg-options train_dataloader.dataset=3', 'dataset'),
        ('{plain} --cfg-options train_dataloader.dataset.pipeline.1.key=depth', 'depth'),
        ('{plain} --cfg-options train_dataloader.dataset.data_prefix=img', 'data_prefix'),
    ],
    'analyze_cost': [
        ('', 'config'),
        ('{plain} --shape 0 8', 'shape'),
        ('{plain} --shape 8', 'shape'),
        ('{plain} --steps 0', 'steps'),
        ('{plain} --batch-size x', 'batch-size'),
        ('{plain} --device abacus', 'abacus'),
        ('{plain} --json {plain}/x.json', 'plain.py'),
        ('{plain} --figure {out}/x.xyz --shape 16 16 --steps 1', 'xyz'),
        ('{no_model}', 'model'),
        ('{type}', 'NAFNett'),
    ],
    'prove_unchanged': [
        ('{plain} {net}', 'exported'),
        ('{plain} {net} /nowhere.pth', '/nowhere.pth'),
        ('{plain} /nowhere.pth {net}', 'net.pth'),
        ('{plain} {net} {broken}', 'broken.pth'),
        ('{plain} {net} {wide}', 'wide.pth'),
        ('{plain} {net} {net} --shape 0 0', 'net.pth'),
        ('{plain} {net} {net} --repeats 0', 'net.pth'),
        ('{plain} {net} {net} --device abacus', 'abacus'),
    ],
    'doctor': [
        ('/nowhere.py', '/nowhere.py'),
        ('{plain} --device abacus', 'abacus'),
        ('{type}', 'NAFNett'),
    ],
}
# These read a config first, and then something of their own that is right.
READ_CONFIGS = {
    'train': '{config}',
    'test': '{config} {net}',
    'check_data': '{config}',
    'restore': '{config} {net} {images} {out}',
}
# Accepted without the key having an effect in these tools, or found elsewhere.
TRAIN_ACCEPTS = {'no_truth'}


def all_calls() -> Iterator[tuple[str, str, str]]:
    """Every wrong call: tool, arguments, what the message names."""
    for tool, calls in CALLS.items():
        yield from ((tool, arguments, named) for arguments, named in calls)
    for tool, arguments in READ_CONFIGS.items():
        for name in ('/nowhere/config.py', '{images}', *CONFIG_TEXTS):
            if name == 'no_model.py' and tool == 'check_data':
                continue
            path = name if name.startswith(('/', '{')) else f'{{world}}/{name}'
            named = 'img' if name == '{images}' else Path(name).name
            named = {'import.py': 'package_of_nobody', 'no_model.py': 'model'}.get(name, named)
            if (tool, name) == ('restore', 'function.py'):
                named = '`A`'  # which does without the key that is a function
            yield tool, arguments.replace('{config}', path), named
    for name, changes in {**CONFIG_CHANGES, **TEACHING_CHANGES}.items():
        if name not in TRAIN_ACCEPTS:
            key, value = list(changes.items())[-1]
            yield 'train', f'{{{name}}}', _at_fault(name, key, value)


# Where the message cannot quote the last value of the change.
AT_FAULT = {
    'argument': 'chanels',
    'negative': '-1',
    'prefix_key': 'img',
    'no_loader': 'train_dataloader',
    'no_loop': 'train_cfg',
    'batch': 'batch_size',
    'workers': 'num_workers',
    'hook': 'NoHook',
    'hook_argument': 'limits',
    'hook_value': 'limit',
    'load_broken': 'broken.pth',
    'load_wide': 'wide.pth',
    'init_cfg': '/nowhere/init.pth',
    'damaged': 'damaged',
    'one_pixel': 'pixel',
    'empty_folder': 'nothing',
    'mean': 'mean',
    'white': 'std',
    'patch': '512',
    'patch_text': 'PairedRandomCrop',
    'spf_argument': 'deep',
    'spd_weight': 'much',
    'spd_layers': 'nowhere.conv',
    'sgr': 'NoAnalyzer',
    'vgg': '/nowhere/vgg.pth',
    'vgg_broken': 'broken.pth',
    'vgg_layer': 'relu9_9',
    'regions': 'NoSuchRegions',
    'scale': 'scale',
    'sam': '/nowhere/sam.pth',
    'no_regions': 'regions',
    'teacher_key': 'generatr',
    'restorer': 'restorer',
    'warmup': 'warmup',
    'momentum': 'teacher_momentum',
}


def _at_fault(name: str, key: str, value: object) -> str:
    return AT_FAULT.get(name, str(value))


def build_world(folder: Path) -> dict[str, str]:
    """Write configs, weights and images, right and wrong ones; their paths by name."""
    import toy

    data = toy.write_data(folder / 'data')
    paths = {name: str(data / name) for name in ('gt', 'nothing', 'pixel', 'few')}
    paths |= {'world': str(folder), 'images': str(data / 'img'), 'maps': str(data / 'regions')}
    paths |= {'damaged_images': str(data / 'damaged'), 'regions_cut': str(data / 'regions_cut')}
    for name in ('nothing', 'pixel', 'true_pixel', 'few', 'damaged', 'regions_cut'):
        (data / name).mkdir()
    for number in range(4):
        for name in ('pixel', 'true_pixel'):
            cv2.imwrite(str(data / f'{name}/{number}.png'), np.zeros((1, 1, 3), np.uint8))
        whole = (data / f'img/{number}.png').read_bytes()
        (data / f'damaged/{number}.png').write_bytes(whole[: len(whole) // 2])
    (data / 'few/0.png').write_bytes((data / 'gt/0.png').read_bytes())
    (data / 'regions_cut/regions.json').write_text('{"source": ')
    for name, text in CONFIG_TEXTS.items():
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        paths[path.stem] = str(path)
    paths |= _write_weights(folder)
    for base, model, changed in (
        ('plain', toy.plain_model(), CONFIG_CHANGES),
        ('cascade', toy.cascade_model(), TEACHING_CHANGES),
    ):
        for name, changes in {base: {}, **changed}.items():
            cfg = toy.config(data, folder / 'work', model)
            text = json.dumps(changes)
            for known in ('broken', 'wide'):
                text = text.replace(f'{{{known}}}', paths[known])
            changes = json.loads(text)
            for value in changes.values():
                if isinstance(value, dict):
                    value['_delete_'] = True
            cfg.merge_from_dict(changes)
            paths[name] = str(folder / f'{name}.py')
            cfg.dump(paths[name])
    return paths


def _write_weights(folder: Path) -> dict[str, str]:
    import toy

    torch.manual_seed(0)
    weights = toy.ToyNet().state_dict()
    files = {
        'net': weights,
        'wide': toy.ToyNet(8).state_dict(),
        'nan': {key: value * float('nan') for key, value in weights.items()},
        'hostile': {'state_dict': weights, 'hook': print},
    }
    paths = {name: str(folder / f'{name}.pth') for name in (*files, 'broken', 'empty')}
    for name, content in files.items():
        torch.save({'params': content} if name != 'hostile' else content, paths[name])
    Path(paths['broken']).write_bytes(Path(paths['net']).read_bytes()[:700])
    Path(paths['empty']).touch()
    paths['empty_file'] = paths.pop('empty')
    return paths


def call(tool: str, arguments: str, paths: dict[str, str], output: Path) -> tuple[int, str]:
    """Run a tool in a process of its own; its exit code, and what it wrote to the error stream."""
    process = os.fork()
    if not process:
        for descriptor, name in ((1, 'stdout'), (2, 'stderr')):
            opened = os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, descriptor)
        sys.stdout, sys.stderr = (open(number, 'w', closefd=False) for number in (1, 2))  # noqa: SIM115
        os.chdir(paths['world'])
        sys.argv = [str(ROOT / f'tools/{tool}.py'), *shlex.split(arguments.format(**paths))]
        _exit_as(lambda: runpy.run_path(sys.argv[0], run_name='__main__'))
    import time

    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            text = (output / 'stderr').read_bytes() + b'\n' + (output / 'stdout').read_bytes()
            return os.waitstatus_to_exitcode(status), text.decode(errors='replace')
        time.sleep(0.01)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return -9, f'still running after {SECONDS} s'


def _exit_as(main: Callable[[], object]) -> None:
    """End this process as the interpreter would."""
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def judge(tool: str, code: int, text: str, named: str) -> str | None:
    """What is wrong with how a call ended; None if nothing is."""
    if code == 0:
        return 'accepted'
    if code < 0:
        return f'ended by signal {-code}'
    if 'Traceback (most recent call last)' in text:
        return 'traceback'
    own = [
        position for mark in (f'{tool}: ', f'{tool}.py: ') if (position := text.rfind(mark)) >= 0
    ]
    message = (
        text[min(own) :] if own and tool not in ('check_data', 'doctor', 'analyze_cost') else text
    )
    if named not in message:
        return f'names no {named!r}'
    if len(message) > LETTERS or (
        message.count('\n') > LINES and tool not in ('check_data', 'doctor', 'analyze_cost')
    ):
        return 'long'
    return None


def main() -> int:
    """Call, judge, count."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--tools', nargs='+', choices=list(CALLS), default=list(CALLS))
    parser.add_argument('--show', action='store_true', help='print every message')
    parser.add_argument('--only', help='calls whose arguments contain this')
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    counts: dict[str, Counter] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as name:
        paths = build_world(Path(name))
        for number, (tool, arguments, named) in enumerate(all_calls()):
            paths['out'] = f'{name}/out{number}'
            if tool not in args.tools or (args.only and args.only not in arguments):
                continue
            code, text = call(tool, arguments, paths, Path(name))
            fault = judge(tool, code, text, named.format(**paths))
            counts[tool]['calls'] += 1
            counts[tool]['faults'] += fault is not None
            if fault or args.show:
                shown = text.strip().replace(name, '')[-1500 if fault else -600 :]
                print(f'{fault or "ok"} [{code}]: {tool} {arguments}\n    {shown}\n', flush=True)
    print('| tool | wrong calls | ended otherwise |\n| --- | --- | --- |')
    for tool, found in counts.items():
        print(f'| {tool} | {found["calls"]} | {found["faults"]} |')
    print(f'| all | {sum(c["calls"] for c in counts.values())} | ', end='')
    print(f'{sum(c["faults"] for c in counts.values())} |')
    return int(any(found['faults'] for found in counts.values()))


if __name__ == '__main__':
    sys.exit(main())
