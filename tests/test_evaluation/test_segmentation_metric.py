import json
import math

import cv2
import numpy as np
import pytest
import torch
from mmagic.registry import METRICS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from processes import together
from torch import nn
from toy import config, plain_model, write_data
from workers import measure_segmentation

from mmsamdistill.evaluation.segmentation_metric import SegmentationMetric
from mmsamdistill.evaluation.segmenters import Segmenter

CLASSES = 3
LABELS = {'name': 'three', 'classes': ['a', 'b', 'c'], 'values': {0: 0, 1: 1, 2: 2, 9: 255}}


class Brightest(nn.Module):
    """Its classes are red, green and blue: the strongest channel wins."""

    def forward(self, x):
        return x


def segmenter(network=None, **options):
    return Segmenter(network or Brightest(), **{'mean': (0, 0, 0), 'std': (1, 1, 1), **options})


def write_labels(folder, count, size=(12, 16), seed=0):
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    maps = []
    for index in range(count):
        labels = generator.choice([0, 1, 2, 9], size).astype(np.uint8)
        cv2.imwrite(str(folder / f'{index}_labels.png'), labels)
        maps.append(labels.astype(np.int64))
    return maps


def samples(count=3, size=(12, 16), seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        clean, degraded, restored = (
            torch.randint(0, 256, (3, *size), generator=generator).float() for _ in range(3)
        )
        made.append(
            {
                'gt_img': clean,
                'input': degraded,
                'output': {'pred_img': restored},
                'gt_path': f'/data/sharp/{index}.png',
            }
        )
    return made


def metric(folder, network=None, **options):
    settings = {'label_root': str(folder), 'labels': LABELS, 'suffix': ('', '_labels.png')}
    return SegmentationMetric(network or segmenter(), **{**settings, **options})


def values(each, data):
    each.process(None, data)
    return each.evaluate(len(data))


def reference(predictions, maps):
    """Mean IoU in percent by NumPy, over a whole data set."""
    p, t = (np.concatenate([m.ravel() for m in each]) for each in (predictions, maps))
    p, t = p[t != 9], t[t != 9]
    unions = [np.sum((p == k) | (t == k)) for k in range(CLASSES)]
    hits = [np.sum((p == k) & (t == k)) for k in range(CLASSES)]
    return [100 * h / u if u else math.nan for h, u in zip(hits, unions, strict=True)]


def strongest(image):
    """Classes of a BGR image."""
    return image.round().flip(0).argmax(0).numpy()


def test_equals_numpy_for_the_three_images(tmp_path):
    maps, data = write_labels(tmp_path, 3), samples()
    each = metric(tmp_path)
    result = values(each, data)
    images = {
        'mIoU': [s['output']['pred_img'] for s in data],
        'mIoU_degraded': [s['input'] for s in data],
        'mIoU_clean': [s['gt_img'] for s in data],
    }
    assert set(result) == set(images)
    for name, pictures in images.items():
        expected = reference([strongest(p) for p in pictures], maps)
        assert result[name] == pytest.approx(np.nanmean(expected))
        kind = name.removeprefix('mIoU').removeprefix('_') or 'restored'
        assert [v[kind] for v in each.per_class.values()] == pytest.approx(expected)
    assert list(each.per_class) == ['a', 'b', 'c']
    single = reference([strongest(images['mIoU'][1])], maps[1:2])
    assert each.per_image[1]['name'] == '1'
    assert each.per_image[1]['mIoU'] == pytest.approx(np.nanmean(single))


def test_perfect_restoration_and_absent_classes(tmp_path):
    labels = np.array([[0, 0], [9, 2]], np.uint8)
    cv2.imwrite(str(tmp_path / '0_labels.png'), labels)
    image = torch.zeros(3, 2, 2)
    image[2, 0] = 200  # red above
    image[0, 1] = 200  # blue below
    sample = {'output': {'pred_img': image}, 'gt_path': '0.png'}
    each = metric(tmp_path, images='restored')
    assert values(each, [sample]) == {'mIoU': 100.0}
    assert math.isnan(each.per_class['b']['restored'])


def test_scores_are_upsampled_to_the_labels(tmp_path):
    """A network of a fourth of the resolution, labels of twice the image's."""
    maps = write_labels(tmp_path, 1, (24, 32))
    data = samples(1)
    small = nn.AvgPool2d(4)
    result = values(metric(tmp_path, segmenter(small), images=['restored']), data)
    pixels = data[0]['output']['pred_img'].round().flip(0)[None] / 255
    scores = nn.functional.interpolate(small(pixels), (24, 32), mode='bilinear')
    expected = np.nanmean(reference([scores[0].argmax(0).numpy()], maps))
    assert result['mIoU'] == pytest.approx(expected)


def test_images_are_rounded_as_in_files(tmp_path):
    write_labels(tmp_path, 1)
    data = samples(1)
    near = {**data[0], 'output': {'pred_img': data[0]['output']['pred_img'] + 0.4}}
    options = {'images': 'restored'}
    assert values(metric(tmp_path, **options), [near]) == values(metric(tmp_path, **options), data)


@pytest.mark.parametrize(
    'change',
    [
        {'images': ['clean']},
        {'prefix': 'City'},
        {'channel_order': 'rgb'},
        {'labels': {**LABELS, 'values': {0: 1, 1: 0, 2: 2, 9: 255}}},
        {'suffix': ('', '_others.png')},
        {'network': segmenter(nn.AvgPool2d(2))},
        {'network': segmenter(size=(5, 5))},
        {'network': segmenter(mean=(0.5, 0, 0))},
    ],
    ids=str,
)
def test_every_argument_matters(tmp_path, change):
    write_labels(tmp_path, 3)
    for index, labels in enumerate(write_labels(tmp_path / 'other', 3, seed=7)):
        cv2.imwrite(str(tmp_path / f'{index}_others.png'), labels.astype(np.uint8))
    assert values(metric(tmp_path, **change), samples()) != values(metric(tmp_path), samples())


def test_grey_images_and_label_path_of_the_sample(tmp_path):
    write_labels(tmp_path, 1)
    data = samples(1)[0]
    grey = {'output': {'pred_img': data['gt_img'][:1]}}
    path = str(tmp_path / '0_labels.png')
    colour = {'output': {'pred_img': data['gt_img'][:1].expand(3, -1, -1)}}
    options = {'label_root': None, 'images': 'restored'}
    first = values(metric(tmp_path, **options), [{**grey, 'label_path': path}])
    assert first == values(metric(tmp_path, **options), [{**colour, 'label_path': path}])
    with pytest.raises(KeyError, match='label_path'):
        metric(tmp_path, **options).process(None, [grey])


def test_batches_add_up_and_padding_is_dropped(tmp_path):
    write_labels(tmp_path, 3)
    data = samples()
    whole, parts = metric(tmp_path), metric(tmp_path)
    for sample in (*data, data[0]):
        parts.process(None, [sample])
    assert parts.evaluate(3) == values(whole, data)
    assert len(parts.per_image) == 3


class Dataset:
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def get_data_info(self, index):
        return {'gt_path': f'/data/sharp/{index}.png'}


class Loader:
    def __init__(self, count):
        self.dataset = Dataset(count)


def test_all_that_is_missing_is_told_before_testing(tmp_path):
    write_labels(tmp_path, 3)
    metric(tmp_path).prepare(None, Loader(3))
    with pytest.raises(FileNotFoundError, match=r'/data/sharp/3\.png.*3_labels\.png'):
        metric(tmp_path).prepare(None, Loader(4))
    network = {'type': 'TorchvisionSegmenter', 'name': 'fcn_resnet50', 'weights': 'nowhere.pth'}
    late = metric(tmp_path, network)  # a config can be read without the weights
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        late.prepare(None, Loader(3))


def test_mistakes(tmp_path):
    write_labels(tmp_path, 1)
    with pytest.raises(ValueError, match="'restaured'"):
        metric(tmp_path, images=['restaured'])
    with pytest.raises(ValueError, match='images='):
        metric(tmp_path, images=[])
    with pytest.raises(KeyError, match='voc'):
        metric(tmp_path, labels='voc')
    with pytest.raises(ValueError, match=r"3 classes, label set 'cityscapes' has 19"):
        metric(tmp_path, labels='cityscapes').process(None, _valid_for_cityscapes(tmp_path))
    write_labels(tmp_path, 1)
    with pytest.raises(KeyError, match=r"no degraded image, only \['restored', 'clean'\]"):
        metric(tmp_path).process(None, [{k: v for k, v in samples(1)[0].items() if k != 'input'}])
    video = {'output': {'pred_img': torch.zeros(2, 3, 4, 4)}, 'gt_path': '0.png'}
    with pytest.raises(ValueError, match=r'\(2, 3, 4, 4\)'):
        metric(tmp_path).process(None, [video])
    with pytest.raises(KeyError, match='gt_path'):
        metric(tmp_path).process(None, [{'output': {'pred_img': torch.zeros(3, 4, 4)}}])


def _valid_for_cityscapes(folder):
    cv2.imwrite(str(folder / '0_labels.png'), np.full((12, 16), 7, np.uint8))
    return samples(1)


def test_protocol_says_what_was_measured():
    config = {'type': 'TorchvisionSegmenter', 'name': 'deeplabv3_resnet50', 'weights': 'net.pth'}
    protocol = METRICS.build({'type': 'SegmentationMetric', 'segmenter': config}).protocol
    assert str(protocol) == 'segmentation: deeplabv3_resnet50 on cityscapes, 8 bit'
    described = json.dumps(protocol.describe())
    assert 'net.pth' in described
    assert 'labelIds.png' in described


class Keep(Hook):
    def after_test_epoch(self, runner, metrics=None):
        self.metrics = metrics


@pytest.mark.slow
def test_in_a_run_with_a_real_network(tmp_path):
    """LR-ASPP with random weights; names and label ids as in Cityscapes."""
    from torchvision.models import get_model

    data = write_data(tmp_path / 'data', 2)
    maps = {}
    for index in range(2):
        for folder in ('gt', 'img'):
            (data / folder / f'{index}.png').rename(data / folder / f'ulm_{index}_leftImg8bit.png')
        labels = np.random.default_rng(index).integers(0, 34, (32, 32)).astype(np.uint8)
        (tmp_path / 'gtFine').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f'gtFine/ulm_{index}_gtFine_labelIds.png'), labels)
        maps[index] = labels
    torch.manual_seed(0)
    network = get_model(
        'lraspp_mobilenet_v3_large', weights=None, weights_backbone=None, num_classes=19
    ).eval()
    torch.save(network.state_dict(), tmp_path / 'net.pth')
    settings = config(data, tmp_path / 'run', plain_model())
    settings.test_evaluator = [
        {'type': 'RestorationMetric', 'protocol': 'gopro_rgb', 'prefix': 'toy'},
        {
            'type': 'SegmentationMetric',
            'prefix': 'toy',
            'label_root': str(tmp_path / 'gtFine'),
            'segmenter': {
                'type': 'TorchvisionSegmenter',
                'name': 'lraspp_mobilenet_v3_large',
                'weights': str(tmp_path / 'net.pth'),
            },
        },
    ]
    runner = Runner.from_cfg(settings)
    keep = Keep()
    runner.register_hook(keep)
    runner.test()
    found = keep.metrics
    assert {'toy/PSNR', 'toy/mIoU', 'toy/mIoU_degraded', 'toy/mIoU_clean'} <= set(found)
    # The degraded and the clean images are files, so that the whole chain can be redone from them.
    for name, folder in (('toy/mIoU_clean', 'gt'), ('toy/mIoU_degraded', 'img')):
        assert found[name] == pytest.approx(by_hand(network, data / folder, maps), abs=1e-4)


def by_hand(network, folder, maps):
    from torchmetrics.classification import MulticlassJaccardIndex

    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    jaccard = MulticlassJaccardIndex(19, ignore_index=255, average='macro')
    for index, labels in maps.items():
        rgb = cv2.imread(str(folder / f'ulm_{index}_leftImg8bit.png'))[..., ::-1] / 255.0
        normalised = (rgb - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        with torch.no_grad():
            scores = network(torch.from_numpy(normalised).float().permute(2, 0, 1)[None])['out']
        truth = [[ids.index(v) if v in ids else 255 for v in row] for row in labels.tolist()]
        jaccard.update(scores.argmax(1), torch.tensor(truth)[None])
    return 100 * jaccard.compute().item()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason='torch without distributed')
def test_two_processes_measure_one_data_set(tmp_path):
    write_labels(tmp_path, 3)
    data = samples()
    for index, sample in enumerate(data):
        torch.save(sample, tmp_path / f'{index}.pt')
    expected = values(metric(tmp_path, images=['restored']), data)
    for measured in together(measure_segmentation, tmp_path, LABELS):
        assert measured == pytest.approx(expected)
