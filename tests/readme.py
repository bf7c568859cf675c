"""What README.md tells a newcomer to type, word for word; needs the standard library alone."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What no trial can wait for: the size of the network and of the training.
SMALL = [
    'model.restorer.generator.mid_channels=4',
    *(f'model.restorer.generator.{part}_blk_nums=[1,1]' for part in ('enc', 'dec')),
    'model.restorer.generator.middle_blk_num=1',
    'model.analyzer.layers=(relu1_2,)',
    *('train_dataloader.batch_size=2', 'train_dataloader.num_workers=0'),
    'train_dataloader.persistent_workers=False',
    *('val_dataloader.num_workers=0', 'test_dataloader.num_workers=0'),
    *('train_cfg.max_iters=2', 'train_cfg.val_interval=2'),
]


def blocks(title: str, language: str) -> list[str]:
    """Return the code of a section whose title begins so."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8').split(f'\n## {title}', 1)[1]
    return re.findall(rf'^```{language}\n(.*?)^```', text.split('\n## ', 1)[0], re.M | re.S)


def installation(changes: dict[str, str]) -> list[list[str]]:
    """Return the words of each line of the section Install, once a word of it was exchanged."""
    (text,) = blocks('Install', 'bash')
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f'the section Install of README.md does not say {old!r} any more')
        text = text.replace(old, new)
    return [shlex.split(line, comments=True) for line in text.splitlines()]


def quick_start() -> tuple[str, list[list[str]]]:
    """Return the config, and the words of each command, whose training is cut to two steps."""
    (config,) = blocks('Quick start', 'python')
    (lines,) = blocks('Quick start', 'bash')
    commands = []
    for line in lines.replace('\\\n', ' ').replace('iter_200000', 'iter_2').splitlines():
        words = shlex.split(line, comments=True)
        commands.append([*words, *(['--cfg-options', *SMALL] if 'config.py' in words else [])])
    return config, commands
