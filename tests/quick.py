"""Runners of tests without what takes longer than many a run of theirs; importing this is enough.

A Runner lays out its configuration's text with every checkpoint, and asks compilers and libraries
for their versions when it is built; each of its datasets has all garbage collected, of an
interpreter full of modules. It is also named by the second it begins in, by which two that are
quick would share their log, scalars and best score.
"""

import itertools
from types import SimpleNamespace

import mmengine.config.config
import mmengine.dataset.base_dataset
import mmengine.runner.runner
from mmengine.runner import Runner

numbers = itertools.count()
named_by_the_second = Runner.setup_env


def setup_env(runner, env_cfg):
    """Set up as before, and make the name unlike any other."""
    named_by_the_second(runner, env_cfg)
    runner._timestamp += f'_{next(numbers):04}'


Runner.setup_env = setup_env
mmengine.config.config.FormatCode = lambda text, **options: (text, True)
mmengine.runner.runner.collect_env = dict
mmengine.dataset.base_dataset.gc = SimpleNamespace(collect=int)
