"""Semantic priors distillation (SPD): the student's image drawn towards the teacher's.

Two choices make up the loss: *how far*, the distances, 0 where the two are equal, and *where*, the
gates, (N, 1, H, W). Where a gate is closed the target becomes the student's own detached value, so
that every distance is at its minimum there and has no gradient.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.arguments import check_choice, check_number, check_positive
from mmsamdistill.regions.membership import widen
from mmsamdistill.regions.region_map import RegionMap

DISTANCES = ('matched', 'pixel_loss', 'l1', 'l2', 'charbonnier')
GATES = (None, 'pixel', 'region')
PixelLoss = Callable[[Tensor, Tensor], Tensor]


def l1_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference; the gradient has the same size however close the two are."""
    return (student - target).abs().mean()


def l2_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference; the gradient fades as the two approach each other."""
    return (student - target).square().mean()


def charbonnier_distance(student: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    r"""Smooth absolute difference, :math:`mean(\sqrt{(I_1 - I_2)^2 + \epsilon^2} - \epsilon)`."""
    return ((student - target).square() + eps**2).sqrt().mean() - eps


def matched_distance(student: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    r"""Squared difference whose gradient has given units, those of ``gradient_scale`` (N,).

    .. math:: D = \sum_n \tfrac{1}{2} s_n \|I_{1,n} - I_{2,n}\|^2, \qquad
              \partial D / \partial I_{1,n} = s_n (I_{1,n} - I_{2,n})
    """
    return 0.5 * (scale * (student - target).square().flatten(1).sum(dim=1)).sum()


def feature_distance(student: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    r"""Squared difference relative to the target's variance, :math:`mean((a - b)^2) / var(b)`.

    Layers differ in magnitude by orders; relative to its own variance each weighs the same.
    """
    target = target.detach()
    # eps keeps constant features finite.
    return l2_distance(student, target) / (target.var(correction=0) + eps)


def pixel_gate(student: Tensor, teacher: Tensor, gt: Tensor) -> Tensor:
    """Open at the pixels where the teacher is closer to the truth (L1) than the student.

    A student that lies between truth and teacher is drawn away from the truth by an ungated
    distance. At such a pixel the teacher is the farther one, so this gate is closed there, as it
    is where the two are equally close.
    """
    student_error = (student - gt).abs().mean(dim=1, keepdim=True)
    teacher_error = (teacher - gt).abs().mean(dim=1, keepdim=True)
    return teacher_error < student_error


def region_gate(student: Tensor, teacher: Tensor, gt: Tensor, regions: RegionMap) -> Tensor:
    """Open in the regions where the teacher is closer to the truth (L2) than the student.

    One verdict a region is steadier than one a pixel: the teacher's advantage is averaged over an
    object, and a few chance pixels do not switch it. Pixels in no region are judged one by one.
    """
    student_error = regions.pool((student - gt).square().mean(dim=1, keepdim=True))
    teacher_error = regions.pool((teacher - gt).square().mean(dim=1, keepdim=True))
    closer = regions.broadcast((teacher_error < student_error).to(student.dtype)) > 0.5
    inside = (regions.ids > 0).unsqueeze(1)
    return torch.where(inside, closer, pixel_gate(student, teacher, gt))


@MODELS.register_module()
class SPDLoss(nn.Module):
    r"""Semantic priors distillation: draw the student's image towards the teacher's.

    .. math:: \lambda_1 SPD(I_1, sg[I_2])

    Beware of ``distance='l1', gate=None, loss_weight=1`` beside an L1 reconstruction: wherever the
    student lies between truth and teacher the two gradients cancel, and training collapses. The
    default gate is closed there. It also bounds this loss: where it is open the teacher is nearer
    to the truth than the student, hence no farther from the student than twice the student's error.

    Args:
        loss_weight: :math:`\lambda_1`, at least 0. With 'matched' it is relative to the
            reconstruction's gradient, whatever the reconstruction loss.
        distance: 'matched' (squared, its gradient in units of the reconstruction's), 'pixel_loss'
            (the restorer's own loss), 'l1', 'l2' or 'charbonnier'.
        gate: Distil only where the teacher is closer to the truth: by 'pixel', by 'region', or None
            to distil everywhere. It is open in images without a truth.
        feature_layers: Names of modules whose outputs :meth:`feature_loss` compares, for
            example ``('generator.middle_blks',)``.
        feature_weight: Weight of :meth:`feature_loss`, above 0 exactly if there are layers.
        eps: Of 'charbonnier': differences well below it count squared; in the units of the images.

    Shape:
        - student, teacher, gt: (N, C, H, W)

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> student = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
        >>> teacher, gt = torch.full((1, 3, 4, 4), 0.2), torch.zeros(1, 3, 4, 4)
        >>> loss = SPDLoss(loss_weight=1.0)(student, teacher, gt, nn.MSELoss())
        >>> round(loss.item(), 4)
        0.09

    Source: Zhang et al., CVPR 2024; the matched distance, the gates and every default are ours.
    """

    def __init__(
        self,
        loss_weight: float = 0.3,
        distance: str = 'matched',
        gate: str | None = 'pixel',
        feature_layers: Sequence[str] = (),
        feature_weight: float = 0.0,
        eps: float = 1e-3,
    ) -> None:
        super().__init__()
        check_choice(DISTANCES, distance=distance)
        check_choice(GATES, gate=gate)
        check_number(0, loss_weight=loss_weight, feature_weight=feature_weight)
        check_positive(eps=eps)
        if isinstance(feature_layers, str):
            raise ValueError(f'feature_layers={feature_layers!r} must be a sequence of names')
        if bool(feature_layers) != (feature_weight > 0):
            raise ValueError(
                'feature_layers and feature_weight belong together: give both or neither, '
                f'got {tuple(feature_layers)} and {feature_weight}'
            )
        self.loss_weight = loss_weight
        self.distance = distance
        self.gate = gate
        self.feature_layers = tuple(feature_layers)
        self.feature_weight = feature_weight
        self.eps = eps

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        gt: Tensor,
        pixel_loss: PixelLoss | None = None,
        regions: RegionMap | None = None,
        labelled: Tensor | None = None,
    ) -> Tensor:
        """Compute the weighted distance, in float32 also under mixed precision.

        Args:
            student: Restored images, the only input that gets a gradient.
            teacher: The teacher's images.
            gt: Ground truth.
            pixel_loss: The reconstruction loss; needed by 'matched' and 'pixel_loss'.
            regions: Regions of the images; needed by ``gate='region'``.
            labelled: (N,) booleans, which images have a ground truth. None: all. 'matched' takes
                the mean scale of the labelled ones for the others, so it is zero without any.

        Returns:
            Scalar.

        Raises:
            ValueError: If shapes differ, or something the options need is missing.
        """
        if not student.shape == teacher.shape == gt.shape:
            raise ValueError(
                f'student {tuple(student.shape)}, teacher {tuple(teacher.shape)} and gt '
                f'{tuple(gt.shape)} must have one shape'
            )
        with torch.autocast(student.device.type, enabled=False):
            student, teacher, gt = widen(student), widen(teacher.detach()), widen(gt)
            target = self._target(student.detach(), teacher, gt, regions, labelled)
            return self.loss_weight * self._distance(student, target, gt, pixel_loss, labelled)

    def feature_loss(
        self, student_features: Mapping[str, Tensor], teacher_features: Mapping[str, Tensor]
    ) -> Tensor:
        """Compute the weighted mean distance of features over ``feature_layers``.

        Args:
            student_features: Features of the student by layer name.
            teacher_features: Features of the teacher by layer name; detached here.

        Returns:
            Scalar.

        Raises:
            KeyError: If a layer's features are missing.
            ValueError: If the shapes of a layer's features differ, or there are no layers.
        """
        if not self.feature_layers:
            raise ValueError('feature_loss needs feature_layers and feature_weight')
        distances = []
        for name in self.feature_layers:
            if name not in student_features or name not in teacher_features:
                raise KeyError(f'no features of layer {name!r}; it did not run in both networks')
            ours, theirs = student_features[name], teacher_features[name]
            if ours.shape != theirs.shape:
                raise ValueError(
                    f'features of layer {name!r} differ in shape: student {tuple(ours.shape)}, '
                    f'teacher {tuple(theirs.shape)}; choose layers of equal shape'
                )
            with torch.autocast(ours.device.type, enabled=False):
                distances.append(feature_distance(widen(ours), widen(theirs)))
        return self.feature_weight * torch.stack(distances).mean()

    def extra_repr(self) -> str:
        """Say what this loss does, for ``print(model)``."""
        return f'loss_weight={self.loss_weight}, distance={self.distance!r}, gate={self.gate!r}'

    def _target(
        self,
        student: Tensor,
        teacher: Tensor,
        gt: Tensor,
        regions: RegionMap | None,
        labelled: Tensor | None,
    ) -> Tensor:
        if self.gate is None:
            return teacher
        if self.gate == 'pixel':
            is_open = pixel_gate(student, teacher, gt)
        elif regions is None:
            raise ValueError("gate='region' needs regions; pass a RegionMap or use gate='pixel'")
        else:
            is_open = region_gate(student, teacher, gt, regions)
        if labelled is not None:
            is_open = is_open | ~labelled.view(-1, 1, 1, 1)
        return torch.where(is_open, teacher, student)

    def _distance(
        self,
        student: Tensor,
        target: Tensor,
        gt: Tensor,
        pixel_loss: PixelLoss | None,
        labelled: Tensor | None,
    ) -> Tensor:
        if self.distance == 'l1':
            return l1_distance(student, target)
        if self.distance == 'l2':
            return l2_distance(student, target)
        if self.distance == 'charbonnier':
            return charbonnier_distance(student, target, self.eps)
        if pixel_loss is None:
            raise ValueError(
                f"distance={self.distance!r} needs pixel_loss, the restorer's reconstruction loss; "
                "without one use 'l1', 'l2' or 'charbonnier'"
            )
        if self.distance == 'pixel_loss':
            return pixel_loss(student, target)
        if labelled is None:
            scale = gradient_scale(student, gt, pixel_loss)
        else:
            scale = _partial_scale(student, gt, pixel_loss, labelled)
        return matched_distance(student, target, scale)


def _partial_scale(student: Tensor, gt: Tensor, pixel_loss: PixelLoss, labelled: Tensor) -> Tensor:
    """Scales where there is a truth, and their mean where there is none."""
    if not labelled.any():
        return student.new_zeros(len(student))
    known = gradient_scale(student[labelled], gt[labelled], pixel_loss)
    scale = known.mean().expand(len(student)).clone()
    scale[labelled] = known
    return scale


# The gradient of the reconstruction is the unit of every other loss: NAFNet's logarithmic PSNRLoss
# has one that grows as training succeeds, some 190 times that of an L1 loss at 26.7 dB, and beside
# it any loss of fixed units disappears.
def gradient_scale(student: Tensor, gt: Tensor, pixel_loss: PixelLoss, eps: float = 1e-8) -> Tensor:
    r"""Gradient of a reconstruction loss per unit of error, for each image (N,).

    .. math:: s_n = \frac{\|g_n\|_2}{\|I_{1,n} - y_n\|_2}, \qquad
              g = \partial L_{rec} / \partial I_1

    A mean squared error has the constant :math:`2 / (NCHW)`. An image whose error has a norm below
    ``eps`` gets 0: it is perfect already, and the quotient is undefined.
    """
    gradient = _gradient(student, gt, pixel_loss)
    error = (student - gt).detach().flatten(1).norm(dim=1)
    scale = gradient.flatten(1).norm(dim=1) / error.clamp_min(eps)
    return torch.where(error > eps, scale, torch.zeros_like(scale))


def gradient_ratio(
    student: Tensor, gt: Tensor, pixel_loss: PixelLoss, count: int, span: float = 1.0
) -> Tensor:
    r"""How much larger a loss's gradient is than that of L1 on images in [0, 1].

    .. math:: mean_n \|g_n\|_2 / \frac{1}{count \, span \sqrt{CHW}}

    ``span`` is the distance from black to white in the range of the images, and ``count`` the
    number of images over which the loss that is to be matched takes its mean. Without any image it
    is zero: nothing says what to match.
    """
    if not len(student):
        return student.new_zeros(())
    gradient = _gradient(student, gt, pixel_loss).flatten(1)
    unit = 1 / (count * span * math.sqrt(gradient.shape[1]))
    return gradient.norm(dim=1).mean() / unit


def _gradient(student: Tensor, gt: Tensor, pixel_loss: PixelLoss) -> Tensor:
    leaf = widen(student.detach()).clone().requires_grad_()
    # In float32 also under mixed precision: there is no loss scale here to keep it from vanishing.
    with torch.enable_grad(), torch.autocast(student.device.type, enabled=False):
        loss = pixel_loss(leaf, widen(gt.detach()))
        if loss.numel() != 1:
            raise ValueError(
                f'pixel_loss returned a tensor of shape {tuple(loss.shape)}; '
                "a scalar is needed, give it reduction='mean'"
            )
        # Of the images alone: parameters of the loss, if it has any, get nothing.
        (gradient,) = torch.autograd.grad(loss, leaf, torch.ones_like(loss))
    return gradient
