"""Test-time local conversion as a setting of the config."""

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmsamdistill.restorers.local_statistics import use_global_statistics, use_local_statistics


@HOOKS.register_module()
class LocalStatisticsHook(Hook):
    """Test with the statistics of windows (TLC); training and its validation stay global.

    ``tools/restore.py`` and ``tools/export_restorer.py`` read the same setting. Every data set's
    row of metrics gets a column ``local_window``, so that no number stands without it. To be set
    among the ``default_hooks``, which are merged with those of a base config::

        default_hooks = dict(local=dict(type='LocalStatisticsHook', window=384))

    Args:
        window: Side of the window in pixels of the image, see
            :func:`~mmsamdistill.restorers.local_statistics.use_local_statistics`.
        channels: Channels of the images.

    Raises:
        ValueError: When testing starts, if the network has no global statistics to convert.

    Source: Chu et al., ECCV 2022.
    """

    def __init__(self, window: int, channels: int = 3) -> None:
        self.window = window
        self.channels = channels

    def before_test(self, runner: Runner) -> None:
        """Convert the network, once more for every test."""
        count = use_local_statistics(_network(runner.model), self.window, self.channels)
        runner.logger.info(f'local statistics: windows of {self.window} pixels, {count} layers')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Show the window beside every data set's numbers."""
        for name in list(metrics or {}):
            prefix, _, metric = name.rpartition('/')
            if metric != 'local_window':
                metrics[f'{prefix}/local_window' if prefix else 'local_window'] = self.window

    def after_test(self, runner: Runner) -> None:
        """Convert the network back."""
        use_global_statistics(_network(runner.model))


def _network(model: nn.Module) -> nn.Module:
    """The network that predicts: that of the student, if the model is a cascade."""
    model = model.module if is_model_wrapper(model) else model
    model = getattr(model, 'restorer', model)
    return model.generator if isinstance(getattr(model, 'generator', None), nn.Module) else model
