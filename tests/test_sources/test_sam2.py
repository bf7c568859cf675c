"""SAM 2 as a region source: its interface with a stand-in, and the real package where it is."""

import copy
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmsamdistill.files import hash_file
from mmsamdistill.sources import SAM2Regions
from mmsamdistill.sources.sam import CONFIGS
from mmsamdistill.weights.sam_weights import OFFICIAL_SAM2_FILES

TINY = 'sam2.1_hiera_tiny'


class StandIn(nn.Module):
    """As little of a SAM 2 as its interface needs: one weight, which is the masks' width."""

    def __init__(self, width=3.0):
        super().__init__()
        self.width = nn.Parameter(torch.tensor([width]))


class StandInGenerator:
    """The interface of the package's generator, keyword trap and all."""

    def __init__(self, model, points_per_side=32, pred_iou_thresh=0.8, **kwargs):
        self.model, self.side, self.threshold = model, points_per_side, pred_iou_thresh

    def generate(self, image):
        assert image.dtype == np.uint8
        assert image.ndim == 3
        crops = self._process_crop()
        assert crops['crop_boxes'].shape == (0, 4)
        if self.threshold > 1:
            return []
        wide = np.zeros(image.shape[:2], bool)
        wide[:, : 2 * int(self.model.width)] = True
        narrow = np.zeros(image.shape[:2], bool)
        narrow[: self.side, : int(self.model.width)] = True
        return [{'segmentation': narrow}, {'segmentation': wide}]

    def _process_crop(self):
        return {'crop_boxes': torch.tensor([])}  # as the package's where no mask survives


StandInGenerator.__module__ = 'sam2.automatic_mask_generator'
StandInGenerator.__qualname__ = StandInGenerator.__name__ = 'SAM2AutomaticMaskGenerator'


@pytest.fixture
def package(monkeypatch):
    """A module named sam2 whose builder draws random numbers, as a constructor does."""
    calls = []

    def build_sam2(config_file, ckpt_path=None, device='cuda', apply_postprocessing=True):
        assert ckpt_path is None, 'weights are read by our own reader'
        calls.append((config_file, device, apply_postprocessing))
        torch.rand(3)
        return StandIn(width=1.0)

    modules = {name: ModuleType(name) for name in ('sam2', 'sam2.build_sam')}
    generators = ModuleType('sam2.automatic_mask_generator')
    modules['sam2.build_sam'].build_sam2 = build_sam2
    generators.SAM2AutomaticMaskGenerator = StandInGenerator
    for name, module in {**modules, generators.__name__: generators}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return calls


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({'model': StandIn(2.0).state_dict()}, tmp_path / 'tiny.pt')
    return tmp_path / 'tiny.pt'


IMAGES = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))


class TestWithAStandIn:
    def test_masks_are_painted_large_to_small(self, package, checkpoint):
        regions = SAM2Regions(TINY, checkpoint, generator={'points_per_side': 4})
        assert regions.frozen.empty
        labels = regions(IMAGES)
        expected = torch.zeros(2, 6, 9, dtype=torch.int64)
        expected[:, :, :4] = 2
        expected[:, :4, :2] = 1
        assert torch.equal(labels, expected)
        assert package == [('configs/sam2.1/sam2.1_hiera_t.yaml', 'cpu', False)]

    def test_frozen_and_in_no_state(self, package, checkpoint):
        model = nn.Sequential(SAM2Regions(TINY, checkpoint)).train().half()
        before = torch.get_rng_state()
        expected = model[0](IMAGES)
        assert torch.equal(torch.get_rng_state(), before)
        assert not model.state_dict()
        assert not list(model.parameters())
        network = model[0].frozen.network
        assert not network.training
        assert not network.width.requires_grad
        assert network.width.dtype == torch.float32
        assert torch.equal(copy.deepcopy(model)[0](IMAGES), expected)

    def test_no_mask(self, package, checkpoint):
        regions = SAM2Regions(TINY, checkpoint, generator={'pred_iou_thresh': 9.0})
        assert not regions(IMAGES).any()
        assert regions.records(IMAGES[0]) == []

    @pytest.mark.parametrize('model_type', CONFIGS)
    def test_every_model_has_a_configuration_and_a_published_file(
        self, package, model_type, checkpoint
    ):
        SAM2Regions(model_type, checkpoint)(IMAGES)
        family, _, size = model_type.partition('_hiera_')
        short = {'tiny': 't', 'small': 's', 'base_plus': 'b+', 'large': 'l'}[size]
        assert package[0][0] == f'configs/{family}/{family}_hiera_{short}.yaml'
        file = OFFICIAL_SAM2_FILES[model_type]
        assert file.name == f'{model_type}.pt'
        assert len(file.sha256) == 64
        assert file.url.startswith('https://dl.fbaipublicfiles.com/segment_anything_2/0')

    def test_weights_published_bare_and_safetensors(self, package, checkpoint, tmp_path):
        expected = SAM2Regions(TINY, checkpoint)(IMAGES)
        torch.save(StandIn(2.0).state_dict(), tmp_path / 'bare.pt')
        save_file(StandIn(2.0).state_dict(), tmp_path / 'tiny.safetensors')
        for name in ('bare.pt', 'tiny.safetensors'):
            assert torch.equal(SAM2Regions(TINY, tmp_path / name)(IMAGES), expected)
        torch.save({'model': StandIn(4.0).state_dict()}, checkpoint)
        assert not torch.equal(SAM2Regions(TINY, checkpoint)(IMAGES), expected)

    def test_default_is_the_official_file(self, package, monkeypatch, tmp_path):
        def download(url, path, hash_prefix):
            assert url == OFFICIAL_SAM2_FILES['sam2.1_hiera_large'].url
            assert hash_prefix == OFFICIAL_SAM2_FILES['sam2.1_hiera_large'].sha256
            raise ConnectionError('reached')

        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
        monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
        with pytest.raises(FileNotFoundError, match='reached'):
            SAM2Regions()(IMAGES)

    def test_damaged_and_wrong_files(self, package, checkpoint, tmp_path):
        name = OFFICIAL_SAM2_FILES[TINY].name
        (tmp_path / name).write_bytes(b'x' * 100)
        with pytest.raises(ValueError, match=rf'{name} has 100 bytes.*has 156008466'):
            SAM2Regions(TINY, tmp_path / name)(IMAGES)
        old = OFFICIAL_SAM2_FILES['sam2_hiera_tiny']
        (tmp_path / old.name).write_bytes(b'x' * 100)
        with pytest.raises(ValueError, match=f'expected {old.sha256}'):
            SAM2Regions('sam2_hiera_tiny', tmp_path / old.name)(IMAGES)
        with pytest.raises(ValueError, match='expected 1234'):
            SAM2Regions(TINY, checkpoint, sha256='1234')(IMAGES)
        with pytest.raises(FileNotFoundError, match=r'nowhere\.pt.*sam2\.1_hiera_large\.pt'):
            SAM2Regions(TINY, tmp_path / 'nowhere.pt')(IMAGES)
        torch.save({'model': {'other': torch.ones(1)}}, tmp_path / 'other.pt')
        with pytest.raises(ValueError, match=rf'is not a checkpoint of SAM {TINY}.*sam2_hiera_'):
            SAM2Regions(TINY, tmp_path / 'other.pt')(IMAGES)

    def test_nothing_is_executed(self, package, tmp_path):
        class Harmful:
            def __reduce__(self):
                return (pytest.fail, ('code of the checkpoint was executed',))

        torch.save({'model': {'width': Harmful()}}, tmp_path / 'harmful.pt')
        with pytest.raises(ValueError, match=r'harmful\.pt holds a '):
            SAM2Regions(TINY, tmp_path / 'harmful.pt')(IMAGES)

    def test_description(self, package, checkpoint):
        description = SAM2Regions(TINY, checkpoint, generator={'points_per_side': 7}).describe()
        assert json.loads(json.dumps(description)) == description
        assert description == {
            'type': 'SAM2Regions',
            'model_type': TINY,
            'checkpoint_sha256': hash_file(checkpoint),
            'generator_type': 'sam2.automatic_mask_generator.SAM2AutomaticMaskGenerator',
            'generator': {'points_per_side': 7, 'pred_iou_thresh': 0.8},
        }
        given = SAM2Regions(sam=StandIn(1.0)).describe()
        assert given['model_type'] == 'custom'
        other = SAM2Regions(sam=StandIn(2.0)).describe()
        assert given['checkpoint_sha256'] != other['checkpoint_sha256']

    def test_a_typing_error_in_the_generator_s_arguments(self, package, checkpoint):
        regions = SAM2Regions(TINY, checkpoint, generator={'point_per_side': 7})
        for act in (regions.describe, lambda: regions(IMAGES)):
            with pytest.raises(TypeError, match=r"point_per_side; choose .*'points_per_side'"):
                act()

    def test_small_regions_need_the_extension(self, package, checkpoint):
        regions = SAM2Regions(TINY, checkpoint, generator={'min_mask_region_area': 9})
        with pytest.raises(ValueError, match='compiled extension'):
            regions(IMAGES)

    def test_own_generator(self, package, checkpoint):
        class Upper:
            def __init__(self, network, rows=1):
                self.rows = rows

            def generate(self, image):
                mask = np.zeros(image.shape[:2], bool)
                mask[: self.rows] = True
                return [{'segmentation': mask}]

        regions = SAM2Regions(TINY, checkpoint, generator_type=Upper, generator={'rows': 2})
        assert regions(IMAGES)[0].sum() == 2 * 9
        with pytest.raises(ValueError, match="unknown generator_type 'fast'"):
            SAM2Regions(TINY, checkpoint, generator_type='fast')(IMAGES)


def test_errors():
    with pytest.raises(ValueError, match=r"'vit_b' is not one of \('sam2_hiera_tiny'"):
        SAM2Regions('vit_b')
    with pytest.raises(ValueError, match='either sam or checkpoint'):
        SAM2Regions(checkpoint='a.pt', sam=StandIn())
    with pytest.raises(TypeError, match=r'expected an nn\.Module'):
        SAM2Regions(sam='a.pt')
    with pytest.raises(ValueError, match='output_mode cannot be chosen'):
        SAM2Regions(generator={'output_mode': 'coco_rle'})


def test_a_missing_package_says_what_to_install(monkeypatch, checkpoint):
    monkeypatch.setitem(sys.modules, 'sam2', None)
    with pytest.raises(
        ImportError, match=r'git\+https://github.com/facebookresearch/sam2.*TransformersRegions'
    ):
        SAM2Regions(TINY, checkpoint)(IMAGES)


@pytest.fixture(scope='module')
def network():
    """The real network with random weights."""
    pytest.importorskip('sam2')
    from sam2.build_sam import build_sam2

    torch.manual_seed(0)
    return build_sam2(CONFIGS[TINY], device='cpu', apply_postprocessing=False)


class TestWithTheRealPackage:
    """About a minute on a core: the network has its full size, its predictor allows no other."""

    def test_every_configuration_is_in_the_package(self):
        folder = Path(pytest.importorskip('sam2').__file__).parent
        assert all((folder / name).is_file() for name in CONFIGS.values())

    def test_masks_of_the_package_from_a_file_in_the_published_layout(self, network, tmp_path):
        from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

        torch.save({'model': network.state_dict()}, tmp_path / 'random.pt')
        options = {'points_per_side': 2, 'pred_iou_thresh': -1.0, 'stability_score_thresh': 0.0}
        options['box_nms_thresh'] = 2.0
        image = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
        pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
        before = torch.get_rng_state()
        regions = SAM2Regions(TINY, tmp_path / 'random.pt', generator=options)
        labels = regions(image)[0].numpy()
        assert torch.equal(torch.get_rng_state(), before)
        records = SAM2AutomaticMaskGenerator(network.eval(), **options).generate(pixels)
        expected = np.zeros((40, 56), int)
        masks = [record['segmentation'] for record in records]
        for index in sorted(range(len(masks)), key=lambda i: -masks[i].sum()):
            expected[masks[index]] = index + 1
        assert len(masks) == 12  # three for each of 2 x 2 points
        assert np.array_equal(labels, expected)
        assert not regions.state_dict()
        assert regions.describe()['generator']['pred_iou_thresh'] == -1.0

    def test_no_mask_in_several_crops(self, network):
        # The package's own generator fails here.
        options = {'points_per_side': 1, 'pred_iou_thresh': 9.0, 'crop_n_layers': 1}
        regions = SAM2Regions(sam=network, generator=options)
        assert not regions(torch.rand(1, 3, 40, 56)).any()
