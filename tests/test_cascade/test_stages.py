import pytest
import torch
from mmagic.registry import MODELS
from mmengine.optim import OptimWrapper
from torch import nn
from toy import batch, cascade_model, plain_model, random_analyzer

from mmsamdistill.cascade.steps import run_stages, stage_losses

TRUTH = torch.zeros(1, 3, 4, 4)


class OneOutput(nn.Module):
    def forward_tensor(self, inputs, data_samples=None):
        return inputs + 1


class ThreeOutputs(OneOutput):
    def forward_stages(self, inputs, data_samples=None):
        return [inputs + 3, inputs + 2, self.forward_tensor(inputs)]

    def auxiliary_loss(self, stages, truth):
        return sum((index + 1) * (s - truth).sum() for index, s in enumerate(stages))


class TwoStageModel:
    """What a user's own restorer of two outputs has to bring."""

    def forward_stages(self, inputs, data_samples=None):
        return [0.5 * inputs, self.forward_tensor(inputs, data_samples)]

    def auxiliary_loss(self, stages, truth):
        return 0.25 * (stages[0] - truth).square().mean()


@pytest.fixture
def two_stage_model():
    plain = MODELS.get('BaseEditModel')
    kind = type('TwoStageModel', (TwoStageModel, plain), {})
    MODELS.register_module(name='ToyTwoStageModel', module=kind, force=True)
    yield {**plain_model(), 'type': 'ToyTwoStageModel'}
    MODELS.module_dict.pop('ToyTwoStageModel')


def test_deployed_output_is_the_last_of_all():
    (stage,) = run_stages(OneOutput(), TRUTH)
    assert torch.equal(stage, TRUTH + 1)
    stages = run_stages(ThreeOutputs(), TRUTH)
    assert [s.mean().item() for s in stages] == [3, 2, 1]


def test_each_output_has_its_own_criterion():
    model = ThreeOutputs()
    model.pixel_loss = nn.L1Loss()
    one = stage_losses(model, [TRUTH + 1], TRUTH)
    assert {name: value.item() for name, value in one.items()} == {'loss_rec': 1}
    losses = stage_losses(model, run_stages(model, TRUTH), TRUTH, '_teacher')
    expected = {'loss_rec_teacher': 1, 'loss_aux_teacher': 48 * (3 + 2 * 2)}
    assert {name: value.item() for name, value in losses.items()} == expected


def test_outputs_that_are_no_image_are_named():
    class Listing(nn.Module):
        def forward_tensor(self, inputs, data_samples=None):
            return [inputs]

    with pytest.raises(TypeError, match='Listing returned list'):
        run_stages(Listing(), TRUTH)


def test_priors_are_distilled_into_the_deployed_output_alone(two_stage_model):
    full = {'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': random_analyzer()}

    def losses(restorer):
        torch.manual_seed(0)
        model = MODELS.build(cascade_model(restorer, **full))
        with torch.no_grad():  # an untrained SPF is the identity; let the two differ
            for parameter in model.teacher.parameters():
                parameter.mul_(1.2)
        return model, model(**model.data_preprocessor(batch(), True), mode='loss')

    _, one = losses(plain_model())
    model, two = losses(two_stage_model)
    assert set(two) - set(one) == {'loss_aux', 'loss_aux_teacher'}
    assert all(torch.equal(one[name], two[name]) for name in one)
    data = model.data_preprocessor(batch(), True)
    error = (0.5 * data['inputs'] - data['data_samples'].gt_img).square().mean()
    assert torch.allclose(two['loss_aux'], 0.25 * error)
    total, _ = model.parse_losses(two)
    assert torch.allclose(total, sum(value for name, value in two.items() if 'loss' in name))


@pytest.mark.parametrize('stage', ['teacher', 'student'])
def test_auxiliary_losses_follow_the_stage(two_stage_model, stage):
    model = MODELS.build(cascade_model(two_stage_model, stage=stage)).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    log = model.train_step(batch(), OptimWrapper(torch.optim.SGD(trained, lr=1e-3)))
    assert ('loss_aux' in log) == (stage == 'student')
    assert ('loss_aux_teacher' in log) == (stage == 'teacher')
