"""What is computed with regions is the same bit for bit, where torch is told to see to it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmsamdistill.cascade.spf_head import PRIORS, prior_maps
from mmsamdistill.losses.sgr import FORMS, SGRLoss
from mmsamdistill.losses.spd import region_gate
from mmsamdistill.regions import RegionMap

# The documentation of `torch.use_deterministic_algorithms`: these raise on CUDA, the rest is
# deterministic or has a deterministic form. `cumsum` and `bincount` count, without any float.
RAISING = {
    'adaptive_avg_pool2d_backward', '_adaptive_avg_pool2d_backward', 'adaptive_max_pool2d_backward',
    'avg_pool3d_backward', 'grid_sampler_2d_backward', 'histc', 'kthvalue', 'max_unpool2d',
    'median', 'nanmedian', 'put', 'put_', 'reflection_pad2d_backward', 'resize_', 'scatter_reduce',
    'upsample_bicubic2d_backward', 'upsample_bilinear2d_backward',
}  # fmt: skip
UNLESS_WHOLE_NUMBERS = {'bincount', 'cumsum', 'cumsum_'}


class Recorder(TorchDispatchMode):
    """The names of all operations, with whether they were given a float."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        floats = any(isinstance(each, torch.Tensor) and each.is_floating_point() for each in args)
        self.seen.add((func._overloadpacket._qualified_op_name.rpartition('::')[2], floats))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def deterministic():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def region_step(device='cpu'):
    """Every region operation forward and backward: results, loss and gradient."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 9, (2, 48, 40), generator=generator).to(device)
    image, other = torch.rand(2, 2, 3, 48, 40, generator=generator).to(device)
    image.requires_grad_()
    regions = RegionMap.from_labels(labels)
    features = [image[..., ::2, ::2], image.mean(1, keepdim=True)[..., ::4, ::3]]
    targets = [other[..., ::2, ::2], other.mean(1, keepdim=True)[..., ::4, ::3]]
    priors = prior_maps(image, regions, PRIORS)
    relations = [SGRLoss(form=form)(features, targets, regions) for form in FORMS]
    gate = region_gate(image.detach(), other, torch.zeros_like(other), regions)
    # No sum over all pixels: torch's own depends on the number of threads.
    torch.autograd.backward([priors, *relations], [priors.detach().cos(), None, None])
    return [priors.detach(), gate, *(each.detach() for each in relations), image.grad]


@pytest.mark.parametrize(
    'device',
    [
        'cpu',
        pytest.param(
            'cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
        ),
    ],
)
@pytest.mark.usefixtures('deterministic')
def test_repetitions_agree_to_the_last_bit_with_any_number_of_threads(device):
    expected = region_step(device)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for found, once in zip(region_step(device), expected, strict=True):
                assert torch.equal(found, once)
    finally:
        torch.set_num_threads(before)


def test_no_operation_is_one_that_torch_refuses_on_cuda():
    with Recorder() as recorder:
        region_step()
    names = {name for name, _ in recorder.seen}
    assert {'index_add', 'index_select', 'bincount', '_unique2'} <= names
    assert not names & RAISING
    assert not {name for name, floats in recorder.seen if floats} & UNLESS_WHOLE_NUMBERS
