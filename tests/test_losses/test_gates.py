"""The gates by hand: which side of a comparison opens them, and that a tie leaves them closed."""

import torch

from mmsamdistill.losses.spd import pixel_gate, region_gate
from mmsamdistill.regions.region_map import RegionMap

# Truth 0 everywhere. Pixel by pixel: the teacher is nearer, farther, as near from the other side,
# and as near in the mean of two channels that differ.
STUDENT = torch.tensor([[[[2.0, 1.0, 1.0, 1.0]], [[2.0, 1.0, 1.0, 3.0]]]])
TEACHER = torch.tensor([[[[1.0, 2.0, -1.0, 3.0]], [[1.0, 2.0, -1.0, 1.0]]]])
TRUTH = torch.zeros_like(STUDENT)


def test_pixel_gate_opens_where_the_teacher_is_nearer_and_not_at_a_tie():
    is_open = pixel_gate(STUDENT, TEACHER, TRUTH)
    assert is_open.flatten().tolist() == [True, False, False, False]


def test_region_gate_opens_where_the_teacher_is_nearer_and_not_at_a_tie():
    apart = RegionMap.from_labels(torch.tensor([[[1, 2, 3, 4]]]))
    is_open = region_gate(STUDENT, TEACHER, TRUTH, apart)
    assert is_open.flatten().tolist() == [True, False, False, False]
    # Of the first two pixels together the errors are equal: one verdict, and it is a tie.
    joined = RegionMap.from_labels(torch.tensor([[[1, 1, 0, 0]]]))
    assert not region_gate(STUDENT, TEACHER, TRUTH, joined).any()


def test_region_gate_gives_one_verdict_a_region_by_the_squared_error():
    student = torch.tensor([[[[2.0, 2.0, 2.0]]]])
    teacher = torch.tensor([[[[0.0, 0.0, 3.0]]]])
    regions = RegionMap.from_labels(torch.tensor([[[5, 5, 5]]]))
    assert region_gate(student, teacher, torch.zeros_like(student), regions).all()
    # Absolute errors would say the opposite: 3 + 0 + 0 < 1.5 * 3, squared 9 > 6.75.
    student = torch.full_like(student, 1.5)
    assert not region_gate(student, teacher, torch.zeros_like(student), regions).any()
