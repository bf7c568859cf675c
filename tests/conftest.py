"""What every test needs, and what keeps the quick ones quick."""

import functools
import os
import platform
import subprocess

# Before torch is imported, and for the processes that tests start: the networks are tiny.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import mmengine.logging
import mmengine.registry
import mmengine.runner
import pytest
import quick  # noqa: F401
import torch

import mmsamdistill  # noqa: F401

HELPERS = 'config_files mutations pairs processes quick readme workers'
# Helpers of the tests; as doctest modules they would be imported under a second name.
collect_ignore = [f'{name}.py' for name in HELPERS.split()]
collect_ignore_glob = ['tiny_*.py', 'toy*.py']

# Asked once, and remembered by Python, in a process: h5py does it when it is imported.
platform.uname().processor  # noqa: B018


@pytest.fixture(autouse=True)
def host():
    """MMagic's scope, as a Runner would set it, one thread, and nothing of earlier runs."""
    mmengine.registry.init_default_scope('mmagic')
    torch.set_num_threads(1)
    mmengine.logging.MessageHub._instance_dict.clear()


class OnlySlowTests:
    """What `make check` leaves out has a mark: a Runner or a process asks the test for it."""

    def __init__(self):
        self.item = None
        self.watch(mmengine.runner.Runner, 'builds a Runner')
        self.watch(subprocess.Popen, 'starts a process')

    def watch(self, kind, deed):
        constructor = kind.__init__

        @functools.wraps(constructor)
        def construct(instance, *args, **kwargs):
            if self.item and not self.item.get_closest_marker('slow'):
                pytest.fail(f'this test {deed}: mark it with @pytest.mark.slow')
            constructor(instance, *args, **kwargs)

        kind.__init__ = construct

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.item = item
        try:
            return (yield)
        finally:
            self.item = None


def pytest_configure(config):
    config.pluginmanager.register(OnlySlowTests())
