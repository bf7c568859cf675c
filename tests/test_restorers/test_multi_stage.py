"""Restorers of several outputs in MMagic's interface, in the cascade, and on their way out."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from toy import batch, cascade_model, config, plain_model, random_analyzer, run_training, write_data

from mmsamdistill.deploy.export import build_model, export_checkpoint, plain_config, verify_export
from mmsamdistill.restorers import MultiStageRestorer

HINET = {
    **plain_model({'type': 'HINet', 'mid_channels': 4, 'depth': 2, 'hin_levels': (0, 1)}),
    'type': 'MultiStageRestorer',
    'pixel_loss': {'type': 'PSNRLoss', 'loss_weight': 0.5},
}
PRENET = plain_model(
    {'type': 'PReNet', 'num_stages': 2, 'mid_channels': 4}, pixel_loss={'type': 'SSIMLoss'}
)
MPRNET = {
    **plain_model(),
    'type': 'MultiStageRestorer',
    'generator': {
        'type': 'MPRNet',
        'mid_channels': 4,
        'unet_growth': 2,
        'full_growth': 2,
        'num_blocks': 1,
    },
    'pixel_loss': {
        'type': 'SummedLoss',
        'losses': {
            'pixel': {'type': 'CharbonnierLoss', 'eps': 1e-6},
            'edge': {'type': 'EdgeLoss', 'loss_weight': 0.05},
        },
    },
}
RESTORERS = {
    'HINet': HINET,
    'MPRNet': MPRNET,
    'PReNet': PRENET,
    'supervised PReNet': {**PRENET, 'type': 'MultiStageRestorer'},
}
FULL = {'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': random_analyzer()}


@pytest.fixture(params=RESTORERS)
def restorer(request):
    return RESTORERS[request.param]


def build(model):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(model))


def losses_of(model):
    return model(**model.data_preprocessor(batch(), True), mode='loss')


def test_losses_are_those_of_the_stages_one_by_one():
    model = build(HINET)
    losses = losses_of(model)
    data = model.data_preprocessor(batch(), True)
    first, second = model.generator.forward_stages(data['inputs'])
    truth = data['data_samples'].gt_img
    assert torch.equal(losses['loss_rec'], model.pixel_loss(second, truth))
    assert torch.equal(losses['loss_aux'], model.pixel_loss(first, truth))
    total, _ = model.parse_losses(losses)
    assert torch.allclose(total, losses['loss_rec'] + losses['loss_aux'])
    half = losses_of(build({**HINET, 'auxiliary_weight': 0.5}))
    assert torch.allclose(half['loss_aux'], 0.5 * losses['loss_aux'])
    assert torch.equal(half['loss_rec'], losses['loss_rec'])


def test_inference_is_the_plain_restorers(restorer):
    model = build(restorer).eval()
    plain = build({**plain_model(restorer['generator'])}).eval()
    plain.load_state_dict(model.state_dict(), strict=True)
    assert isinstance(model, MODELS.get('BaseEditModel'))
    data = [each.data_preprocessor(batch(size=13, regions=False), False) for each in (model, plain)]
    with torch.no_grad():
        assert torch.equal(model(**data[0]), plain(**data[1]))
        ours, theirs = (m(**d, mode='predict') for m, d in zip((model, plain), data, strict=True))
    assert torch.equal(ours[0].output.pred_img, theirs[0].output.pred_img)


def test_cascade_trains_the_student_as_the_plain_model_does(restorer):
    cascade = build(cascade_model(restorer, spd_loss=None))
    plain = build(restorer)
    plain.load_state_dict(cascade.restorer.state_dict(), strict=True)
    for model in (cascade, plain):
        model.parse_losses(losses_of(model))[0].backward()
    for name, parameter in plain.named_parameters():
        assert torch.equal(cascade.restorer.get_parameter(name).grad, parameter.grad), name


def test_cascade_learns_and_deploys_the_student_alone(restorer):
    model = build(cascade_model(restorer, **FULL)).train()
    before = copy.deepcopy(model.state_dict())
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    for seed in range(2):
        log = model.train_step(batch(seed=seed), wrapper)
    assert all(value.isfinite() for value in log.values())
    for part in ('restorer', 'teacher', 'spf'):
        keys = [key for key in before if key.startswith(part)]
        assert any(not torch.equal(before[k], model.state_dict()[k]) for k in keys), part
    deployed = build(restorer).eval()
    deployed.load_state_dict(model.eval().restorer.state_dict(), strict=True)
    model.teacher = model.spf = model.regions = model.analyzer = None
    data = model.data_preprocessor(batch(size=13, regions=False), False)
    with torch.no_grad():
        assert torch.equal(model(**data), deployed(**data))


@pytest.mark.slow
def test_run_saves_loads_exports_and_verifies(restorer, tmp_path):
    data = write_data(tmp_path / 'data')
    settings = config(data, tmp_path / 'run', cascade_model(restorer))
    settings.train_cfg.update(max_iters=2, val_interval=2)
    runner = run_training(settings)
    path = Path((tmp_path / 'run/last_checkpoint').read_text().strip())
    out = export_checkpoint(settings, path, tmp_path / 'a.pth', verify=False)
    proof = verify_export(settings, path, out)
    assert proof['parameters'] == sum(p.numel() for p in runner.model.restorer.parameters())
    plain = build_model(plain_config(settings))
    assert type(plain) is type(build(restorer))
    content = torch.load(tmp_path / 'a.pth', weights_only=True)['state_dict']
    assert list(content) == list(plain.state_dict())
    again = config(
        data, tmp_path / 'next', cascade_model(restorer), load_from=str(tmp_path / 'a.pth')
    )
    again.train_cfg.update(max_iters=1, val_interval=2)
    run_training(again)


@pytest.mark.slow
def test_export_tool_verifies_in_a_process_of_its_own(tmp_path):
    cfg = Config({'model': cascade_model(HINET), 'default_scope': 'mmagic'})
    cfg.dump(tmp_path / 'distilled.py')
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'iter_4.pth')
    tool = Path(__file__).parents[2] / 'tools/export_restorer.py'
    command = [sys.executable, tool, tmp_path / 'distilled.py', tmp_path / 'iter_4.pth']
    process = subprocess.run(
        [*command, tmp_path / 'out.pth', '--verify'], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert 'verified' in process.stdout


def test_class_is_found_from_every_side():
    assert MODELS.get('MultiStageRestorer') is MultiStageRestorer
    assert MODELS.get('mmagic.MultiStageRestorer') is MultiStageRestorer
    with pytest.raises(KeyError, match="'MultiStageRestorer'"):
        MODELS.get('MultiStageRestore')


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match='auxiliary_weight'):
        build({**HINET, 'auxiliary_weight': -1.0})
    with pytest.raises(TypeError, match='ToyNet has no method `forward_stages`'):
        build({**plain_model(), 'type': 'MultiStageRestorer'})
