import math

import pytest
import torch
from mmagic.registry import METRICS
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from processes import together
from toy import config, plain_model, write_data
from workers import measure_restoration

from mmsamdistill.evaluation.protocols import measure
from mmsamdistill.evaluation.region_metrics import RegionPSNR
from mmsamdistill.evaluation.restoration_metric import RestorationMetric, protocol_labels


def samples(count=3, shape=(3, 16, 20), noise=20.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(count):
        truth = torch.randint(0, 256, shape, generator=generator).float()
        restored = (truth + noise * torch.randn(shape, generator=generator)).clamp(0, 255)
        result.append({'gt_img': truth, 'output': {'pred_img': restored}})
    return result


def values(metric, data):
    metric.process(None, data)
    return metric.evaluate(len(data))


class Keep(Hook):
    def after_test_epoch(self, runner, metrics=None):
        self.metrics = metrics


class Dataset:
    dataset = range(3)


def test_is_the_mean_over_images():
    data = samples()
    metric = METRICS.build({'type': 'RestorationMetric', 'protocol': 'rain_y_matlab'})
    result = values(metric, data)
    for name in ('PSNR', 'SSIM'):
        each = [
            measure(s['output']['pred_img'], s['gt_img'], 'rain_y_matlab', [name], 'bgr')[name]
            for s in data
        ]
        assert result[name] == pytest.approx(sum(each).item() / 3, abs=1e-12)
        assert type(result[name]) is float


@pytest.mark.parametrize(
    'change',
    [
        {'protocol': 'gopro_rgb'},
        {'protocol': {'base': 'rain_y_matlab', 'crop_border': 2}},
        {'channel_order': 'rgb'},
    ],
    ids=str,
)
def test_settings_change_the_numbers(change):
    base = values(RestorationMetric('rain_y_matlab'), samples())
    changed = values(RestorationMetric(**{'protocol': 'rain_y_matlab', **change}), samples())
    assert abs(base['PSNR'] - changed['PSNR']) > 1e-4


def test_choice_of_metrics_and_prefix():
    metric = RestorationMetric('gopro_rgb', metrics=['SSIM'], prefix='GoPro')
    assert list(values(metric, samples())) == ['GoPro/SSIM']
    assert list(values(RestorationMetric('gopro_rgb', metrics='PSNR'), samples())) == ['PSNR']
    # Images smaller than a window can still be measured by PSNR.
    small = samples(shape=(3, 5, 5))
    assert values(RestorationMetric('rain_y_matlab', metrics='PSNR'), small)['PSNR'] > 0


def with_paths(data):
    return [{**sample, 'img_path': f'img/{index}.png'} for index, sample in enumerate(data)]


def test_an_image_that_cannot_be_measured_is_named_and_the_others_go_on():
    data = with_paths(samples())
    data[1] = {**samples(1, shape=(3, 5, 5))[0], 'img_path': 'img/small.png'}
    metric = RestorationMetric('rain_y_matlab')
    found = values(metric, data)
    assert math.isfinite(found['PSNR'])
    # A mean over the others would be one of another data set.
    assert math.isnan(found['SSIM'])
    assert list(metric.failures) == ['img/small.png']
    assert 'SSIM: an image of (5, 5) pixels is smaller than the window' in str(metric.failures)
    rows = {row['name']: row for row in metric.per_image}
    assert [name for name, row in rows.items() if math.isnan(row['SSIM'])] == ['small']
    alone = RestorationMetric('rain_y_matlab')
    values(alone, data[:1])
    assert alone.per_image[0]['SSIM'] == rows['0']['SSIM']


def test_values_that_are_no_numbers_are_named():
    data = with_paths(samples())
    data[2]['output']['pred_img'][0, 3, 3] = math.nan
    metric = RestorationMetric('denoise_rgb')
    assert all(math.isnan(value) for value in values(metric, data).values())
    assert metric.failures == {'img/2.png': 'the restored image has values that are no numbers'}


def model_of(mean, std):
    from mmagic.models.data_preprocessors import DataPreprocessor

    model = torch.nn.Module()
    model.data_preprocessor = DataPreprocessor(mean=mean, std=std)
    return model


def test_images_of_another_range_give_the_same_numbers():
    data = samples()
    small = [
        {'gt_img': s['gt_img'] / 255, 'output': {'pred_img': s['output']['pred_img'] / 255}}
        for s in data
    ]
    expected = values(RestorationMetric('mmagic_rgb'), data)
    metric = RestorationMetric('mmagic_rgb')
    metric.prepare(model_of([0.5] * 3, [0.5] * 3), Dataset())
    assert values(metric, small) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match='white is 1: load images of that range'):
        metric.process(None, data)


def test_a_range_that_cannot_be_told_is_refused():
    data = samples()
    metric = RestorationMetric('mmagic_rgb')
    metric.prepare(model_of([0.0] * 3, [1.0] * 3), Dataset())
    dark = {'gt_img': torch.ones(3, 16, 16), 'output': {'pred_img': torch.ones(3, 16, 16)}}
    with pytest.raises(ValueError, match='do not tell which value is white'):
        metric.process(None, [dark])
    # Values above 1 can only be of 8 bits.
    assert values(metric, data) == values(RestorationMetric('mmagic_rgb'), data)
    with pytest.raises(ValueError, match='white is 65535'):
        metric.prepare(model_of([0.0] * 3, [65535.0] * 3), Dataset())


def test_a_perfect_image_makes_the_mean_infinite():
    data = samples()
    data[1]['output']['pred_img'] = data[1]['gt_img']
    result = values(RestorationMetric('gopro_rgb'), data)
    assert result['PSNR'] == math.inf
    assert result['SSIM'] < 1


def test_frames_of_a_video_are_averaged():
    frames = samples(1, (4, 3, 16, 16))
    single = [
        {'gt_img': truth, 'output': {'pred_img': restored}}
        for truth, restored in zip(
            frames[0]['gt_img'], frames[0]['output']['pred_img'], strict=True
        )
    ]
    together = values(RestorationMetric('gopro_rgb'), frames)
    apart = values(RestorationMetric('gopro_rgb'), single)
    assert together == pytest.approx(apart, abs=1e-12)


def test_padded_samples_are_dropped():
    data = samples()
    metric = RestorationMetric('gopro_rgb')
    metric.prepare(None, Dataset())
    metric.process(None, data)
    metric.process(None, samples(1, noise=90.0))
    assert metric.evaluate() == values(RestorationMetric('gopro_rgb'), data)
    assert metric.results == []


def test_speaks_to_both_evaluators():
    from mmagic.evaluation.evaluator import Evaluator as EvaluatorOfMMagic

    data = samples()
    config = {'type': 'RestorationMetric', 'protocol': 'gopro_rgb', 'prefix': 'a'}
    plain = Evaluator(config)
    plain.process(data)
    host = EvaluatorOfMMagic([config, {**config, 'protocol': 'denoise_rgb', 'prefix': 'b'}])
    host.prepare_metrics(None, Dataset())
    ((metrics, loader),) = host.prepare_samplers(None, Dataset())
    assert isinstance(loader, Dataset)
    host.process(data, None, metrics)
    result = host.evaluate()
    assert set(result) == {'a/PSNR', 'a/SSIM', 'b/PSNR', 'b/SSIM'}
    assert {k: v for k, v in result.items() if k[0] == 'a'} == plain.evaluate(3)


@pytest.mark.slow
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_in_a_run_beside_the_metrics_of_the_host(tmp_path, order):
    """The toy restorer, tested by MMagic's loop on two data sets in one run."""
    data = write_data(tmp_path / 'data')
    settings = config(data, tmp_path / 'run', plain_model())
    loader = settings.test_dataloader
    for step in loader.dataset.pipeline[:2]:
        step.channel_order = order
    mine = [
        {'type': 'RestorationMetric', 'protocol': name, 'prefix': f'{name}-1'}
        for name in ('mmagic_rgb', 'mmagic_y', 'rain_y_matlab')
    ]
    theirs = [
        {'type': kind, 'convert_to': convert, 'prefix': f'host-{convert}'}
        for kind in ('PSNR', 'SSIM')
        for convert in (None, 'Y')
    ]
    second = [{'type': 'RestorationMetric', 'protocol': 'gopro_rgb', 'prefix': '2'}]
    settings.test_dataloader = [loader, loader]
    settings.test_evaluator = [[*mine, *theirs], second]
    runner = Runner.from_cfg(settings)
    keep = Keep()
    runner.register_hook(keep)
    runner.test()
    found = keep.metrics
    for metric in ('PSNR', 'SSIM'):
        for name, convert in (('mmagic_rgb', None), ('mmagic_y', 'Y')):
            ours, host = found[f'{name}-1/{metric}'], found[f'host-{convert}/{metric}']
            assert ours == pytest.approx(host, abs=1e-4)
        assert f'2/{metric}' in found
    assert abs(found['rain_y_matlab-1/PSNR'] - found['mmagic_rgb-1/PSNR']) > 0.1


def test_labels_for_the_table():
    from mmagic.evaluation.metrics.psnr import PSNR

    metrics = [
        RestorationMetric('gopro_rgb', prefix='GoPro'),
        RestorationMetric('denoise_rgb', prefix='GoPro'),
        RestorationMetric('rain_y_matlab'),
        PSNR(prefix='Kodak'),
    ]
    assert protocol_labels(metrics, 'all') == {
        'GoPro': 'gopro_rgb: RGB, 8 bit, SSIM of MATLAB; denoise_rgb: RGB, 8 bit',
        'all': 'rain_y_matlab: Y of MATLAB, 8 bit',
        'Kodak': 'PSNR of mmagic',
    }


@pytest.mark.parametrize('device', ['cpu', 'gpu'])
def test_collects_where_it_is_told(device, monkeypatch):
    seen = []

    def collect(results, size, device, **kwargs):
        seen.append((device, size))
        return results

    monkeypatch.setattr('mmengine.evaluator.metric.collect_results', collect)
    for kind in (RestorationMetric, RegionPSNR):
        metric = kind('gopro_rgb', collect_device=device)
        data = [{**each, 'regions': torch.ones(16, 20).long()} for each in samples()]
        values(metric, data)
    assert seen == [(device, 3)] * 2


def test_mistakes():
    with pytest.raises(KeyError, match='gopro_rgb'):
        RestorationMetric('gopro')
    with pytest.raises(KeyError, match='LPIPS'):
        RestorationMetric('gopro_rgb', metrics=['LPIPS'])
    with pytest.raises(ValueError, match='empty'):
        RestorationMetric('gopro_rgb', metrics=[])
    with pytest.raises(ValueError, match="'gbr'"):
        RestorationMetric('gopro_rgb', channel_order='gbr')
    with pytest.raises(KeyError, match=r"'gt_img'.*load the ground truth"):
        RestorationMetric('gopro_rgb').process(None, [{'output': {'pred_img': torch.zeros(1)}}])
    with pytest.raises(KeyError, match='pred_img'):
        RestorationMetric('gopro_rgb').process(None, [{'gt_img': torch.zeros(1)}])
    metric = RestorationMetric('gopro_rgb')
    metric.process(None, samples())
    with pytest.raises(RuntimeError, match='prepare'):
        metric.evaluate()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason='torch without distributed')
def test_two_processes_measure_one_data_set():
    expected = sum(20 * math.log10(255 / shift) for shift in (1, 2, 3)) / 3
    for measured in together(measure_restoration):
        assert measured == {'PSNR': pytest.approx(expected, abs=1e-9)}
