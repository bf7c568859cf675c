"""The method itself: a restorer taught by a region-aware copy of itself."""

from __future__ import annotations

from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmsamdistill.cascade.building import build_part, build_teacher
from mmsamdistill.cascade.feature_tap import FeatureTap
from mmsamdistill.cascade.image_range import to_unit_rgb
from mmsamdistill.cascade.loading import cascade_state_dict
from mmsamdistill.cascade.stages import check_same_size, run_stages, stage_losses
from mmsamdistill.cascade.warmup import check_warmup, warmup_factor
from mmsamdistill.regions import RegionMap

# Module constants, since a dict as a default argument could be edited by a caller.
DEFAULT_SPF = {'type': 'SPFHead'}
DEFAULT_SPD = {'type': 'SPDLoss'}
DEFAULT_SGR = {'type': 'SGRLoss'}
DEFAULT_ANALYZER = {'type': 'VGGAnalyzer'}
DEFAULT_REGIONS = {'type': 'SuperpixelRegions'}
STAGES = ('joint', 'teacher', 'student')
TEACHER_INPUTS = ('restored', 'degraded')


@MODELS.register_module()
class SAMDistillRestorer(BaseModel):
    r"""Train a restorer with region priors, and distil the priors away.

    .. math::
        I_1 &= f_1(x), \quad R = regions(I_1), \quad F = SPF(I_1, R), \quad I_2 = f_2(F) \\
        L &= L_{rec}(I_1, y) + L_{rec}(I_2, y)
             + \lambda_1 SPD(I_1, sg[I_2]) + \lambda_2 SGR(\phi(I_1), sg[\phi(I_2)], R)

    :math:`f_1`, the student, is what is deployed: ``mode='tensor'`` and ``mode='predict'`` run it
    and nothing else. :math:`f_2`, the teacher, has the same architecture and sees the first result
    fused with its regions.

    The defaults are those that were measured to do the student no harm (``benchmarks``, noise of
    sigma 50; see :class:`SPDLoss` for its own): ``detach_cascade=False`` without SPD costs it 0.29
    ± 0.03 dB. Regions of the restored image are the default because they need no preparation.
    Superpixels of it were worth nothing to the teacher (26.82 ± 0.04 dB, shuffled ones 26.77 ± 0.03
    dB); cached superpixels of the truth were, 27.71 ± 0.02 dB, and the student was the same.

    Args:
        restorer: Config of the whole plain model, as ``{{_base_.model}}`` gives it. Its
            ``pixel_loss`` serves both reconstructions, its ``data_preprocessor`` the whole cascade.
            Of several outputs (see ``MultiStageRestorer``) the deployed one alone is distilled.
        teacher: What differs in the teacher's config from ``restorer``, for example
            ``dict(generator=dict(mid_channels=64))``. None: nothing.
        spf: Semantic priors fusion. None: the teacher sees the first result alone.
        spd_loss: Semantic priors distillation. None: off.
        sgr_loss: Semantic-guided relation. None: off, and no analyser is built.
        analyzer: Frozen features for ``sgr_loss``.
        regions: Where region maps come from. None: no regions.
        stage: 'joint' trains everything together; 'teacher' trains SPF and teacher against a fixed
            student; 'student' trains the student against a fixed SPF and teacher.
        teacher_input: What SPF enriches for the teacher: 'restored', the student's image, as in the
            paper, or 'degraded', the student's input. With ``stage='teacher'`` the second measures
            the information ceiling of a prior; without SPF it is plain output distillation.
        detach_cascade: Keep the teacher's gradient out of the student, as in the paper, where the
            student learns from its own reconstruction, SPD and SGR alone.
        spd_warmup: Iterations (a, b) between which the weight of SPD grows from 0 to its value.
        sgr_warmup: The same for SGR.
        init_cfg: MMEngine's initialisation config.

    Shape:
        - inputs: (N, C, H, W), normalised
        - data_samples.gt_img: (N, C, H, W), normalised in training
        - data_samples.regions: (N, 1, H, W) integers, needed by cached regions only

    Raises:
        ValueError: If an argument is out of range, or, at the first step, if the restorer changes
            the size of its input or a region map does not fit its image.

    Source: Zhang et al., CVPR 2024 (cascade, SPF, SPD, SGR); stages, warm-up and every default are
        ours.
    """

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
        detach_cascade: bool = True,
        spd_warmup: tuple[int, int] = (0, 0),
        sgr_warmup: tuple[int, int] = (0, 0),
        init_cfg: dict | None = None,
    ) -> None:
        if stage not in STAGES:
            raise ValueError(f'stage={stage!r} is not one of {STAGES}')
        if teacher_input not in TEACHER_INPUTS:
            raise ValueError(f'teacher_input={teacher_input!r} is not one of {TEACHER_INPUTS}')
        student = MODELS.build(restorer)
        # The very same object: MMagic's `destruct` reads what the last preprocessing left in it.
        super().__init__(data_preprocessor=student.data_preprocessor, init_cfg=init_cfg)
        self.restorer = student
        self.teacher = build_teacher(restorer, teacher, self.data_preprocessor)
        self.spf = build_part(spf)
        self.spd_loss = build_part(spd_loss)
        self.sgr_loss = build_part(sgr_loss)
        if self.sgr_loss is not None and analyzer is None:
            raise ValueError('sgr_loss needs an analyzer; set sgr_loss=None to do without both')
        self.analyzer = build_part(analyzer) if self.sgr_loss is not None else None
        self.regions = build_part(regions)
        self.stage = stage
        self.teacher_input = teacher_input
        self.detach_cascade = detach_cascade
        self.spd_warmup = check_warmup('spd_warmup', spd_warmup)
        self.sgr_warmup = check_warmup('sgr_warmup', sgr_warmup)
        for part in self._fixed_parts():
            part.requires_grad_(False)

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
            return self.forward_train(_image(inputs), data_samples)
        if mode not in ('tensor', 'predict'):
            raise ValueError(f"mode={mode!r} is not one of 'tensor', 'predict', 'loss'")
        return self.restorer(inputs, data_samples, mode=mode, **kwargs)

    def predict_teacher(self, inputs: Tensor, data_samples: Any = None) -> list:
        """Predict with the whole cascade, to see during training how good the teacher is.

        Args:
            inputs: Degraded images, preprocessed.
            data_samples: Stacked data samples; with regions if the source is a cache.

        Returns:
            The list of data samples that the plain restorer's ``mode='predict'`` would return,
            holding the teacher's images.
        """
        inputs = _image(inputs)
        restored = self.restorer(inputs, data_samples, mode='tensor')
        fused = self._fuse(inputs, restored, self._region_map(restored, data_samples))
        return self.teacher(fused, data_samples, mode='predict')

    def forward_train(self, inputs: Tensor, data_samples: Any) -> dict[str, Tensor]:
        """Compute the losses of one step.

        Args:
            inputs: Degraded images, preprocessed.
            data_samples: Stacked data samples with ``gt_img``.

        Returns:
            ``loss_rec``, ``loss_rec_teacher``, ``loss_spd`` and ``loss_sgr`` where they are on,
            ``loss_aux`` and ``loss_aux_teacher`` if there are outputs that are not deployed, and
            for the log alone the batch's ``psnr_student`` and ``psnr_teacher`` in dB.
        """
        truth = data_samples.gt_img
        layers = getattr(self.spd_loss, 'feature_layers', ())
        with FeatureTap(self.restorer, layers) as seen, FeatureTap(self.teacher, layers) as shown:
            stages = self._restore(inputs, data_samples)
            restored = stages[-1]
            check_same_size(inputs, restored, truth)
            regions = self._region_map(restored, data_samples)
            taught_stages = self._teach(inputs, restored, regions, data_samples)
            taught = taught_stages[-1]
            losses = self._reconstruction(stages, taught_stages, truth)
            if self.stage != 'teacher':
                losses |= self._prior_distillation(
                    restored, taught, truth, regions, (seen.features, shown.features)
                )
                losses |= self._guided_relation(restored, taught, regions, data_samples)
        losses['psnr_student'] = self._psnr(restored, truth)
        losses['psnr_teacher'] = self._psnr(taught, truth)
        return losses

    def train(self, mode: bool = True) -> SAMDistillRestorer:
        """Switch to training mode, except for what the stage keeps fixed."""
        super().train(mode)
        for part in self._fixed_parts():
            part.eval()
        return self

    def _fixed_parts(self) -> list[nn.Module]:
        if self.stage == 'teacher':
            return [self.restorer]
        if self.stage == 'student':
            return [self.teacher] if self.spf is None else [self.spf, self.teacher]
        return []

    def _restore(self, inputs: Tensor, data_samples: Any) -> list[Tensor]:
        with torch.set_grad_enabled(self.stage != 'teacher'):
            return run_stages(self.restorer, inputs, data_samples)

    def _region_map(self, restored: Tensor, data_samples: Any) -> RegionMap:
        if self.regions is None:
            labels = restored.new_zeros((len(restored), *restored.shape[-2:]), dtype=torch.long)
        else:
            seen = to_unit_rgb(restored.detach(), self.data_preprocessor, data_samples)
            labels = self.regions(seen.float().clamp(0, 1), data_samples)
        if labels.shape[-2:] != restored.shape[-2:]:
            raise ValueError(
                f'region maps of {tuple(labels.shape[-2:])} pixels beside images of '
                f'{tuple(restored.shape[-2:])}: regions and images must be cropped alike'
            )
        return RegionMap.from_labels(labels)

    def _teach(
        self, inputs: Tensor, restored: Tensor, regions: RegionMap, data_samples: Any
    ) -> list[Tensor]:
        shown = restored.detach() if self.detach_cascade else restored
        with torch.set_grad_enabled(self.stage != 'student'):
            return run_stages(self.teacher, self._fuse(inputs, shown, regions), data_samples)

    def _fuse(self, inputs: Tensor, restored: Tensor, regions: RegionMap) -> Tensor:
        image = restored if self.teacher_input == 'restored' else inputs
        return image if self.spf is None else self.spf(image, regions)

    def _reconstruction(
        self, stages: list[Tensor], taught_stages: list[Tensor], truth: Tensor
    ) -> dict[str, Tensor]:
        losses = {}
        if self.stage != 'teacher':
            losses |= stage_losses(self.restorer, stages, truth)
        if self.stage != 'student':
            losses |= stage_losses(self.restorer, taught_stages, truth, '_teacher')
        return losses

    def _prior_distillation(
        self,
        restored: Tensor,
        taught: Tensor,
        truth: Tensor,
        regions: RegionMap,
        features: tuple[dict[str, Tensor], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        if self.spd_loss is None:
            return {}
        loss = self.spd_loss(restored, taught, truth, self.restorer.pixel_loss, regions)
        if features[0]:
            loss = loss + self.spd_loss.feature_loss(*features)
        return {'loss_spd': warmup_factor(self.spd_warmup) * loss}

    def _guided_relation(
        self, restored: Tensor, taught: Tensor, regions: RegionMap, data_samples: Any
    ) -> dict[str, Tensor]:
        if self.sgr_loss is None:
            return {}
        features = self.analyzer(to_unit_rgb(restored, self.data_preprocessor, data_samples))
        with torch.no_grad():
            target = self.analyzer(
                to_unit_rgb(taught.detach(), self.data_preprocessor, data_samples)
            )
        return {
            'loss_sgr': warmup_factor(self.sgr_warmup) * self.sgr_loss(features, target, regions)
        }

    @torch.no_grad()
    def _psnr(self, images: Tensor, truth: Tensor) -> Tensor:
        # Channel order does not matter to an error, so the data samples are not asked for it.
        seen, wanted = (
            to_unit_rgb(each.float(), self.data_preprocessor) for each in (images, truth)
        )
        return -10 * (seen - wanted).square().mean().clamp_min(1e-10).log10()

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


def _image(inputs: Tensor | dict[str, Tensor]) -> Tensor:
    # MMagic's pipelines give a dict where there is more than the image.
    return inputs['img'] if isinstance(inputs, dict) else inputs
