import math

import numpy as np
import pytest
import torch
from mmagic.registry import METRICS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from toy import config, plain_model, write_data

from mmsamdistill.evaluation.region_metrics import RegionPSNR, boundary_band, size_buckets
from mmsamdistill.regions import RegionMap


def sample(seed=0, shape=(3, 20, 30), noise=10.0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 256, shape, generator=generator).float()
    restored = (truth + noise * torch.randn(shape, generator=generator)).clamp(0, 255)
    labels = torch.zeros(1, *shape[-2:], dtype=torch.int32)
    labels[:, 4:] = 7  # large: 16 rows
    labels[:, 10:16, 5:15] = 900  # 60 pixels, a tenth
    labels[:, 18:, 20:23] = 3  # 6 pixels, a hundredth
    return {'gt_img': truth, 'output': {'pred_img': restored}, 'regions': labels}


def loop_psnr(samples, inside):
    """Mean over all pixels for which `inside(labels, y, x)`."""
    total, count = 0.0, 0
    for each in samples:
        truth, restored = each['gt_img'].numpy(), each['output']['pred_img'].round().numpy()
        labels = each['regions'].numpy().reshape(truth.shape[-2:])
        for y, x in np.ndindex(*labels.shape):
            if inside(labels, y, x):
                total += ((restored[:, y, x].astype(float) - truth[:, y, x]) ** 2).mean()
                count += 1
    return 10 * math.log10(255**2 / (total / count))


def share(labels, y, x):
    return (labels == labels[y, x]).mean()


def near(radius):
    def inside(labels, y, x):
        height, width = labels.shape
        for v in range(max(0, y - radius), min(height, y + radius + 1)):
            for u in range(max(0, x - radius), min(width, x + radius + 1)):
                for b, a in ((v - 1, u), (v + 1, u), (v, u - 1), (v, u + 1)):
                    if 0 <= b < height and 0 <= a < width and labels[v, u] != labels[b, a]:
                        return True
        return False

    return inside


def values(metric, samples):
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_every_part_equals_a_loop():
    samples = [sample(0), sample(1, noise=30.0)]
    result = values(RegionPSNR('gopro_rgb', edges=(0.01, 0.1), radius=2), samples)
    band = near(2)
    expected = {
        'PSNR_regions_1-10%': lambda m, y, x: m[y, x] and 0.01 <= share(m, y, x) < 0.1,
        'PSNR_regions_10-100%': lambda m, y, x: m[y, x] and share(m, y, x) >= 0.1,
        'PSNR_no_region': lambda m, y, x: m[y, x] == 0,
        'PSNR_boundary': band,
        'PSNR_interior': lambda m, y, x: not band(m, y, x),
        'PSNR_all': lambda m, y, x: True,
    }
    assert set(result) == set(expected)  # no region is below 1 %
    for name, inside in expected.items():
        assert result[name] == pytest.approx(loop_psnr(samples, inside), abs=1e-9), name


def test_shows_where_the_errors_are():
    data = sample()
    restored = data['gt_img'].clone()
    restored[:, 10:16, 5:15] += torch.where(restored[:, 10:16, 5:15] > 128, -20.0, 20.0)
    data['output']['pred_img'] = restored
    result = values(RegionPSNR('gopro_rgb', edges=(0.05, 0.2), radius=0), [data])
    assert result['PSNR_regions_5-20%'] == pytest.approx(20 * math.log10(255 / 20))
    assert result['PSNR_regions_0-5%'] == math.inf
    assert result['PSNR_regions_20-100%'] == math.inf
    assert result['PSNR_all'] == pytest.approx(20 * math.log10(255 / 20) + 10)  # of a tenth


def test_average_over_images():
    samples = [sample(0), sample(1, noise=30.0), sample(2)]
    samples[2]['regions'] = torch.ones(20, 30, dtype=torch.uint8)  # no boundary, no small region
    result = values(RegionPSNR('gopro_rgb', average='images'), samples)
    single = [values(RegionPSNR('gopro_rgb'), [each]) for each in samples]
    for name, value in result.items():
        each = [part[name] for part in single if name in part]
        assert value == pytest.approx(sum(each) / len(each), abs=1e-9)
    assert 'PSNR_boundary' not in single[2]
    pooled = values(RegionPSNR('gopro_rgb'), samples)
    assert abs(pooled['PSNR_all'] - result['PSNR_all']) > 0.1


@pytest.mark.parametrize(
    'change',
    [
        {'protocol': 'rain_y_matlab'},
        {'edges': (0.5,)},
        {'radius': 1},
        {'average': 'images'},
        {'prefix': 'GoPro'},
        {'protocol': 'rain_y_matlab', 'channel_order': 'rgb'},
        {'protocol': {'base': 'gopro_rgb', 'crop_border': 2}},
    ],
    ids=str,
)
def test_every_argument_matters(change):
    samples = [sample(0), sample(1, noise=30.0)]
    results = [values(RegionPSNR('gopro_rgb'), samples)]
    results.append(values(RegionPSNR('rain_y_matlab'), samples))
    assert values(RegionPSNR(**{'protocol': 'gopro_rgb', **change}), samples) not in (
        results if 'channel_order' in change else results[:1]
    )


def test_cropped_borders_count_for_sizes_but_are_not_measured():
    data = sample()
    protocol = {'base': 'gopro_rgb', 'crop_border': 3}
    result = values(RegionPSNR(protocol, edges=(0.1,), radius=1), [data])
    band = near(1)

    def inner(labels, y, x):
        return 3 <= y < labels.shape[0] - 3 and 3 <= x < labels.shape[1] - 3

    expected = loop_psnr([data], lambda m, y, x: inner(m, y, x) and band(m, y, x))
    assert result['PSNR_boundary'] == pytest.approx(expected, abs=1e-9)
    expected = loop_psnr(
        [data], lambda m, y, x: inner(m, y, x) and m[y, x] and share(m, y, x) >= 0.1
    )
    assert result['PSNR_regions_10-100%'] == pytest.approx(expected, abs=1e-9)


def test_peak_of_the_protocol():
    base = values(RegionPSNR('gopro_rgb'), [sample()])
    dimmer = values(RegionPSNR({'base': 'gopro_rgb', 'peak': 25.5}), [sample()])
    assert {name: value - 20 for name, value in base.items()} == pytest.approx(dimmer)


def test_without_regions_only_what_exists_is_reported():
    data = sample()
    data['regions'] = torch.zeros_like(data['regions'])
    result = values(RegionPSNR('gopro_rgb'), [data])
    assert set(result) == {'PSNR_no_region', 'PSNR_interior', 'PSNR_all'}
    assert len(set(result.values())) == 1


def test_labels_mean_nothing():
    data = sample()
    other = {**data, 'regions': torch.where(data['regions'] == 7, 12345, data['regions'])}
    assert values(RegionPSNR('gopro_rgb'), [data]) == values(RegionPSNR('gopro_rgb'), [other])


def test_buckets_at_their_edges():
    labels = torch.zeros(1, 10, 10, dtype=torch.long)
    labels[0, 0, :7] = 1
    labels[0, 1, :8] = 2
    buckets = size_buckets(RegionMap.from_labels(labels), [0.07, 0.08])
    assert buckets[0, 0, 0] == 1  # 0.07 * 100 is a little more than 7 in floating point
    assert buckets[0, 1, 0] == 2
    assert buckets[0, 5, 5] == -1


def test_band_of_radius_zero_is_the_boundary():
    regions = RegionMap.from_labels(sample()['regions'])
    assert torch.equal(boundary_band(regions, 0), regions.boundaries()[:, 0])
    sizes = [boundary_band(regions, radius).sum().item() for radius in range(4)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ('wrong', 'text'),
    [
        ({'edges': (0.1, 0.01)}, 'edges'),
        ({'edges': (0.0,)}, 'edges'),
        ({'edges': (1.0,)}, 'edges'),
        ({'radius': -1}, 'radius'),
        ({'average': 'all'}, 'average'),
    ],
)
def test_wrong_arguments(wrong, text):
    with pytest.raises(ValueError, match=text):
        RegionPSNR('gopro_rgb', **wrong)


def test_wrong_samples():
    metric = RegionPSNR('gopro_rgb')
    data = sample()
    with pytest.raises(KeyError, match='RegionDataset'):
        metric.process(None, [{k: v for k, v in data.items() if k != 'regions'}])
    with pytest.raises(ValueError, match='does not fit'):
        metric.process(None, [{**data, 'regions': data['regions'][:, :, :-1]}])
    with pytest.raises(ValueError, match='does not fit'):
        metric.process(None, [{**data, 'regions': data['regions'].transpose(1, 2)}])


class Keep(Hook):
    def after_test_epoch(self, runner, metrics=None):
        self.metrics = metrics


@pytest.mark.slow
def test_in_a_run_with_cached_regions(tmp_path):
    data = write_data(tmp_path / 'data')
    settings = config(data, tmp_path / 'run', plain_model())
    settings.test_dataloader.dataset = {
        'type': 'RegionDataset',
        'dataset': settings.test_dataloader.dataset,
        'regions': str(data / 'regions'),
    }
    settings.test_evaluator = [
        {'type': 'RestorationMetric', 'protocol': 'gopro_rgb', 'prefix': 'toy'},
        {'type': 'RegionPSNR', 'protocol': 'gopro_rgb', 'prefix': 'toy', 'average': 'images'},
    ]
    runner = Runner.from_cfg(settings)
    keep = Keep()
    runner.register_hook(keep)
    runner.test()
    found = keep.metrics
    assert found['toy/PSNR_all'] == pytest.approx(found['toy/PSNR'], abs=1e-9)
    assert found['toy/PSNR_regions_10-100%'] == found['toy/PSNR_all']  # four quarters
    assert {'toy/PSNR_boundary', 'toy/PSNR_interior'} <= set(found)


def test_is_registered():
    assert METRICS.get('RegionPSNR') is RegionPSNR


def loop_near(labels, radius):
    """Band of pixels by their distance: steps in eight directions to a pixel on a boundary."""
    height, width = labels.shape
    on = [
        (y, x)
        for y, x in np.ndindex(height, width)
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if 0 <= v < height and 0 <= u < width and labels[v, u] != labels[y, x]
    ]
    return np.array(
        [
            [any(max(abs(y - v), abs(x - u)) <= radius for v, u in on) for x in range(width)]
            for y in range(height)
        ]
    )


@pytest.mark.parametrize('radius', [0, 1, 3, 7])
def test_boundary_and_interior_split_every_pixel(radius):
    """PSNR near boundaries and away from them, of an image with errors at a boundary alone."""
    data = sample()
    labels = data['regions'][0].numpy()
    band = loop_near(labels, radius)
    assert np.array_equal(boundary_band(RegionMap.from_labels(data['regions']), radius)[0], band)
    error = (data['output']['pred_img'].round() - data['gt_img']).double().square().mean(0).numpy()
    result = values(RegionPSNR('gopro_rgb', radius=radius), [data])
    for name, mask in (('PSNR_boundary', band), ('PSNR_interior', ~band)):
        if mask.any():
            expected = 10 * math.log10(255**2 / error[mask].mean())
            assert result[name] == pytest.approx(expected, abs=1e-9)
    weights = [band.sum(), (~band).sum()]
    parts = [10 ** (-result.get(n, 0) / 10) for n in ('PSNR_boundary', 'PSNR_interior')]
    whole = np.average(parts, weights=weights)
    assert -10 * math.log10(whole) == pytest.approx(result['PSNR_all'], abs=1e-9)
