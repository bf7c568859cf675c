"""Restorers of several outputs. Imports MMagic's models, so it is itself imported at use."""

from collections.abc import Sequence
from typing import Any

from mmagic.models.base_models.base_edit_model import BaseEditModel
from mmagic.registry import MODELS
from torch import Tensor

from mmsamdistill.arguments import check_number
from mmsamdistill.cascade.steps import stage_losses


@MODELS.register_module()
class MultiStageRestorer(BaseEditModel):
    r"""A plain restorer whose network is also supervised before its last stage.

    .. math:: L = L_{rec}(I_S, y) + w \sum_{s < S} L_{rec}(I_s, y)

    Beside MMagic's restorer only the training differs: the last stage's image :math:`I_S` is
    deployed. To ``SAMDistillRestorer`` it shows all stages by :meth:`forward_stages` and what it
    wants of those that are not deployed by :meth:`auxiliary_loss`; a subclass may override both.

    Args:
        generator: Config of the network. Besides ``forward``, which returns the deployed image, it
            has a method ``forward_stages``, which returns the images of all stages, the deployed
            one last.
        pixel_loss: Config of the loss of every stage.
        auxiliary_weight: :math:`w`, at least 0; with 0 ``BaseEditModel`` does the same. Default: 1.
        options: ``train_cfg``, ``test_cfg``, ``init_cfg`` and ``data_preprocessor`` of MMagic's
            ``BaseEditModel``.

    Raises:
        ValueError: If ``auxiliary_weight`` is negative.
        TypeError: If the network has no ``forward_stages``.

    Source: the sum over stages is that of HINet (Chen et al., CVPRW 2021) and MPRNet (Zamir et al.,
        CVPR 2021).
    """

    def __init__(
        self, generator: dict, pixel_loss: dict, auxiliary_weight: float = 1.0, **options: Any
    ) -> None:
        super().__init__(generator, pixel_loss, **options)
        check_number(0, auxiliary_weight=auxiliary_weight)
        if not hasattr(self.generator, 'forward_stages'):
            raise TypeError(
                f'{type(self.generator).__name__} has no method `forward_stages`, which returns '
                "all stages' images, the deployed one last; use type='BaseEditModel' for one output"
            )
        self.auxiliary_weight = auxiliary_weight

    def forward_stages(self, inputs: Tensor, data_samples: Any = None) -> list[Tensor]:
        """Restore images and return all outputs, the deployed one last."""
        return list(self.generator.forward_stages(inputs))

    def auxiliary_loss(self, stages: Sequence[Tensor], truth: Tensor) -> Tensor:
        """Judge the outputs that are not deployed: a scalar."""
        return self.auxiliary_weight * sum(self.pixel_loss(stage, truth) for stage in stages)

    def forward_train(
        self, inputs: Tensor, data_samples: Any = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Compute ``loss_rec`` of the deployed output and, if there are others, ``loss_aux``."""
        stages = self.forward_stages(inputs, data_samples)
        return stage_losses(self, stages, data_samples.gt_img)
