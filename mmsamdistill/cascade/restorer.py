"""The method itself: a restorer taught by a region-aware copy of itself."""

from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmsamdistill.arguments import check_choice
from mmsamdistill.cascade.building import (
    AVERAGE,
    build_average,
    build_part,
    build_regions,
    build_student,
    build_teacher,
    cascade_state_dict,
    check_options,
    check_same_size,
    check_warmup,
)
from mmsamdistill.cascade.feature_tap import FeatureTap
from mmsamdistill.cascade.image_range import logged_psnr, span_of, to_unit_rgb
from mmsamdistill.cascade.steps import (
    ground_truth,
    image_of,
    known_or,
    of_images,
    regions_of,
    run_stages,
    stage_losses,
    teaches_now,
    warmup_factor,
    warn_of_feedback,
)
from mmsamdistill.losses.spd import gradient_ratio
from mmsamdistill.regions import RegionMap
from mmsamdistill.value_range import value_range as told_range

# Module constants, since a dict as a default argument could be edited by a caller.
DEFAULT_SPF = {'type': 'SPFHead'}
DEFAULT_SPD = {'type': 'SPDLoss'}
DEFAULT_SGR = {'type': 'SGRLoss'}
DEFAULT_ANALYZER = {'type': 'VGGAnalyzer'}
DEFAULT_REGIONS = {'type': 'SuperpixelRegions'}


@MODELS.register_module()
class SAMDistillRestorer(BaseModel):
    r"""Train a restorer with region priors, and distil the priors away.

    .. math::
        I_1 &= f_1(x), \quad R = regions(I_1), \quad F = SPF(I_1, R), \quad I_2 = f_2(F) \\
        L &= L_{rec}(I_1, y) + L_{rec}(I_2, y)
             + \lambda_1 SPD(I_1, sg[\bar I_2]) + \lambda_2 SGR(\phi(I_1), sg[\phi(\bar I_2)], R)

    :math:`f_1`, the student, is what is deployed: ``mode='tensor'`` and ``mode='predict'`` run it
    and nothing else. :math:`f_2`, the teacher, has the same architecture and sees the first result
    fused with its regions. :math:`\bar I_2` is the image of an average of SPF and teacher over the
    last steps: the target stands still while the teacher learns.

    A batch may hold images without a ground truth, marked by the transform ``WithoutTruth``: they
    take part in SPD and SGR alone.

    Args:
        restorer: Config of the whole plain model, as ``{{_base_.model}}`` gives it. Its
            ``pixel_loss`` serves both reconstructions, its ``data_preprocessor`` the whole cascade.
            Of several outputs (see ``MultiStageRestorer``) the deployed one alone is distilled.
        teacher: What differs in the teacher's config from ``restorer``, for example
            ``dict(generator=dict(mid_channels=64))``. None: nothing.
        spf: Semantic priors fusion. None: the teacher sees the first result alone. Here, in both
            losses and in ``analyzer`` a config without a type is of the default one.
        spd_loss: Semantic priors distillation. None: off.
        sgr_loss: Semantic-guided relation. None: off, and no analyser is built.
        analyzer: Frozen features for ``sgr_loss``.
        regions: Where region maps come from. The default needs no preparation, superpixels of the
            restored image. None: no regions.
        stage: 'joint' trains everything together; 'teacher' trains SPF and teacher against a fixed
            student; 'student' trains the student against a fixed SPF and teacher.
        teacher_input: What SPF enriches for the teacher: 'restored', the student's image, as in the
            paper, or 'degraded', the student's input. With ``stage='teacher'`` the second measures
            the information ceiling of a prior; without SPF it is plain output distillation.
        teacher_momentum: Smallest share of the present weights in the average of SPF and teacher,
            in (0, 1]; in step t the share is 10 / (10 + t) if that is more. None: no average, SPD
            and SGR draw to the teacher of the very step. In the other stages there is none.
        teacher_interval: The teacher is trained and asked in one iteration of so many; in others
            the student learns from its reconstruction alone, at the plain step's cost. The recipes
            have 4, which was measured to teach as much. Above 1, distributed joint training wants
            ``find_unused_parameters=True`` in the config. ``stage='teacher'`` trains in every step,
            as does what has no Runner.
        detach_cascade: Keep the teacher's gradient out of the student, as in the paper, where the
            student learns from its own reconstruction, SPD and SGR alone.
        spd_warmup: Iterations (a, b) between which the weight of SPD grows from 0 to its value.
        sgr_warmup: The same for SGR.
        value_range: Which value is white in the images as they are read. None: told from the
            preprocessor's mean and std.
        init_cfg: MMEngine's initialisation config.

    Shape:
        - inputs: (N, C, H, W), normalised
        - data_samples.gt_img: (N, C, H, W), normalised in training
        - data_samples.regions: (N, 1, H, W) integers, needed by cached regions only

    Raises:
        TypeError: If ``restorer`` is not the config of a whole model.
        ValueError: If an argument is out of range, or, at the first step, if there is no ground
            truth, the restorer changes the size of its input, or a region map does not fit.

    Source: Zhang et al., CVPR 2024 (cascade, SPF, SPD, SGR); the average, stages, warm-up and every
        default are ours.
    """

    may_be_missing = (AVERAGE,)  # in checkpoints that are older than the average

    def __init__(
        self,
        restorer: dict,
        teacher: dict | None = None,
        spf: dict | None = DEFAULT_SPF,
        spd_loss: dict | None = DEFAULT_SPD,
        sgr_loss: dict | None = DEFAULT_SGR,
        analyzer: dict | None = DEFAULT_ANALYZER,
        regions: dict | None = DEFAULT_REGIONS,
        stage: str = 'joint',
        teacher_input: str = 'restored',
        teacher_momentum: float | None = 0.001,
        teacher_interval: int = 1,
        detach_cascade: bool = True,
        spd_warmup: tuple[int, int] = (0, 0),
        sgr_warmup: tuple[int, int] = (0, 0),
        value_range: float | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        check_options(stage, teacher_input, teacher_momentum, teacher_interval, detach_cascade)
        student = build_student(restorer)
        # The very same object: MMagic's `destruct` reads what the last preprocessing left in it.
        super().__init__(data_preprocessor=student.data_preprocessor, init_cfg=init_cfg)
        self.data_preprocessor.value_range = value_range or told_range(self.data_preprocessor)
        self._span = span_of(self.data_preprocessor)
        self.restorer = student
        self.teacher = build_teacher(restorer, teacher, self.data_preprocessor)
        self.spf = build_part(spf, DEFAULT_SPF)
        self.spd_loss = build_part(spd_loss, DEFAULT_SPD)
        self.sgr_loss = build_part(sgr_loss, DEFAULT_SGR)
        if self.sgr_loss is not None and analyzer is None:
            raise ValueError('sgr_loss needs an analyzer; set sgr_loss=None to do without both')
        used = None if self.sgr_loss is None else analyzer
        self.analyzer = build_part(used, DEFAULT_ANALYZER)
        self.stage = stage
        self.teacher_input = teacher_input
        self.teacher_interval = 1 if stage == 'teacher' else teacher_interval
        self.regions = build_regions(regions, self.teacher_interval)
        self.detach_cascade = detach_cascade
        self.spd_warmup = check_warmup('spd_warmup', spd_warmup)
        self.sgr_warmup = check_warmup('sgr_warmup', sgr_warmup)
        self.average = build_average(self, teacher_momentum)
        self._fixed_parts().requires_grad_(False)

    def forward(
        self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor', **kwargs: Any
    ) -> Any:
        """Run the student, or compute the losses of the whole cascade.

        Args:
            inputs: Degraded images, preprocessed.
            data_samples: Stacked data samples.
            mode: 'tensor', 'predict' (both: the student alone) or 'loss'.
            **kwargs: Handed to the restorer in the first two modes.

        Returns:
            What the plain restorer returns in that mode; a dict of losses for 'loss'.

        Raises:
            ValueError: For another mode, or as the class says.
        """
        if mode == 'loss':
            return self.forward_train(image_of(inputs), data_samples)
        check_choice(('tensor', 'predict', 'loss'), mode=mode)
        return self.restorer(inputs, data_samples, mode=mode, **kwargs)

    def predict_teacher(self, inputs: Tensor, data_samples: Any = None) -> list:
        """Predict with the whole cascade, to see during training how good the teacher is.

        Args:
            inputs: Degraded images, preprocessed.
            data_samples: Stacked data samples; with regions if the source is a cache.

        Returns:
            The list of data samples that the plain restorer's ``mode='predict'`` would return,
            holding the images of what teaches: the averaged teacher, where there is an average.
        """
        inputs = image_of(inputs)
        restored = self.restorer(inputs, data_samples, mode='tensor')
        spf, teacher = self._target_networks()
        regions = regions_of(restored, self.regions, self.data_preprocessor, data_samples)
        return teacher(self._fuse(spf, inputs, restored, regions), data_samples, mode='predict')

    def forward_train(self, inputs: Tensor, data_samples: Any) -> dict[str, Tensor]:
        """Compute the losses of one step.

        Args:
            inputs: Degraded images, preprocessed.
            data_samples: Stacked data samples with ``gt_img``.

        Returns:
            ``loss_rec``, ``loss_rec_teacher``, ``loss_spd`` and ``loss_sgr`` where they are on,
            ``loss_aux`` and ``loss_aux_teacher`` if there are outputs that are not deployed, and
            for the log alone the batch's ``psnr_student`` and ``psnr_teacher`` in dB. In a step
            that ``teacher_interval`` leaves out, those of the student alone.
        """
        truth, labelled = ground_truth(data_samples)
        warn_of_feedback(labelled is not None, self.stage, self.teacher_input)
        layers = getattr(self.spd_loss, 'feature_layers', ())
        if not teaches_now(self.teacher_interval):
            # What was compiled without a tap would have none in the next step either.
            with FeatureTap(self.restorer, layers):
                return self._train_alone(inputs, data_samples, truth, labelled)
        target_spf, target_teacher = self._target_networks()
        with FeatureTap(self.restorer, layers) as seen, FeatureTap(target_teacher, layers) as shown:
            # The student restores: I1 = f1(x).
            with torch.set_grad_enabled(self.stage != 'teacher'):
                stages = run_stages(self.restorer, inputs, data_samples)
            restored = stages[-1]
            check_same_size(inputs, restored, truth)

            # The teacher restores what regions say of it: R = regions(I1), I2 = f2(SPF(I1, R)).
            regions = regions_of(restored, self.regions, self.data_preprocessor, data_samples)
            shielded = restored.detach() if self.detach_cascade else restored
            with torch.set_grad_enabled(self.stage != 'student'):
                fused = self._fuse(self.spf, inputs, shielded, regions)
                taught_stages = run_stages(self.teacher, fused, data_samples)

            # What the student is drawn to comes from a teacher that stands still.
            target = taught_stages[-1].detach()
            if self.average is not None:
                with torch.no_grad():
                    fused = self._fuse(target_spf, inputs, restored, regions)
                    target = run_stages(target_teacher, fused, data_samples)[-1]

            # Both learn from the truth where there is one, the student everywhere from the teacher.
            losses = {}
            if self.stage != 'teacher':
                losses |= self._reconstruction(stages, truth, labelled)
            if self.stage != 'student':
                losses |= self._reconstruction(taught_stages, truth, labelled, '_teacher')
            if self.stage != 'teacher' and self.spd_loss is not None:
                criterion = self.restorer.pixel_loss
                loss = self.spd_loss(restored, target, truth, criterion, regions, labelled)
                if layers:
                    loss = loss + self.spd_loss.feature_loss(seen.features, shown.features)
                losses['loss_spd'] = warmup_factor(self.spd_warmup) * loss
            if self.stage != 'teacher' and self.sgr_loss is not None:
                loss = self._relation(restored, target, truth, regions, labelled, data_samples)
                losses['loss_sgr'] = warmup_factor(self.sgr_warmup) * loss
        student, teacher, truth = of_images([restored, target, truth], labelled)
        return losses | logged_psnr(truth, self.data_preprocessor, student=student, teacher=teacher)

    def train(self, mode: bool = True) -> 'SAMDistillRestorer':
        """Switch to training mode, except for what the stage keeps fixed."""
        super().train(mode)
        self._fixed_parts().eval()
        return self

    def init_weights(self) -> None:
        """Initialise, and begin the average at what came of it."""
        super().init_weights()
        if self.average is not None:
            self.average.restart()

    def _fixed_parts(self) -> nn.ModuleList:
        fixed = {'teacher': [self.restorer], 'student': [self.spf, self.teacher]}
        return nn.ModuleList(part for part in fixed.get(self.stage, ()) if part is not None)

    def _target_networks(self) -> tuple[nn.Module | None, nn.Module]:
        if self.average is None:
            return self.spf, self.teacher
        return getattr(self.average, 'spf', None), self.average.teacher

    def _fuse(
        self, spf: nn.Module | None, inputs: Tensor, restored: Tensor, regions: RegionMap
    ) -> Tensor:
        image = restored if self.teacher_input == 'restored' else inputs
        return image if spf is None else spf(image, regions)

    def _train_alone(
        self, inputs: Tensor, data_samples: Any, truth: Tensor, labelled: Tensor | None
    ) -> dict[str, Tensor]:
        """Compute the losses of a step in which the teacher rests."""
        stages = run_stages(self.restorer, inputs, data_samples)
        check_same_size(inputs, stages[-1], truth)
        losses = self._reconstruction(stages, truth, labelled)
        student, truth = of_images([stages[-1], truth], labelled)
        return losses | logged_psnr(truth, self.data_preprocessor, student=student)

    def _reconstruction(
        self, stages: list[Tensor], truth: Tensor, labelled: Tensor | None, suffix: str = ''
    ) -> dict[str, Tensor]:
        *stages, known = of_images([*stages, truth], labelled)
        return stage_losses(self.restorer, stages, known, suffix)

    def _relation(
        self,
        restored: Tensor,
        target: Tensor,
        truth: Tensor,
        regions: RegionMap,
        labelled: Tensor | None,
        data_samples: Any,
    ) -> Tensor:
        if getattr(self.sgr_loss, 'target', 'teacher') == 'truth':
            target = known_or(truth, restored, labelled)
        features = self.analyzer(to_unit_rgb(restored, self.data_preprocessor, data_samples))
        with torch.no_grad():
            targets = self.analyzer(to_unit_rgb(target, self.data_preprocessor, data_samples))
        loss = self.sgr_loss(features, targets, regions)
        if not getattr(self.sgr_loss, 'matched', False):
            return loss
        # In units of the reconstruction's gradient, of the images that have one.
        image, known = of_images([restored, truth], labelled)
        criterion = self.restorer.pixel_loss
        return loss * gradient_ratio(image, known, criterion, len(restored), self._span)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Accept the weights of a plain restorer as well, complete or not at all."""
        given = {key.removeprefix(prefix): value for key, value in state_dict.items()}
        complete = cascade_state_dict(given, self.state_dict(), self.restorer.state_dict())
        # torch and MMEngine go on to the children with this very dict.
        state_dict.clear()
        state_dict.update({prefix + key: value for key, value in complete.items()})
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
