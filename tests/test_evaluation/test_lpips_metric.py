import warnings

import pytest
import torch
from mmagic.registry import METRICS

from mmsamdistill.evaluation.lpips_metric import LPIPSMetric, lpips_network
from mmsamdistill.evaluation.restoration_metric import protocol_labels

NETWORKS = {
    'alex': ('alexnet', 'alexnet-owt-7be5be79.pth'),
    'squeeze': ('squeezenet1_1', 'squeezenet1_1-b8a52dc0.pth'),
}


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """A cache of PyTorch with networks of the real classes, weights random."""
    from torchvision import models

    root = tmp_path_factory.mktemp('hub')
    (root / 'checkpoints').mkdir()
    torch.manual_seed(0)
    for name, file in NETWORKS.values():
        weights = getattr(models, name)().state_dict()
        # Of AlexNet's 61 million numbers, those that are not looked at are one.
        ends = {k: v.new_zeros(()).expand(v.shape) for k, v in weights.items() if 'classifier' in k}
        torch.save({**weights, **ends}, root / 'checkpoints' / file)
    return root


@pytest.fixture
def offline(cache, monkeypatch):
    """That cache, and nothing else."""

    def refuse(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setenv('TORCH_HOME', str(cache.parent))
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(cache))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', refuse)


def samples(count=2, noise=30.0, size=64):
    generator = torch.Generator().manual_seed(0)
    for index in range(count):
        truth = torch.randint(0, 256, (3, size, size), generator=generator).float()
        restored = truth + noise * torch.randn(truth.shape, generator=generator)
        yield {'gt_img': truth, 'output': {'pred_img': restored}, 'img_path': f'/d/{index}.png'}


def small_metric(**options):
    """Of the network that is quickly built."""
    return LPIPSMetric('IMAGENET1K_V1', 'squeeze', **options)


def values(metric, data):
    data = list(data)
    metric.process(None, data)
    return metric.evaluate(len(data))


def in_unit_range(image):
    return image.clamp(0, 255).round().flip(0)[None] / 255


@pytest.mark.parametrize('net', NETWORKS)
def test_equals_the_package_itself(net, cache, offline):
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        reference = lpips.LPIPS(net=net, verbose=False)  # reads its features out of the cache
    metric = LPIPSMetric(cache / 'checkpoints' / NETWORKS[net][1], net)
    result = values(metric, samples())
    with torch.no_grad():
        expected = [
            reference(
                in_unit_range(s['output']['pred_img']), in_unit_range(s['gt_img']), normalize=True
            ).item()
            for s in samples()
        ]
    assert result['LPIPS'] == pytest.approx(sum(expected) / 2, rel=1e-5)
    assert expected[0] > 1e-4
    assert [row['LPIPS'] for row in metric.per_image] == pytest.approx(expected, rel=1e-5)
    assert [row['name'] for row in metric.per_image] == ['0', '1']


def test_equals_torchmetrics(offline):
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        reference = LearnedPerceptualImagePatchSimilarity('squeeze', normalize=True)
    for sample in samples():
        reference.update(*map(in_unit_range, (sample['output']['pred_img'], sample['gt_img'])))
    result = values(small_metric(), samples())
    assert result['LPIPS'] == pytest.approx(reference.compute().item(), rel=1e-5)


def test_identical_images_and_more_noise(offline):
    def lpips_of(noise):
        return values(small_metric(), samples(noise=noise))['LPIPS']

    assert lpips_of(0) == 0
    assert lpips_of(0.05) == 0  # rounded away, as in a file
    assert 0 < lpips_of(10) < lpips_of(60)


def test_order_of_channels_matters_and_grey_images_work(offline):
    bgr, rgb = (
        values(small_metric(channel_order=order), samples())['LPIPS'] for order in ('bgr', 'rgb')
    )
    assert abs(bgr - rgb) > 1e-6
    (sample,) = samples(1)
    grey = {'gt_img': sample['gt_img'][:1], 'output': {'pred_img': sample['gt_img'][1:2]}}
    colour = {
        'gt_img': grey['gt_img'].expand(3, -1, -1),
        'output': {'pred_img': grey['output']['pred_img'].expand(3, -1, -1)},
    }
    first, second = (values(small_metric(), [each]) for each in (grey, colour))
    assert first == pytest.approx(second)


def test_config_and_table(offline):
    metric = METRICS.build({'type': 'LPIPSMetric', 'weights': 'IMAGENET1K_V1', 'prefix': 'a'})
    assert list(values(metric, samples())) == ['a/LPIPS']
    assert protocol_labels([metric]) == {'a': 'lpips_alex: LPIPS 0.1 of alexnet, RGB, 8 bit'}


class Loader:
    dataset = range(2)


def test_missing_weights_are_told_before_testing(tmp_path, offline):
    metric = LPIPSMetric(tmp_path / 'nowhere.pth')  # a config can be read without them
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth.*alexnet-owt-7be5be79\.pth'):
        metric.prepare(None, Loader())
    with pytest.raises(FileNotFoundError, match=r'vgg16-397923af\.pth could not be downloaded'):
        LPIPSMetric('IMAGENET1K_V1', 'vgg').prepare(None, Loader())
    LPIPSMetric('IMAGENET1K_V1').prepare(None, Loader())


def test_weights_of_another_network(cache):
    with pytest.raises(ValueError, match=r'(?s)alexnet:.* missing: features'):
        lpips_network('alex', cache / 'checkpoints' / NETWORKS['squeeze'][1])
    with pytest.raises(KeyError, match=r"'resnet'.*'alex'"):
        lpips_network('resnet', 'random')
    with pytest.raises(KeyError, match=r"'resnet'.*'alex'"):
        LPIPSMetric('random', 'resnet')


def test_random_weights_warn_and_leave_the_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.warns(UserWarning, match='means nothing'):
        lpips_network('squeeze', 'random')
    assert torch.equal(torch.get_rng_state(), before)
