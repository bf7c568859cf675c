"""How good is the teacher?"""

from collections.abc import Sequence
from typing import Any

import torch
from mmagic.registry import HOOKS, METRICS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmsamdistill.evaluation.validation_sets import metric_configs

_WITHOUT_CONFIG = {'type': 'PSNR', 'prefix': 'teacher'}


@HOOKS.register_module()
class TeacherEvaluationHook(Hook):
    """Evaluate the teacher beside the student in every validation.

    A student cannot learn what its teacher does not know: the gap between the two is the first
    thing to look at when a distilled restorer is no better than the plain one. The metrics are the
    host's own, logged as ``val/teacher/PSNR`` and so on. With cached regions the validation data
    need regions as well (``RegionDataset``). Several validation sets are averaged over all images.

    Args:
        metrics: Configs of MMagic metrics. Default: those of the validation itself, since numbers
            by different protocols (RGB and Y, say) cannot be compared.

    Raises:
        TypeError: At the first validation, if the model has no teacher.
    """

    priority = 'NORMAL'  # before the logger writes the validation's numbers

    def __init__(self, metrics: Sequence[dict] | None = None) -> None:
        self.configs = metrics
        self.metrics: list[Any] = []

    def before_val(self, runner: Runner) -> None:
        """Build the metrics, once."""
        if not self.metrics:
            found = self.configs or metric_configs(runner.cfg.get('val_evaluator'))
            configs = [{**config, 'prefix': 'teacher'} for config in found] or [_WITHOUT_CONFIG]
            # Several validation sets may have the same ones.
            different = [each for index, each in enumerate(configs) if each not in configs[:index]]
            self.metrics = [METRICS.build(config) for config in different]

    @torch.no_grad()
    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Let the teacher restore the batch that the student has just restored."""
        cascade = cascade_of(runner, type(self).__name__)
        data = cascade.data_preprocessor(data_batch, False)
        predictions = cascade.predict_teacher(data['inputs'], data['data_samples'])
        for metric in self.metrics:
            metric.process(data_batch, [each.to_dict() for each in predictions])

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Compute the metrics and hand them to the log."""
        loaders = getattr(runner.val_loop, 'dataloaders', None) or [runner.val_loop.dataloader]
        size = sum(len(loader.dataset) for loader in loaders)
        for metric in self.metrics:
            metric.size = size  # MMagic's metrics want it beforehand, see their `prepare`
            for name, value in metric.evaluate().items():
                runner.message_hub.update_scalar(f'val/{name}', value)
                if metrics is not None:
                    metrics[name] = value


def cascade_of(runner: Runner, hook: str) -> Any:
    """Take the cascade out of a Runner; another model is an error that names the hook."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not hasattr(model, 'predict_teacher'):
        raise TypeError(
            f'{hook} needs a SAMDistillRestorer, the model is a {type(model).__name__}; remove '
            'the hook from custom_hooks'
        )
    return model
