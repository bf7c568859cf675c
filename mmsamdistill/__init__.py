"""Segment Anything region priors for MMagic restorers, distilled away before deployment.

Importing this package, as ``custom_imports`` in a config does, makes MMagic 1.2 usable on a current
stack and registers every part in MMagic's registries. Neither SAM nor MMagic's models are imported
until a config builds them.
"""

# isort: off
from mmsamdistill import compat

# Before anything of MMagic is imported, by whoever imports it.
compat.activate()
# isort: on

from mmsamdistill import (  # noqa: E402
    cascade,
    datasets,
    engine,
    evaluation,
    losses,
    regions,
    restorers,
    sources,
)
from mmsamdistill.version import __version__  # noqa: E402

__all__ = [
    '__version__', 'cascade', 'compat', 'datasets', 'engine', 'evaluation', 'losses', 'regions',
    'restorers', 'sources',
]  # fmt: skip
