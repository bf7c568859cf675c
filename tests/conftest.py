"""What every test needs, and what keeps the quick ones quick."""

import functools
import gc
import os
import platform
import subprocess

import pytest

# Before torch is imported, and for the processes that tests start: the networks are tiny.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# Asked once, and remembered by Python, in a process: h5py does it when it is imported.
platform.uname().processor  # noqa: B018


@pytest.fixture(autouse=True)
def host():
    """MMagic's scope, as a Runner would set it, one thread, and nothing of earlier runs."""
    import mmengine
    import torch

    mmengine.registry.init_default_scope('mmagic')
    torch.set_num_threads(1)
    mmengine.logging.MessageHub._instance_dict.clear()


class OnlySlowTests:
    """What `make check` leaves out has a mark: a Runner or a process asks the test for it."""

    def __init__(self):
        import mmengine.runner

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
    # A process that hands the tests to others, which import all of this, runs none itself.
    if hasattr(config, 'workerinput') or not config.getoption('numprocesses', None):
        # Nothing that imports and collection make is garbage, and it is much to look through.
        gc.disable()
        import quick  # noqa: F401

        import mmsamdistill  # noqa: F401

        config.pluginmanager.register(OnlySlowTests())


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(parent):
    """Of what is below here nothing has examples in docstrings: a test is imported as a test."""
    option = parent.config.option
    given, option.doctestmodules = option.doctestmodules, False
    try:
        return (yield)
    finally:
        option.doctestmodules = given
