import sys
import types

import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

from mmsamdistill.evaluation.segmenters import Segmenter
from mmsamdistill.weights import CheckpointError
from mmsamdistill.weights.library_weights import load_completely, read_torchvision_weights

NAME = 'lraspp_mobilenet_v3_large'


def torchvision_network(name=NAME, classes=19, **options):
    from torchvision.models import get_model

    torch.manual_seed(0)
    return get_model(name, weights=None, weights_backbone=None, num_classes=classes, **options)


def build(**config):
    return MODELS.build({'type': 'TorchvisionSegmenter', 'name': NAME, **config})


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'net.pth'
    torch.save(torchvision_network().state_dict(), path)
    return path


def test_torchvision_network_from_a_file_is_that_network(weights):
    segmenter = build(weights=str(weights))
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    network = torchvision_network().eval()
    normalised = (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        expected = network(normalised)['out']
    assert torch.allclose(segmenter(image), expected, atol=1e-6)
    assert expected.shape == (1, 19, 64, 96)
    # Frozen, and in nobody's checkpoint.
    assert not list(segmenter.parameters())
    assert not segmenter.state_dict()
    assert not segmenter.train().network.training


def test_dialects_and_auxiliary_heads(tmp_path):
    network = torchvision_network('fcn_resnet50', aux_loss=True)
    wrapped = {f'module.{key}': value for key, value in network.state_dict().items()}
    torch.save({'state_dict': wrapped}, tmp_path / 'net.pth')
    segmenter = build(name='fcn_resnet50', weights=tmp_path / 'net.pth')
    for key, value in segmenter.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])


def test_weights_must_fit(tmp_path, weights):
    with pytest.raises(ValueError, match='with 21 classes'):
        build(weights=weights, num_classes=21)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth.*'COCO_WITH_VOC_LABELS_V1'"):
        build(weights=tmp_path / 'nowhere.pth')
    with pytest.raises(KeyError, match=r"'resnet50'.*lraspp"):
        build(name='resnet50', weights=weights)


def test_weights_are_read_without_running_code(tmp_path):
    class Harm:
        def __reduce__(self):
            return (print, ('executed',))

    torch.save({'state_dict': {'a': torch.ones(1)}, 'meta': Harm()}, tmp_path / 'net.pth')
    with pytest.raises(CheckpointError, match=r'net\.pth'):
        build(weights=tmp_path / 'net.pth')


def test_torchvisions_own_weights_come_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    network = torchvision_network(classes=21)
    torch.save(
        network.state_dict(), tmp_path / 'checkpoints/lraspp_mobilenet_v3_large-d234d4ea.pth'
    )
    segmenter = build(weights='COCO_WITH_VOC_LABELS_V1', num_classes=21)
    assert segmenter(torch.rand(1, 3, 32, 32)).shape == (1, 21, 32, 32)


def test_download_only_if_asked_for_and_told_where_to_put_it(tmp_path, monkeypatch):
    asked = []

    def offline(url, path, **options):
        asked.append((url.rpartition('/')[2], options))
        raise OSError('no network')

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_torchvision_weights('nowhere', NAME)
    assert not asked
    with pytest.raises(FileNotFoundError, match=r'no network.*put it at .*d234d4ea\.pth'):
        build(weights='COCO_WITH_VOC_LABELS_V1', num_classes=21)
    assert asked == [('lraspp_mobilenet_v3_large-d234d4ea.pth', {'hash_prefix': 'd234d4ea'})]


def test_random_weights_warn_and_leave_the_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.warns(UserWarning, match='random weights'):
        build(weights='random')
    assert torch.equal(torch.get_rng_state(), before)


def test_normalisation_and_size_reach_the_network():
    seen = []

    class Network(nn.Module):
        def forward(self, x):
            seen.append(x)
            return {'out': x}

    images = torch.rand(1, 3, 8, 8)
    Segmenter(Network(), mean=(0.5, 0.5, 0.5), std=(0.1, 0.2, 0.5), size=(4, 6))(images)
    small = nn.functional.interpolate(images, (4, 6), mode='bilinear', align_corners=False)
    expected = (small - 0.5) / torch.tensor([0.1, 0.2, 0.5]).view(3, 1, 1)
    assert torch.allclose(seen[0], expected)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda x: x,
        lambda x: {'out': x, 'aux': 2 * x},
        lambda x: types.SimpleNamespace(logits=x, loss=None),
        lambda x: {'logits': x},
        lambda x: (x, 2 * x),
        lambda x: [x],
    ],
)
def test_shapes_of_outputs(wrap):
    class Network(nn.Module):
        def forward(self, x):
            return wrap(x)

    segmenter = Segmenter(Network(), mean=(0, 0, 0), std=(1, 1, 1))
    images = torch.rand(1, 3, 4, 4)
    assert torch.equal(segmenter(images), images)


@pytest.mark.parametrize('output', [torch.zeros(3, 4, 4), {'boxes': 1}, []])
def test_something_else_than_scores(output):
    class Network(nn.Module):
        def forward(self, x):
            return output

    with pytest.raises(TypeError, match='class scores'):
        Segmenter(Network())(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize(
    ('options', 'text'),
    [({'mean': (0, 0)}, 'mean='), ({'std': (1, 1, 0)}, 'std='), ({'size': (0, 4)}, 'size=')],
)
def test_wrong_options(options, text):
    with pytest.raises(ValueError, match=text):
        Segmenter(nn.Identity(), **options)


@MODELS.register_module()
class ToySegmenter(nn.Module):
    def __init__(self, classes=19):
        super().__init__()
        self.conv = nn.Conv2d(3, classes, 1)

    def forward(self, x):
        return self.conv(x)


def test_registered_network(tmp_path):
    torch.manual_seed(0)
    network = ToySegmenter()
    torch.save({'state_dict': network.state_dict()}, tmp_path / 'net.pth')
    config = {'type': 'RegisteredSegmenter', 'model': {'type': 'ToySegmenter'}}
    segmenter = MODELS.build({**config, 'checkpoint': tmp_path / 'net.pth', 'mean': (0, 0, 0)})
    assert torch.equal(segmenter.network.conv.weight, network.conv.weight)
    assert segmenter.mean.flatten().tolist() == [0, 0, 0]
    untrained = MODELS.build({**config, 'checkpoint': None})
    assert not torch.equal(untrained.network.conv.weight, network.conv.weight)
    other = {**config, 'model': {'type': 'ToySegmenter', 'classes': 2}}
    with pytest.raises(ValueError, match=r'do not fit ToySegmenter'):
        MODELS.build({**other, 'checkpoint': tmp_path / 'net.pth'})


def test_missing_weights_are_never_filled_in():
    network = ToySegmenter()
    with pytest.raises(ValueError, match=r'1 missing: conv\.bias'):
        load_completely(network, {'conv.weight': network.conv.weight}, 'it')
    with pytest.raises(ValueError, match=r'1 unexpected: head\.bias'):
        load_completely(network, {**network.state_dict(), 'head.bias': torch.ones(1)}, 'it')


def test_transformers_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r'pip install .*\[transformers\]'):
        MODELS.build({'type': 'TransformersSegmenter', 'name': 'segformer'})


def test_network_of_transformers(tmp_path):
    transformers = pytest.importorskip('transformers')
    settings = {
        'num_labels': 19,
        'hidden_sizes': [4, 4, 8, 8],
        'depths': [1, 1, 1, 1],
        'num_attention_heads': [1, 1, 2, 2],
        'decoder_hidden_size': 8,
    }
    torch.manual_seed(0)
    network = transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(**settings)
    )
    network.save_pretrained(tmp_path / 'segformer')
    config = {'type': 'TransformersSegmenter', 'mean': (0, 0, 0), 'std': (1, 1, 1)}
    segmenter = MODELS.build({**config, 'name': str(tmp_path / 'segformer')})
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(segmenter(images), network.eval()(images).logits, atol=1e-6)
    with pytest.raises(FileNotFoundError, match='download=True'):
        MODELS.build({**config, 'name': str(tmp_path / 'nowhere')})
