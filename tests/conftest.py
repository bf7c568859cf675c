"""What every test needs."""

import mmengine.registry
import pytest
import torch

import mmsamdistill  # noqa: F401

# Helpers of the tests; as doctest modules they would be imported under a second name.
collect_ignore = ['config_files.py', 'ddp_worker.py', 'tiny_sam.py', 'toy.py', 'toy_table.py']


@pytest.fixture(autouse=True)
def host():
    """MMagic's scope, as a Runner would set it, and one thread: the networks are tiny."""
    mmengine.registry.init_default_scope('mmagic')
    torch.set_num_threads(1)
