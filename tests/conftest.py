"""What every test needs."""

import os

# Before torch is imported, and for the processes that tests start: the networks are tiny.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import mmengine.registry
import pytest
import torch

import mmsamdistill  # noqa: F401

# Helpers of the tests; as doctest modules they would be imported under a second name.
collect_ignore = [
    *('config_files.py', 'ddp_worker.py', 'mutations.py', 'tiny_sam.py', 'toy.py'),
    *('toy_gallery.py', 'toy_pictures.py', 'toy_table.py'),
]


@pytest.fixture(autouse=True)
def host():
    """MMagic's scope, as a Runner would set it, and one thread."""
    mmengine.registry.init_default_scope('mmagic')
    torch.set_num_threads(1)
