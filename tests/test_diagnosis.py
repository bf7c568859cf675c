"""What a training would stumble over is found before it runs, and said with the cure."""

import cv2
import pytest
import torch
from mmengine.config import Config
from toy import NAFNET, cascade_model, config, plain_model, random_analyzer, write_data

from mmsamdistill.cache.extract import extract
from mmsamdistill.deploy.cost import peak_memory
from mmsamdistill.deploy.cost_by_part import training_step
from mmsamdistill.deploy.export import build_model
from mmsamdistill.diagnosis import (
    FAILED,
    OK,
    REMARK,
    check_data_of,
    check_machine,
    check_step,
    estimate_memory,
)
from mmsamdistill.sources import SuperpixelRegions

CPU = torch.device('cpu')


@pytest.fixture
def cfg(tmp_path):
    return config(write_data(tmp_path), tmp_path / 'work', cascade_model(NAFNET))


def verdicts(findings):
    return [(verdict, what) for verdict, what, _ in findings]


def test_a_sound_config_has_sound_data_and_takes_a_step(cfg):
    assert verdicts(check_data_of(cfg)) == [(OK, 'data')] * 3 + [(OK, 'region cache')]
    assert verdicts(check_step(cfg, CPU)) == [(OK, 'step'), (OK, 'memory')]


def test_without_a_config_a_small_cascade_takes_a_step(recwarn):
    ((verdict, _, text),) = check_step(None, CPU)
    assert verdict == OK
    assert 'loss_spd' in text
    assert 'loss_sgr' in text
    assert not recwarn


def test_a_missing_image_fails(cfg, tmp_path):
    (tmp_path / 'img/1.png').unlink()
    found = list(check_data_of(cfg))
    assert {verdict for verdict, *_ in found} == {FAILED}
    assert all('1.png' in text for *_, text in found)
    assert len(found) == 3  # a cache of such data is not looked at


def test_a_cache_that_was_made_otherwise_fails_with_the_command_that_mends_it(cfg, tmp_path):
    folder = tmp_path / 'made'
    extract(tmp_path / 'gt', folder, SuperpixelRegions(scale=100))
    cfg.train_dataloader.dataset.regions = str(folder)
    hook = {'type': 'RegionCacheHook', 'expected': {'type': 'SuperpixelRegions', 'scale': 200}}
    cfg.custom_hooks = [hook]
    *_, (verdict, what, text) = check_data_of(cfg)
    assert (verdict, what) == (FAILED, 'region cache')
    assert 'scale' in text
    assert 'mmsamdistill extract_regions' in text


def test_a_missing_cache_and_one_of_other_images_fail_with_the_command_for_these_images(
    cfg, tmp_path
):
    cfg.train_dataloader.dataset.regions = str(tmp_path / 'nowhere')
    *_, (verdict, what, text) = check_data_of(cfg)
    assert (verdict, what) == (FAILED, 'region cache')
    assert f'mmsamdistill extract_regions {tmp_path / "gt"} {tmp_path / "nowhere"}' in text
    others = tmp_path / 'others'
    others.mkdir()
    for path in (tmp_path / 'gt').glob('*.png'):
        cv2.imwrite(str(others / path.name), 255 - cv2.imread(str(path)))
    extract(others, tmp_path / 'nowhere', SuperpixelRegions())
    *_, (verdict, what, text) = check_data_of(cfg)
    assert (verdict, what) == (FAILED, 'region cache')
    assert 'stale' in text
    assert f'mmsamdistill extract_regions {tmp_path / "gt"} {tmp_path / "nowhere"}' in text


def test_without_training_data_no_training_can_run(cfg):
    cfg.pop('train_dataloader')
    ((verdict, _, text), *_) = [each for each in check_data_of(cfg) if each[0] != OK]
    assert verdict == FAILED
    assert 'no train_dataloader' in text


def test_a_plain_config_has_no_cache_to_look_at(tmp_path):
    cfg = config(write_data(tmp_path), tmp_path / 'work', plain_model())
    assert verdicts(check_data_of(cfg)) == [(OK, 'data')] * 3


def test_missing_weights_and_a_loss_that_is_no_number_fail(cfg):
    cfg.model = cascade_model(NAFNET, sgr_loss={'type': 'SGRLoss'})
    cfg.model['analyzer'] = {**random_analyzer(), 'weights': 'nowhere.pth'}
    ((verdict, _, text),) = check_step(cfg, CPU)
    assert verdict == FAILED
    assert 'nowhere.pth' in text
    cfg.model = cascade_model(NAFNET, spd_loss={'type': 'SPDLoss', 'loss_weight': float('inf')})
    ((verdict, _, text),) = check_step(cfg, CPU)
    assert verdict == FAILED
    assert 'loss_spd' in text


def test_a_student_that_does_not_learn_fails():
    frozen = cascade_model(NAFNET, stage='teacher')
    ((verdict, _, text),) = check_step(Config({'model': frozen}), CPU)
    assert verdict == FAILED
    assert 'does not learn' in text


def test_memory_is_estimated_as_it_is_measured():
    batch, side = 3, 96
    parts = {'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': random_analyzer()}
    model = build_model(Config({'model': cascade_model(NAFNET, **parts)}))
    step = training_step(model, (64, 64), CPU)
    step[0]()
    state = step[1].optimizer.state.values()
    tensors = [*model.parameters(), *model.buffers(), *(t for s in state for t in s.values())]
    taken, _ = training_step(model, (side, side), CPU, batch)
    taken()
    measured = sum(each.nbytes for each in tensors) + peak_memory(taken)
    assert estimate_memory(model, step, batch, side, CPU) == pytest.approx(measured, rel=0.1)


def test_uncropped_training_images_give_no_estimate(cfg):
    dataset = cfg.train_dataloader.dataset.dataset
    dataset.pipeline = [each for each in dataset.pipeline if each['type'] != 'PairedRandomCrop']
    *_, (verdict, what, _) = check_step(cfg, CPU)
    assert (verdict, what) == (REMARK, 'memory')


@pytest.mark.slow  # imports all of MMagic
def test_weights_and_unavailable_models_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    found = list(check_machine())
    assert any(what == 'weights' and 'no SAM' in text for _, what, text in found)
    assert all(verdict in (OK, REMARK) for verdict, *_ in found)
    weights = tmp_path / 'checkpoints/sam_vit_b_01ec64.pth'
    weights.parent.mkdir()
    weights.touch()
    found = list(check_machine())
    assert any(verdict == OK and str(weights) in text for verdict, _, text in found)
    assert not any('no SAM' in text for *_, text in found)
