"""Images of another range than the model expects, found in the first batches."""

from collections.abc import Mapping
from typing import Any

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmsamdistill.arguments import check_number
from mmsamdistill.engine.batches import files_of
from mmsamdistill.value_range import value_range

# A filter may take the truth a little above white; 8 bits taken for 16, or for 0 to 1, are 255 off.
_TOO_BRIGHT, _TOO_DARK = 2.0, 0.01


@HOOKS.register_module()
class ValueRangeHook(Hook):
    """Stop a training whose images are not of the range that mean and std mean.

    8-bit files with a std of 65535 are black to whoever looks at the image, a source of regions or
    the analyser, those with a std of 1 are white: the training goes on, and teaches nothing. The
    truth of the first batches is looked at, since noise may leave the range. Where mean and std do
    not tell what white is, nothing is compared. ``tools/train.py`` registers it in every run.

    Args:
        batches: So many batches without a brighter pixel are too dark. Default: 10.

    Raises:
        ValueError: If ``batches`` is below 1; in training, if the images are of another range.
    """

    priority = 'VERY_HIGH'

    def __init__(self, batches: int = 10) -> None:
        check_number(1, batches=batches)
        self.batches = batches
        self._left = 0
        self._white = self._brightest = 0.0

    def before_train(self, runner: Runner) -> None:
        """Tell which value is white."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        try:
            self._white = value_range(model.data_preprocessor)
        except (AttributeError, ValueError):
            return  # it does not tell, and a model that has to know has refused it
        self._left, self._brightest = self.batches, 0.0

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Mapping[str, Any] | None = None
    ) -> None:
        """Compare."""
        samples = (data_batch or {}).get('data_samples') or () if self._left else ()
        truths = [sample.gt_img for sample in samples if 'gt_img' in sample]
        # Images without a truth carry NaN in its place, which no comparison would see.
        truths = [truth for truth in truths if not bool(truth.isnan().any())]
        if not truths:
            return
        self._left -= 1
        brightest = max(float(truth.max()) for truth in truths)
        self._brightest = max(self._brightest, brightest)
        too_dark = not self._left and self._brightest < _TOO_DARK * self._white
        if too_dark or brightest > _TOO_BRIGHT * self._white:
            raise ValueError(
                f'{", ".join(files_of(data_batch)[:4]) or "images"}: values up to '
                f'{self._brightest:g}, but by mean and std of the data_preprocessor white is '
                f'{self._white:g}: set mean and std to the range of the images as they are loaded'
            )
