"""Runners of tests without what takes longer than many a run of theirs; importing this is enough.

A Runner lays out its configuration's text with every checkpoint, and asks compilers and libraries
for their versions when it is built. The text itself stays as it is. It is also named by the second
it begins in, by which two that are quick would share their log, scalars and best score.
"""

import itertools

import mmengine.config.config
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
