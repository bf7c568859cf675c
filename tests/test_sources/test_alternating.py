"""An expensive source in some iterations, a cheap one in the others."""

from itertools import count

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from toy import cascade_model, config, run_training, write_data

from mmsamdistill.fast_sam.generator import FastSamMaskGenerator
from mmsamdistill.sources import AlternatingRegions, CachedRegions, RegionSource, ShuffledRegions


@MODELS.register_module()
class Constant(RegionSource):
    """Everything is one region; remembers at which iterations it was asked."""

    def __init__(self, label=1):
        super().__init__()
        self.label = label
        self.asked = []

    def find(self, images, data_samples=None):
        self.asked.append(MessageHub.get_current_instance().get_info('iter', None))
        return torch.full_like(images[:, 0], self.label, dtype=torch.int64)

    def describe(self):
        return {'type': 'Constant', 'label': self.label}


NUMBERS = count()


@pytest.fixture
def hub():
    """A message hub of its own, as every Runner has one."""
    return MessageHub.get_instance(f'online-{next(NUMBERS)}')


IMAGES = torch.rand(2, 3, 4, 4)


def labels_over_time(regions, hub, steps):
    chosen = []
    for iteration in range(steps):
        hub.update_info('iter', iteration)
        chosen.append(regions(IMAGES).unique().item())
    return chosen


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({}, [1, 1, 1, 1, 1, 1]),
        ({'interval': 2}, [1, 0, 1, 0, 1, 0]),
        ({'interval': 3, 'offset': 1}, [0, 1, 0, 0, 1, 0]),
        ({'interval': 3, 'otherwise': {'type': 'Constant', 'label': 7}}, [1, 7, 7, 1, 7, 7]),
    ],
)
def test_whose_turn_it_is(hub, options, expected):
    regions = AlternatingRegions({'type': 'Constant'}, **options)
    assert labels_over_time(regions, hub, 6) == expected


@pytest.mark.parametrize(('interval', 'offset'), [(2, 1), (4, 1), (4, 0), (6, 5), (10, 1), (7, 3)])
def test_a_teacher_that_rests_misses_no_turn(hub, interval, offset):
    """Each turn is taken when the cascade asks next; turns between two questions are one."""
    alternating = {'type': 'AlternatingRegions', 'interval': interval, 'offset': offset}
    nested = {'type': 'ShuffledRegions', 'source': {**alternating, 'source': {'type': 'Constant'}}}
    cascade = MODELS.build(cascade_model(regions=nested, teacher_interval=4)).train()
    taken = []
    for iteration in range(0, 60, 4):
        hub.update_info('iter', iteration)
        if cascade.regions(IMAGES).any():
            taken.append(iteration)
    turns = [turn for turn in range(-3, 57) if (turn - offset) % interval == 0]
    assert taken == sorted({-(-turn // 4) * 4 for turn in turns})


def test_evaluation_and_no_runner(hub):
    regions = AlternatingRegions(Constant(), interval=10)
    assert regions(IMAGES).unique().item() == 1
    hub.update_info('iter', 5)
    assert regions(IMAGES).unique().item() == 0
    assert regions.eval()(IMAGES).unique().item() == 1


def test_cached_regions_in_between(hub):
    class Sample:
        regions = torch.full((2, 1, 4, 4), 5)

    regions = AlternatingRegions(Constant(), {'type': 'CachedRegions'}, interval=2)
    hub.update_info('iter', 1)
    assert regions(IMAGES, Sample()).unique().item() == 5
    assert not regions.online
    assert AlternatingRegions(Constant(), interval=2).online
    assert AlternatingRegions(Constant(), CachedRegions(), interval=1).online
    assert not AlternatingRegions(CachedRegions()).online


class Stop(Exception):
    pass


class StopAt(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 3:
            raise Stop


@pytest.mark.slow
def test_a_resumed_run_alternates_as_an_uninterrupted_one(tmp_path):
    data = write_data(tmp_path / 'data')
    regions = {'type': 'AlternatingRegions', 'interval': 2, 'offset': 1}
    regions |= {'source': {'type': 'Constant'}, 'otherwise': {'type': 'CachedRegions'}}
    model = cascade_model(regions=regions)
    whole = run_training(config(data, tmp_path / 'whole', model))
    assert whole.model.regions.source.asked == [1, 3]

    runner = Runner.from_cfg(config(data, tmp_path / 'broken', model))
    runner.register_hook(StopAt(), priority='LOWEST')
    with pytest.raises(Stop):
        runner.train()
    assert runner.model.regions.source.asked == [1]
    resumed = run_training(config(data, tmp_path / 'broken', model, resume=True))
    assert resumed.model.regions.source.asked == [3]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.slow
def test_sam_in_training_takes_the_batch_at_once_and_leaves_no_trace(tmp_path, monkeypatch):
    sizes = []
    original = FastSamMaskGenerator.label_maps

    def label_maps(self, images):
        sizes.append(len(images))
        return original(self, images)

    monkeypatch.setattr(FastSamMaskGenerator, 'label_maps', label_maps)
    grid = {'points_per_side': 2, 'pred_iou_thresh': -100.0, 'stability_score_thresh': 0.0}
    sam = {'type': 'SAMRegions', 'builder': 'tiny_sam.build_tiny_sam', 'generator_type': 'fast'}
    regions = {'type': 'AlternatingRegions', 'source': {**sam, 'generator': grid}, 'interval': 2}
    data = write_data(tmp_path / 'data')
    built = run_training(config(data, tmp_path / 'run', cascade_model(regions=regions))).model
    assert sizes == [2, 2]  # iterations 0 and 2, two crops each
    assert not [name for name in built.state_dict() if name.startswith('regions')]
    assert not list(built.regions.parameters())


def test_prepares_both_sources():
    first, second = Constant(), Constant()
    prepared = []
    first.prepare = second.prepare = prepared.append
    AlternatingRegions(ShuffledRegions(first), second).prepare('cpu')
    assert prepared == ['cpu', 'cpu']


def test_description_tells_both_sources():
    description = AlternatingRegions(Constant(), Constant(3), interval=4, offset=2).describe()
    assert description == {
        'type': 'AlternatingRegions',
        'source': {'type': 'Constant', 'label': 1},
        'otherwise': {'type': 'Constant', 'label': 3},
        'interval': 4,
        'offset': 2,
    }
    assert AlternatingRegions(Constant()).describe()['otherwise'] == {'type': 'NoRegions'}


def test_errors():
    for options in ({'interval': 0}, {'interval': 2, 'offset': 2}, {'offset': -1}):
        with pytest.raises(ValueError, match=r'(interval|offset)='):
            AlternatingRegions(Constant(), **options)
    with pytest.raises(TypeError, match='source must be'):
        AlternatingRegions('SAMRegions')
    with pytest.raises(TypeError, match='otherwise must be'):
        AlternatingRegions(Constant(), 'CachedRegions')
