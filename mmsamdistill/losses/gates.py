"""Where the student learns from the teacher: gates over pixels and regions, (N, 1, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmsamdistill.regions.region_map import RegionMap


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
