"""SAM as a region source, with a tiny SAM of the package's own classes."""

import copy
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from tiny_sam import build_tiny_sam

from mmsamdistill.files import hash_file
from mmsamdistill.sources import SAMRegions
from mmsamdistill.weights.sam_weights import OFFICIAL_FILES, locate_weights

# A random network predicts no quality; all of its masks are welcome.
EVERYTHING = {
    'points_per_side': 3,
    'pred_iou_thresh': -100.0,
    'stability_score_thresh': 0.0,
    'box_nms_thresh': 2.0,
}
NOTHING = {'points_per_side': 2, 'pred_iou_thresh': 100.0}


def source(**kwargs):
    return SAMRegions(sam=build_tiny_sam(), **{'generator': EVERYTHING, **kwargs})


@pytest.fixture(scope='module')
def images():
    return torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tiny_vit_b(monkeypatch):
    """The registry's 'vit_b' builds the tiny network, with other weights than any checkpoint."""

    def build(checkpoint=None):
        assert checkpoint is None, 'the package would unpickle unsafely'
        torch.rand(3)  # as a constructor, draws from the global random state
        return build_tiny_sam(seed=99)

    monkeypatch.setitem(sam_model_registry, 'vit_b', build)


@pytest.fixture
def checkpoint(tmp_path):
    torch.save(build_tiny_sam().state_dict(), tmp_path / 'tiny.pth')
    return tmp_path / 'tiny.pth'


def reference_labels(image, **options):
    """The package's own generator, painted by a plain loop."""
    pixels = np.rint(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    generator = SamAutomaticMaskGenerator(build_tiny_sam(), **{**EVERYTHING, **options})
    masks = [record['segmentation'] for record in generator.generate(pixels)]
    labels = np.zeros(pixels.shape[:2], int)
    for index in sorted(range(len(masks)), key=lambda i: -masks[i].sum()):
        labels[masks[index]] = index + 1
    return labels


class TestRegions:
    def test_labels_are_the_package_s_masks_painted_large_to_small(self, images):
        labels = source()(images)
        assert labels.shape == (2, 40, 56)
        assert labels.dtype == torch.int64
        for image, result in zip(images, labels, strict=True):
            expected = reference_labels(image)
            assert len(np.unique(expected)) > 3
            assert np.array_equal(result.numpy(), expected)

    def test_independent_of_the_batch_and_repeatable(self, images):
        regions = source()
        assert torch.equal(regions(images), regions(images))
        assert torch.equal(regions(images.flip(0)), regions(images).flip(0))

    @pytest.mark.parametrize(
        'change',
        [
            {'points_per_side': 4},
            {'pred_iou_thresh': 1.0},
            {'stability_score_thresh': 0.9},
            {'stability_score_thresh': 0.9, 'stability_score_offset': 3.0},
            {'box_nms_thresh': 0.6},
            {'crop_n_layers': 1},
            {'min_mask_region_area': 60},
        ],
    )
    def test_generator_arguments_arrive(self, images, change):
        image = images[:1]
        result = source(generator={**EVERYTHING, **change})(image)
        assert np.array_equal(result[0].numpy(), reference_labels(image[0], **change))
        assert not torch.equal(result, source()(image))

    @pytest.mark.parametrize('generator_type', ['reference', 'fast'])
    @pytest.mark.parametrize('crop_n_layers', [0, 1])
    @pytest.mark.parametrize('min_mask_region_area', [0, 10])
    def test_an_image_without_any_mask(
        self, images, generator_type, crop_n_layers, min_mask_region_area
    ):
        options = {
            **NOTHING,
            'crop_n_layers': crop_n_layers,
            'min_mask_region_area': min_mask_region_area,
        }
        regions = source(generator=options, generator_type=generator_type)
        assert torch.equal(regions(images), torch.zeros(2, 40, 56, dtype=torch.int64))
        assert regions.records(images[0]) == []

    def test_records_hold_the_masks_before_painting(self, images):
        records = source().records(images[0])
        assert len(records) == 27  # three masks for each of 3 x 3 points
        assert records[0]['segmentation'].shape == (40, 56)
        assert {'area', 'bbox', 'predicted_iou', 'stability_score'} <= records[0].keys()

    def test_what_a_diverging_restorer_returns(self, images):
        regions = source()
        wild = images * 3 - 1
        assert torch.equal(regions(wild), regions(wild.clamp(0, 1)))
        wild[0, :, :5, :5] = float('nan')
        assert torch.equal(regions(wild)[0], regions(wild.nan_to_num(0.0).clamp(0, 1))[0])

    def test_autocast_and_half_precision_do_not_reach_sam(self, images):
        regions = source().half()
        assert next(regions.frozen.network.parameters()).dtype == torch.float32
        expected = source()(images)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert torch.equal(regions(images), expected)


class TestGeneratorType:
    def test_a_class_an_import_path_and_short_names(self, images):
        expected = source(generator_type='reference')(images)
        path = 'mmsamdistill.fast_sam.FastSamMaskGenerator'
        for kind in (SamAutomaticMaskGenerator, 'segment_anything.SamAutomaticMaskGenerator'):
            assert torch.equal(source(generator_type=kind)(images), expected)
        fast = source(generator_type='fast')
        agreement = (fast(images) == expected).float().mean()
        assert agreement > 0.99  # pixels whose logit is at the cutoff may differ
        assert torch.equal(source(generator_type=path)(images), fast(images))
        assert torch.equal(source()(images), fast(images))
        assert fast.describe() != source(generator_type='reference').describe()

    def test_own_generator(self, images):
        class Left:
            def __init__(self, sam, columns=2):
                self.columns = columns

            def generate(self, image):
                assert image.dtype == np.uint8
                assert image.shape == (40, 56, 3)
                mask = np.zeros(image.shape[:2], bool)
                mask[:, : self.columns] = True
                return [{'segmentation': mask}]

        regions = source(generator_type=Left, generator={'columns': 5})
        assert regions(images)[0].sum() == 5 * 40
        assert regions.describe()['generator'] == {'columns': 5}
        assert source(generator_type=Left, generator={}).describe()['generator'] == {'columns': 2}

    def test_unknown_name(self, images):
        with pytest.raises(ValueError, match="'quick'; choose 'reference', 'fast'"):
            source(generator_type='quick')(images)


class TestFrozen:
    def test_sam_is_in_no_state_and_no_parameters_and_stays_in_eval(self, images):
        model = torch.nn.Sequential(source()).train()
        model[0](images)
        assert not list(model.parameters())
        assert not list(model.buffers())
        assert not model.state_dict()
        sam = model[0].frozen.network
        assert not any(module.training for module in sam.modules())
        assert not any(parameter.requires_grad for parameter in sam.parameters())

    def test_follows_to_another_device(self):
        regions = source()
        torch.nn.Sequential(regions).to('meta')
        assert regions.frozen.network.device.type == 'meta'

    def test_copies_work(self, images):
        regions = source()
        expected = regions(images)
        assert torch.equal(copy.deepcopy(regions)(images), expected)


@pytest.mark.usefixtures('tiny_vit_b')
class TestCheckpoints:
    def test_pth_and_safetensors_are_loaded_on_first_use(self, images, checkpoint, tmp_path):
        expected = source()(images)
        regions = SAMRegions('vit_b', checkpoint, generator=EVERYTHING)
        assert regions.frozen.empty
        assert torch.equal(regions(images), expected)
        assert not regions.state_dict()
        assert not regions.frozen.network.training
        save_file(build_tiny_sam().state_dict(), tmp_path / 'tiny.safetensors')
        other = SAMRegions('vit_b', str(tmp_path / 'tiny.safetensors'), generator=EVERYTHING)
        assert torch.equal(other(images), expected)

    def test_building_leaves_the_random_state_alone(self, images, checkpoint):
        before = torch.get_rng_state()
        SAMRegions('vit_b', checkpoint, generator=NOTHING)(images[:1])
        assert torch.equal(torch.get_rng_state(), before)

    def test_url(self, images, checkpoint, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
        digest = hash_file(checkpoint)
        wrong = SAMRegions('vit_b', checkpoint.as_uri(), sha256='0' * 64)
        with pytest.raises(RuntimeError, match='invalid hash value'):
            wrong(images)
        assert not list((tmp_path / 'hub').rglob('*.pth'))
        regions = SAMRegions('vit_b', checkpoint.as_uri(), sha256=digest, generator=EVERYTHING)
        assert torch.equal(regions(images), source()(images))
        checkpoint.unlink()  # the second time nothing is downloaded
        again = SAMRegions('vit_b', checkpoint.as_uri(), generator=EVERYTHING)
        assert torch.equal(again(images), regions(images))

    def test_no_checkpoint_means_the_official_file_with_its_hash(
        self, images, monkeypatch, tmp_path
    ):
        def download(url, path, hash_prefix):
            assert url == 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth'
            assert hash_prefix == OFFICIAL_FILES['vit_b'].sha256
            raise ConnectionError('reached')

        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
        monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
        with pytest.raises(FileNotFoundError, match='reached'):
            SAMRegions('vit_b')(images)

    def test_missing_file(self, images, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'nowhere\.pth.*sam_vit_h_4b8939\.pth'):
            SAMRegions('vit_b', tmp_path / 'nowhere.pth')(images)

    @pytest.mark.parametrize('file', OFFICIAL_FILES.values(), ids=OFFICIAL_FILES)
    def test_a_truncated_official_file(self, images, tmp_path, file):
        (tmp_path / file.name).write_bytes(b'x' * 100)
        with pytest.raises(ValueError, match=rf'{file.name} has 100 bytes.*has {file.size}'):
            SAMRegions('vit_b', tmp_path / file.name)(images)

    def test_an_official_file_with_other_content(self, images, tmp_path, monkeypatch):
        official = OFFICIAL_FILES['vit_b']._replace(size=100)
        monkeypatch.setitem(OFFICIAL_FILES, 'vit_b', official)
        (tmp_path / official.name).write_bytes(b'x' * 100)
        with pytest.raises(ValueError, match=f'expected {official.sha256}'):
            SAMRegions('vit_b', tmp_path / official.name)(images)

    def test_wrong_hash(self, images, checkpoint):
        digest = hash_file(checkpoint)
        SAMRegions('vit_b', checkpoint, sha256=digest[:8].upper(), generator=NOTHING)(images[:1])
        with pytest.raises(ValueError, match=rf'tiny\.pth has SHA-256 {digest}, expected 1234'):
            SAMRegions('vit_b', checkpoint, sha256='1234')(images)

    @pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
    @pytest.mark.parametrize('length', [0, 1, 100, 5000, -1])
    def test_damaged_files(self, images, tmp_path, checkpoint, suffix, length):
        path = tmp_path / f'cut{suffix}'
        if suffix == '.pth':
            path.write_bytes(checkpoint.read_bytes()[:length])
        else:
            save_file(build_tiny_sam().state_dict(), path)
            path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ValueError, match=rf'cut{suffix}'):
            SAMRegions('vit_b', path)(images)

    def test_nothing_is_executed(self, images, tmp_path):
        class Harmful:
            def __reduce__(self):
                return (pytest.fail, ('code of the checkpoint was executed',))

        torch.save({'a': Harmful()}, tmp_path / 'harmful.pth')
        with pytest.raises(ValueError, match=r'harmful\.pth holds a '):
            SAMRegions('vit_b', tmp_path / 'harmful.pth')(images)

    @pytest.mark.parametrize('content', [[1, 2], {'epoch': 3}, {'model': {'a': 3}}])
    def test_not_a_state_dict(self, images, tmp_path, content):
        torch.save(content, tmp_path / 'other.pth')
        with pytest.raises(ValueError, match=r'other\.pth(:| is no checkpoint)'):
            SAMRegions('vit_b', tmp_path / 'other.pth')(images)

    def test_every_key_must_be_used_and_fit(self, images, tmp_path):
        state = build_tiny_sam().state_dict()
        name = 'image_encoder.pos_embed'
        for wrong in (
            {**state, 'extra': torch.ones(1)},
            {key: value for key, value in state.items() if key != name},
            {**state, name: torch.ones(1)},
        ):
            torch.save(wrong, tmp_path / 'wrong.pth')
            said = r'(?s)wrong\.pth is not .* vit_b: .* 1 .*: (extra|image_encoder\.pos_e)'
            with pytest.raises(ValueError, match=said):
                SAMRegions('vit_b', tmp_path / 'wrong.pth')(images)

    def test_preparing_finds_weights_of_another_model(self, tmp_path):
        torch.save(build_tiny_sam().image_encoder.state_dict(), tmp_path / 'part.pth')
        regions = SAMRegions(checkpoint=tmp_path / 'part.pth', builder='tiny_sam.build_tiny_sam')
        with pytest.raises(ValueError, match='is not a checkpoint of SAM'):
            regions.prepare('cpu')

    def test_description(self, checkpoint):
        description = SAMRegions('vit_b', checkpoint, generator={'points_per_side': 7}).describe()
        assert json.loads(json.dumps(description)) == description
        assert description['model_type'] == 'vit_b'
        assert description['checkpoint_sha256'] == hash_file(checkpoint)
        path = 'mmsamdistill.regions.fast_sam.FastSamMaskGenerator'  # recorded before it moved
        assert description['generator_type'] == path
        assert description['generator']['points_per_side'] == 7
        assert description['generator']['box_nms_thresh'] == 0.7  # the package's default


class TestArguments:
    def test_a_dtype_may_be_given_by_name(self, images):
        by_name, by_type = (
            source(generator_type='fast', generator={**EVERYTHING, 'dtype': dtype})
            for dtype in ('torch.bfloat16', torch.bfloat16)
        )
        assert by_name.describe() == by_type.describe()
        assert torch.equal(by_name(images), by_type(images))
        with pytest.raises(
            ValueError, match=r'dtype is torch\.int3, must be one of torch\.float32'
        ):
            source(generator_type='fast', generator={'dtype': 'torch.int3'})(images)

    def test_description_of_a_given_sam_depends_on_its_weights(self):
        description = source().describe()
        assert description == source().describe()
        assert description['model_type'] == 'custom'
        other = SAMRegions(sam=build_tiny_sam(seed=1), generator=EVERYTHING).describe()
        assert description['checkpoint_sha256'] != other['checkpoint_sha256']

    def test_a_missing_package_says_what_to_install(self, images, monkeypatch):
        monkeypatch.setitem(sys.modules, 'segment_anything', None)
        with pytest.raises(ImportError, match=r"pip install 'mmsamdistill\[sam\]'"):
            SAMRegions('vit_b')(images)
        # A relative's own package does not bring the functions that the fast generator takes.
        with pytest.raises(ImportError, match=r"pip install 'mmsamdistill\[sam\]'"):
            SAMRegions(builder=build_tiny_sam)(images)

    def test_errors(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"'vit_x' is not one of \('vit_b', 'vit_l', 'vit_h'\)"
        ):
            SAMRegions('vit_x')
        with pytest.raises(ValueError, match='either sam or checkpoint'):
            SAMRegions(checkpoint='a.pth', sam=build_tiny_sam())
        with pytest.raises(TypeError, match=r'expected an nn\.Module'):
            SAMRegions(sam='a.pth')
        with pytest.raises(ValueError, match='output_mode cannot be chosen'):
            SAMRegions(generator={'output_mode': 'coco_rle'})
        with pytest.raises(FileNotFoundError, match='no SAM checkpoint at'):
            locate_weights(tmp_path)
