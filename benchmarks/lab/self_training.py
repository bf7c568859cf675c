"""A control without any second network: a restorer drawn to the average of itself."""

from typing import Any

# First, since it makes MMagic importable; the forks of MMCV need that.
import mmsamdistill  # noqa: F401

# isort: split
import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor

from mmsamdistill.cascade.averaged import AveragedNetworks
from mmsamdistill.cascade.steps import ground_truth, of_images
from mmsamdistill.losses import SPDLoss


@MODELS.register_module()
class SelfTrainedRestorer(BaseModel):
    """Train a restorer by its truth, and by the average of its own last steps on every image.

    The same loss on the same images as the cascade's SPD, so that what a teacher and a prior add
    can be told from what an average alone does.

    Args:
        restorer: Config of the whole plain model.
        loss_weight: Weight of the distance to the average, as SPD's.
        momentum: Smallest share of the present weights in the average, as the cascade's.
    """

    def __init__(self, restorer: dict, loss_weight: float = 1.0, momentum: float = 0.001) -> None:
        student = MODELS.build(restorer)
        super().__init__(data_preprocessor=student.data_preprocessor)
        self.restorer = student
        self.average = AveragedNetworks(momentum, restorer=student)
        # The very same object: MMagic reads what the last preprocessing left in it.
        self.average.restorer.data_preprocessor = student.data_preprocessor
        self.spd_loss = SPDLoss(loss_weight=loss_weight)

    def forward(
        self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor', **kwargs: Any
    ) -> Any:
        """Run the restorer, or compute both losses."""
        if mode != 'loss':
            return self.restorer(inputs, data_samples, mode=mode, **kwargs)
        truth, labelled = ground_truth(data_samples)
        restored = self.restorer.generator(inputs)
        with torch.no_grad():
            target = self.average.restorer.generator(inputs)
        criterion = self.restorer.pixel_loss
        known, known_truth = of_images([restored, truth], labelled)
        return {
            'loss_rec': criterion(known, known_truth),
            'loss_spd': self.spd_loss(restored, target, truth, criterion, None, labelled),
        }

    def predict_teacher(self, inputs: Tensor, data_samples: Any = None) -> list:
        """Predict with the average, to see how good it is."""
        return self.average.restorer(inputs, data_samples, mode='predict')

    def init_weights(self) -> None:
        """Initialise, and begin the average at what came of it."""
        super().init_weights()
        self.average.restart()
