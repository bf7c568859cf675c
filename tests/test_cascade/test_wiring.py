"""What goes where in the cascade: each network's image and features into the right place."""

import pytest
import torch
from mmagic.registry import MODELS
from toy import batch, cascade_model

from mmsamdistill.sources import RegionSource


class Probe(RegionSource):
    """Keeps what it was shown."""

    def find(self, images, data_samples=None):
        self.seen = images.clone()
        return torch.zeros_like(images[:, 0], dtype=torch.int64)


def build(**parts):
    """A cascade whose student and teacher change their input, each in its own way."""
    torch.manual_seed(0)
    model = MODELS.build(cascade_model(**parts))
    with torch.no_grad():
        model.restorer.generator.last.bias.add_(0.1)
        model.teacher.generator.last.bias.sub_(0.2)
    if model.average is not None:
        model.average.restart()  # what teaches is the teacher as it is
    return model


def preprocessed(model):
    return model.data_preprocessor(batch(), True)


def psnr(image, truth):
    return -10 * (image - truth).square().mean().log10().item()


def test_online_regions_are_those_of_the_restored_image():
    model = build()
    model.regions = Probe()
    data = preprocessed(model)
    model(**data, mode='loss')
    with torch.no_grad():
        restored = model.restorer.forward_tensor(data['inputs'], data['data_samples'])
    torch.testing.assert_close(model.regions.seen, restored.clamp(0, 1))
    assert not torch.allclose(model.regions.seen, data['inputs'], atol=0.01)


def test_each_logged_psnr_is_of_its_own_network():
    model = build()
    data = preprocessed(model)
    log = model(**data, mode='loss')
    truth = data['data_samples'].gt_img
    with torch.no_grad():
        restored = model.restorer.forward_tensor(data['inputs'], data['data_samples'])
        # An untrained SPF is the identity.
        taught = model.teacher.forward_tensor(restored, data['data_samples'])
    assert log['psnr_student'].item() == pytest.approx(psnr(restored, truth), abs=1e-3)
    assert log['psnr_teacher'].item() == pytest.approx(psnr(taught, truth), abs=1e-3)
    assert abs(psnr(restored, truth) - psnr(taught, truth)) > 0.1


def test_features_of_the_student_are_drawn_to_the_teachers_and_not_the_other_way():
    spd = {'type': 'SPDLoss', 'loss_weight': 0.0}
    spd |= {'feature_layers': ('generator.first',), 'feature_weight': 1.0}
    model = build(spd_loss=spd)
    with torch.no_grad():
        model.teacher.generator.first.weight.mul_(2)
    model(**preprocessed(model), mode='loss')['loss_spd'].backward()
    assert model.restorer.generator.first.weight.grad.abs().sum() > 0
    for name, parameter in [*model.teacher.named_parameters(), *model.spf.named_parameters()]:
        assert parameter.grad is None or not parameter.grad.any(), name


@pytest.mark.parametrize(
    ('stage', 'fixed'), [('joint', ()), ('teacher', ('restorer',)), ('student', ('spf', 'teacher'))]
)
def test_what_a_stage_keeps_fixed_wants_no_gradient(stage, fixed):
    """Whether an optimiser or DDP is given a parameter depends on this alone."""
    model = build(stage=stage)
    trained = {name.split('.')[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'restorer', 'spf', 'teacher'} - set(fixed)
