"""VGGAnalyzer against torchvision's own network; loading, freezing, and clear refusals."""

import copy
import pickle
import urllib.error
import warnings

import pytest
import torch
from mmagic.registry import MODELS
from torch import nn
from toy_edges import random_arrays, transcription, write_arrays

from mmsamdistill.cascade.analyzer import VGGAnalyzer, vgg_layers
from mmsamdistill.weights import CheckpointError

EARLY = ('relu1_1', 'relu1_2')


def random_analyzer(layers=EARLY, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return VGGAnalyzer(**{'layers': layers, 'weights': 'random', 'scale': 1.0, **kwargs})


def torchvision_features(depth):
    from torchvision.models import vgg

    # `vgg16()` would fill a classifier of 120 million weights that nobody looks at.
    return vgg.make_layers(vgg.cfgs[{16: 'D', 19: 'E'}[depth]])


@pytest.fixture(scope='module')
def weights16():
    torch.manual_seed(0)
    features = torchvision_features(16).state_dict()
    return {f'features.{key}': tensor for key, tensor in features.items()}


@pytest.fixture(scope='module')
def file16(weights16, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'vgg16.pth'
    torch.save({**weights16, 'classifier.0.bias': torch.zeros(3)}, path)
    return path


@pytest.mark.parametrize('depth', [16, 19])
def test_positions_are_torchvisions(depth):
    features = torchvision_features(depth)
    layers = vgg_layers(depth)
    rectifiers = [i for i, layer in enumerate(features) if isinstance(layer, nn.ReLU)]
    assert list(layers.values()) == rectifiers
    assert list(layers)[-1] == {16: 'relu5_3', 19: 'relu5_4'}[depth]


def test_features_equal_torchvisions(file16, weights16):
    analyzer = VGGAnalyzer(scale=1.0, layers=['relu2_2', 'relu1_1', 'relu3_1'], weights=file16)
    images = torch.rand(2, 3, 9, 12)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((images.movedim(1, -1) - mean) / std).movedim(-1, 1)
    reference = torchvision_features(16)
    reference.load_state_dict({k.removeprefix('features.'): v for k, v in weights16.items()})
    expected = [reference[: vgg_layers(16)[name] + 1](x) for name in analyzer.layers]
    for ours, theirs in zip(analyzer(images), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_safetensors_are_read(weights16, file16, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / 'vgg16.safetensors'
    save_file(weights16, path)
    images = torch.rand(1, 3, 8, 8)
    ours, theirs = VGGAnalyzer(scale=1.0, weights=str(path)), VGGAnalyzer(scale=1.0, weights=file16)
    assert torch.equal(ours(images)[1], theirs(images)[1])


def test_every_argument_changes_the_result(file16):
    images = torch.rand(1, 3, 8, 8)
    deep = random_analyzer(['relu3_4'], depth=19)
    assert [f.shape for f in deep(images)] == [(1, 256, 2, 2)]
    early, late = random_analyzer(['relu1_1']), random_analyzer(['relu1_2'])
    assert not torch.equal(early(images)[0], late(images)[0])
    from_file = VGGAnalyzer(scale=1.0, layers=['relu1_1'], weights=file16)
    assert not torch.equal(early(images)[0], from_file(images)[0])


def test_half_the_size_has_a_deterministic_gradient_on_cuda(monkeypatch):
    # Adaptive pooling, by which areas are interpolated, has none there.
    monkeypatch.delattr(nn.functional, 'interpolate')
    images = torch.rand(1, 3, 9, 8)
    features = random_analyzer(scale=0.5)(images)
    expected = random_analyzer()(images[..., :8, :].unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)))
    assert torch.allclose(features[1], expected[1], atol=1e-6)


def test_scale_shrinks_the_images_by_their_mean():
    images = torch.rand(1, 3, 12, 16)
    whole, half = random_analyzer(), random_analyzer(scale=0.5)
    assert VGGAnalyzer(weights='edges').scale == 0.5
    shrunk = images.unflatten(3, (8, 2)).mean(4).unflatten(2, (6, 2)).mean(3)
    for expected, features in zip(whole(shrunk), half(images), strict=True):
        torch.testing.assert_close(features, expected)
    assert half(torch.rand(1, 3, 13, 16))[0].shape[2:] == (6, 8)
    # Of three pixels become two: the means of the first and of the last pair.
    images = torch.rand(1, 3, 12, 18)
    rows, columns = (torch.arange(2 * length // 3) * 3 // 2 for length in (12, 18))
    tall = (images[:, :, rows] + images[:, :, rows + 1]) / 2
    shrunk = (tall[..., columns] + tall[..., columns + 1]) / 2
    for expected, features in zip(whole(shrunk), random_analyzer(scale=2 / 3)(images), strict=True):
        torch.testing.assert_close(features, expected)


def test_in_bfloat16_features_and_gradient_keep_their_direction():
    images = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    found = []
    for bfloat16 in (False, True):
        analyzer = random_analyzer(bfloat16=bfloat16)
        leaf = images.clone().requires_grad_()
        features = analyzer(leaf)
        assert {each.dtype for each in features} == {torch.bfloat16 if bfloat16 else torch.float32}
        assert next(analyzer.network.parameters()).dtype == torch.float32
        sum(each.float().square().mean() for each in features).backward()
        found.append([each.detach().float().flatten() for each in (*features, leaf.grad)])
    for single, half in zip(*found, strict=True):
        assert not torch.equal(single, half)
        assert torch.cosine_similarity(single, half, dim=0) > 0.99
    assert 'bfloat16' in repr(analyzer)


def test_taps_are_not_overwritten_by_later_layers():
    images = torch.rand(1, 3, 8, 8)
    alone = random_analyzer(['relu1_1'])(images)[0]
    assert torch.equal(random_analyzer(['relu1_1', 'relu3_1'])(images)[0], alone)


def test_network_ends_after_the_last_layer():
    assert len(random_analyzer().network.features) == vgg_layers(16)['relu1_2'] + 1


def test_differentiable_in_the_images_alone():
    analyzer = random_analyzer()
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    sum(features.square().mean() for features in analyzer(images)).backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in analyzer.network.parameters())


def test_gradient_is_finite_for_flat_images():
    analyzer = random_analyzer()
    for value in (0.0, 1.0):
        images = torch.full((1, 3, 8, 8), value, requires_grad=True)
        sum(features.sum() for features in analyzer(images)).backward()
        assert images.grad.isfinite().all()


def test_belongs_to_nobodys_state():
    owner = nn.Module()
    owner.analyzer = random_analyzer()
    owner.train()
    assert list(owner.state_dict()) == []
    assert list(owner.parameters()) == []
    assert list(owner.buffers()) == []
    assert not owner.analyzer.network.training


def test_follows_its_owner():
    owner = nn.Sequential(random_analyzer()).to(torch.bfloat16)
    features = owner(torch.rand(1, 3, 8, 8))
    assert features[0].dtype == torch.bfloat16
    assert owner[0].network.features[0].weight.dtype == torch.bfloat16


def test_autocast():
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    analyzer = random_analyzer()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        features = analyzer(images)
    torch.testing.assert_close(features[0].float(), analyzer(images)[0], rtol=0.05, atol=0.05)
    features[0].float().sum().backward()
    assert images.grad.isfinite().all()


def test_survives_copying():
    analyzer, images = random_analyzer(), torch.rand(1, 3, 8, 8)
    for twin in (copy.deepcopy(analyzer), pickle.loads(pickle.dumps(analyzer))):
        assert torch.equal(twin(images)[1], analyzer(images)[1])


def test_random_warns_repeats_itself_and_disturbs_nothing():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    with pytest.warns(UserWarning, match='random weights'):
        first = VGGAnalyzer(scale=1.0, layers=EARLY, weights='random')
    torch.manual_seed(4)
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(first(images)[1], random_analyzer()(images)[1])
    torch.manual_seed(3)
    random_analyzer()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_random_features_keep_their_variance():
    early, late = random_analyzer(['relu1_2', 'relu3_3'])(torch.rand(1, 3, 32, 32))
    assert 0.2 < late.square().mean() / early.square().mean() < 5


def test_imagenet_is_downloaded_at_first_use_only(monkeypatch, tmp_path, file16):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    calls = []

    def download(url, destination, hash_prefix=None, progress=True):
        calls.append((url, hash_prefix))
        with open(destination, 'wb') as copy_of_file:
            copy_of_file.write(file16.read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    analyzer = VGGAnalyzer(scale=1.0, layers=EARLY).to(torch.float64)
    assert calls == []
    images = torch.rand(1, 3, 8, 8)
    expected = VGGAnalyzer(scale=1.0, layers=EARLY, weights=file16).to(torch.float64)(images)
    for _ in range(2):
        assert torch.equal(analyzer(images)[1], expected[1])
    assert VGGAnalyzer(scale=1.0, layers=EARLY)(images)[0].dtype == torch.float32
    ((url, digest),) = calls
    assert url.endswith(f'vgg16-{digest}.pth')
    assert len(digest) == 8


def test_failed_download_says_to_give_a_path(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError('no route to host')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', unreachable)
    analyzer = VGGAnalyzer(depth=19)
    ways = r"no route.*weights='/path/to/vgg19.*'edges'.*sgr_loss=None"
    with pytest.raises(FileNotFoundError, match=rf'VGG-19.*{ways}'):
        analyzer(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'depth': 11}, r'depth=11 is not one of \(16, 19\)'),
        ({'layers': ('relu3_4',)}, r'relu3_4.*different names out of relu1_1, .*relu5_3$'),
        ({'layers': ()}, 'different names'),
        ({'layers': 'relu1_1'}, 'different names'),
        ({'scale': 0}, r'scale=0 is not in \(0, 1\]'),
        ({'scale': 2}, r'scale=2 is not in \(0, 1\]'),
        ({'layers': ('relu1_1', 'relu1_1')}, 'different names'),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        VGGAnalyzer(**{'weights': 'random', **arguments})


def test_refuses_bad_weights(weights16, file16, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no weights of vgg16 at .*missing\.pth'):
        VGGAnalyzer(weights=tmp_path / 'missing.pth')
    with pytest.raises(ValueError, match=r'(?s)VGG-19:.* missing: features\.'):
        VGGAnalyzer(depth=19, weights=file16)
    partial = tmp_path / 'partial.pth'
    torch.save({k: v for k, v in weights16.items() if not k.startswith('features.28')}, partial)
    with pytest.raises(ValueError, match=r'2 missing: features\.28'):
        VGGAnalyzer(weights=partial)
    torch.save([1, 2], partial)
    with pytest.raises(CheckpointError, match=r'partial\.pth is no checkpoint: it holds list'):
        VGGAnalyzer(weights=partial)


def test_never_executes_what_a_file_contains(tmp_path):
    path = tmp_path / 'evil.pth'
    torch.save({'features.0.weight': nn.Identity()}, path)
    with pytest.raises(CheckpointError, match=r'evil\.pth holds a torch'):
        VGGAnalyzer(weights=path)


def test_refuses_bad_images():
    analyzer = random_analyzer(['relu3_1'])
    for shape in ((3, 8, 8), (1, 1, 8, 8), (1, 3, 8, 3)):
        with pytest.raises(ValueError, match='at least 4'):
            analyzer(torch.rand(shape))
    with pytest.raises(ValueError, match='at least 8'):
        random_analyzer(['relu3_1'], scale=0.5)(torch.rand(1, 3, 7, 9))


def test_is_registered():
    assert MODELS.module_dict['VGGAnalyzer'] is VGGAnalyzer


@pytest.fixture(scope='module')
def arrays():
    pytest.importorskip('h5py')
    return random_arrays()


@pytest.fixture(scope='module')
def file(arrays, tmp_path_factory):
    return write_arrays(tmp_path_factory.mktemp('edges') / 'own.h5', arrays)


@pytest.mark.slow
class TestEdgeTrunk:
    """The edge network's trunk against a transcription of that network."""

    LAYERS = ('relu1_2', 'relu2_2', 'relu3_3')

    @pytest.mark.parametrize('size', [(1, 3), (16, 24), (19, 21)])
    def test_features_are_exact_up_to_the_border(self, size, arrays, file):
        images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
        expected = transcription(arrays, images)[0]
        features = VGGAnalyzer(scale=1.0, layers=self.LAYERS, weights=file)(images)
        for ours, theirs in zip(features, expected, strict=False):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)

    def test_by_name_it_is_read_at_the_first_pass(self, file, monkeypatch):
        asked = []

        def locate(weights):
            asked.append(weights)
            return file, ''

        monkeypatch.setattr('mmsamdistill.cascade.analyzer.locate_edge_weights', locate)
        analyzer = VGGAnalyzer(scale=1.0, layers=self.LAYERS, weights='edges')
        assert asked == []
        images = torch.rand(1, 3, 8, 8)
        for ours, theirs in zip(
            analyzer(images),
            VGGAnalyzer(scale=1.0, layers=self.LAYERS, weights=file)(images),
            strict=True,
        ):
            assert torch.equal(ours, theirs)
        analyzer(images)
        assert asked == ['edges', file]

    def test_it_is_a_vgg_16(self, file):
        for weights in ('edges', file):
            with pytest.raises(ValueError, match='the edge network is a VGG-16, got depth=19'):
                VGGAnalyzer(scale=1.0, depth=19, weights=weights)
