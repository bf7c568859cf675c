"""Every mask generator of transformers as a region source, on tiny models of the real classes."""

import copy
import json
import sys

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from safetensors.torch import load_file, save_file

pytest.importorskip('transformers')

from tiny_sam import build_tiny_sam
from tiny_transformers import FAMILIES, build, in_transformers_layout, save

from mmsamdistill.files import hash_file
from mmsamdistill.sources import SAMRegions, TransformersRegions
from mmsamdistill.weights.reading import CheckpointError

# Random weights: nothing would survive the usual thresholds.
KEEP_ALL = {
    'points_per_side': 4,
    'pred_iou_thresh': -1e9,
    'stability_score_thresh': 0.0,
    'box_nms_thresh': 2.0,
}


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    made = {}

    def folder(family):
        if family == 'edgetam':
            pytest.importorskip('timm', reason="EdgeTAM's backbone is timm's")
        if family not in made:
            made[family] = save(family, tmp_path_factory.mktemp(family))
        return made[family]

    return folder


@pytest.fixture(scope='module')
def images():
    return torch.rand(2, 3, 40, 64, generator=torch.Generator().manual_seed(0))


def stack_of(records):
    return np.stack([each['segmentation'] for each in records])


@pytest.mark.parametrize('family', FAMILIES)
class TestFamilies:
    @pytest.mark.slow
    def test_regions_of_a_batch(self, family, folders, images):
        source = TransformersRegions(folders(family), generator=KEEP_ALL)
        state = torch.get_rng_state()
        labels = source(images)
        assert torch.equal(torch.get_rng_state(), state)
        assert labels.shape == (2, 40, 64)
        assert labels.dtype == torch.int64
        assert len(labels[0].unique()) > 2
        # As one, one by one, and together: the same regions.
        assert torch.equal(source(images[1:]), labels[1:])
        together = TransformersRegions(
            folders(family), generator={**KEEP_ALL, 'images_per_batch': 2, 'points_per_batch': 5}
        )
        assert (together(images) == labels).float().mean() > 0.98

    def test_frozen_and_in_nobodys_state(self, family, folders, images):
        source = TransformersRegions(folders(family), generator=KEEP_ALL)
        source.prepare('cpu')
        network = source.half().train().frozen.network
        assert not list(source.parameters())
        assert not source.state_dict()
        assert not network.training
        assert all(p.dtype == torch.float32 and not p.requires_grad for p in network.parameters())
        assert torch.equal(copy.deepcopy(source)(images[:1]), source(images[:1]))

    def test_records_are_what_is_painted(self, family, folders, images):
        source = TransformersRegions(folders(family), generator=KEEP_ALL)
        records = source.records(images[0])
        # Every point's masks, but for those that cut an edge of the image: none is a crop's.
        assert len(records) == 48
        for each in records[:5]:
            assert each['area'] == each['segmentation'].sum()
            rows, columns = np.nonzero(each['segmentation'])
            if len(rows):
                left, top, width, height = each['bbox']
                assert (left, top) == (columns.min(), rows.min())
                assert (width, height) == (np.ptp(columns), np.ptp(rows))
        scores = [each['predicted_iou'] for each in records]
        assert scores == sorted(scores, reverse=True)

    def test_description(self, family, folders):
        source = TransformersRegions(folders(family), generator={'points_per_side': 7})
        found = source.describe()
        assert json.loads(json.dumps(found)) == found
        assert found['type'] == 'TransformersRegions'
        assert found['model_type'] == family
        assert found['checkpoint_sha256'] == hash_file(folders(family) / 'model.safetensors')
        assert found['generator']['points_per_side'] == 7
        assert found['generator']['pred_iou_thresh'] == 0.88

    def test_points_cover_the_image_and_nothing_else(self, family, folders, images):
        source = TransformersRegions(folders(family), generator=KEEP_ALL)
        source.prepare('cpu')
        network, seen = source.frozen.network, []
        network.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs['input_points']), with_kwargs=True
        )
        source(images[:1])
        x, y = torch.cat(seen, 1).flatten(0, 2).T
        # SAM 1 pads an image of 40 x 64 to a square, its successors stretch it to one.
        height = 40 if family in ('sam', 'sam_hq') else 64
        assert sorted(set(x.tolist())) == [8, 24, 40, 56]
        assert sorted(set(y.tolist())) == [height * each / 8 for each in (1, 3, 5, 7)]


@pytest.mark.parametrize('size', [(64, 64), (40, 64)])
def test_sam_gives_the_masks_of_segment_anything(size, tmp_path):
    sam = build_tiny_sam()
    model, processor = build('sam')
    model.load_state_dict(in_transformers_layout(sam.state_dict()), strict=True)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(3))
    options = {**KEEP_ALL, 'stability_score_thresh': 0.5, 'points_per_side': 5}
    ours = TransformersRegions(tmp_path, generator=options).records(image)
    theirs = SAMRegions(sam=sam, generator=options, generator_type='reference').records(image)
    assert len(ours) == len(theirs) > 5
    order = sorted(theirs, key=lambda each: -each['predicted_iou'])
    assert np.mean(stack_of(ours) == stack_of(order)) > 0.9999
    expected = [each['predicted_iou'] for each in order]
    assert [each['predicted_iou'] for each in ours] == pytest.approx(expected, abs=1e-4)


class TestGenerator:
    @pytest.mark.parametrize(
        'change',
        [
            {'points_per_side': 3},
            {'pred_iou_thresh': 0.5},
            {'stability_score_thresh': 0.9},
            {'mask_threshold': 1.0},
            {'box_nms_thresh': 0.3},
            {'crop_n_layers': 1},
        ],
    )
    def test_every_argument_changes_the_masks(self, change, folders, images):
        plain = TransformersRegions(folders('sam2'), generator=KEEP_ALL).records(images[0])
        changed = TransformersRegions(folders('sam2'), generator={**KEEP_ALL, **change})
        found = changed.records(images[0])
        assert len(found) != len(plain) or (stack_of(found) != stack_of(plain)).any()

    def test_crops_with_fewer_points(self, folders, images):
        options = {**KEEP_ALL, 'crop_n_layers': 1, 'crop_n_points_downscale_factor': 2}
        source = TransformersRegions(folders('sam2'), generator=options)
        source.prepare('cpu')
        seen = []
        source.frozen.network.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs['input_points'].shape[1]), with_kwargs=True
        )
        source(images[:1])
        assert seen == [16, 4, 4, 4, 4]

    def test_no_mask_at_all(self, folders, images):
        options = {**KEEP_ALL, 'pred_iou_thresh': 1e9}
        source = TransformersRegions(folders('sam2'), generator=options)
        assert not source(images).any()
        assert source.records(images[0]) == []

    @pytest.mark.parametrize('size', [(1, 1), (3, 5), (1, 30)])
    @pytest.mark.parametrize('family', ['sam', 'sam2'])
    def test_tiny_images(self, size, family, folders):
        source = TransformersRegions(folders(family), generator=KEEP_ALL)
        assert source(torch.rand(1, 3, *size)).shape == (1, *size)

    def test_wrong_arguments(self, folders, images):
        with pytest.raises(TypeError, match='point_per_side'):
            TransformersRegions(folders('sam2'), generator={'point_per_side': 3})(images)
        with pytest.raises(ValueError, match='at least 1'):
            TransformersRegions(folders('sam2'), generator={'points_per_batch': 0})(images)


class TestFiles:
    @pytest.fixture
    def folder(self, folders, tmp_path):
        for path in folders('sam').iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        return tmp_path

    def fails(self, folder, error, message, **options):
        with pytest.raises(error, match=message) as caught:
            TransformersRegions(folder, **options).prepare('cpu')
        assert str(folder) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1

    def test_damaged_weights(self, folder):
        path = folder / 'model.safetensors'
        path.write_bytes(path.read_bytes()[:1000])
        self.fails(folder, CheckpointError, 'cannot be read as a sam')

    @pytest.mark.parametrize('text', ['', '{', '[]', '{"model_type": 3}', '{"a": 1}'])
    def test_damaged_configuration(self, folder, text):
        (folder / 'config.json').write_text(text)
        self.fails(folder, CheckpointError, r'config.json cannot be read')

    def test_missing_weights_are_not_drawn_at_random(self, folder):
        weights = load_file(folder / 'model.safetensors')
        weights.pop('mask_decoder.iou_token.weight')
        save_file(weights, folder / 'model.safetensors', {'format': 'pt'})
        self.fails(folder, CheckpointError, '1 are missing.*mask_decoder.iou_token.weight')

    def test_weights_of_another_shape(self, folder):
        weights = load_file(folder / 'model.safetensors')
        weights['mask_decoder.iou_token.weight'] = torch.zeros(2, 2)
        save_file(weights, folder / 'model.safetensors', {'format': 'pt'})
        self.fails(folder, CheckpointError, 'sam')

    def test_a_model_that_generates_no_masks(self, folder):
        (folder / 'config.json').write_text('{"model_type": "vit"}')
        self.fails(folder, ValueError, "holds a 'vit', which generates no masks")

    def test_pickles_are_not_read(self, folder):
        (folder / 'model.safetensors').unlink()
        self.fails(folder, FileNotFoundError, 'holds no model.safetensors')
        torch.save({}, folder / 'pytorch_model.bin')
        self.fails(folder, FileNotFoundError, 'only pytorch_model.bin, which is not read')

    def test_code_beside_the_weights_is_never_run(self, folder):
        marker = folder / 'marker'
        code = f'open({str(marker)!r}, "w")\nclass Thing: pass\n'
        (folder / 'evil.py').write_text(code)
        for name in ('config.json', 'preprocessor_config.json'):
            content = json.loads((folder / name).read_text())
            keys = ('AutoConfig', 'AutoModelForMaskGeneration', 'AutoImageProcessor')
            content['auto_map'] = dict.fromkeys(keys, 'evil.Thing')
            (folder / name).write_text(json.dumps(content))
        TransformersRegions(folder).prepare('cpu')
        content = json.loads((folder / 'config.json').read_text())
        (folder / 'config.json').write_text(json.dumps({**content, 'model_type': 'evil'}))
        self.fails(folder, CheckpointError, 'config.json cannot be read')
        assert not marker.exists()

    def test_the_hash_is_checked(self, folder):
        digest = hash_file(folder / 'model.safetensors')
        TransformersRegions(folder, sha256=digest[:10].upper()).prepare('cpu')
        self.fails(folder, ValueError, f'SHA-256 {digest}, expected abc', sha256='abc')

    def test_shards_have_one_hash(self, folder):
        build('sam')[0].save_pretrained(folder, max_shard_size='20KB')
        (folder / 'model.safetensors').unlink()
        assert len(list(folder.glob('model-*.safetensors'))) > 1
        source = TransformersRegions(folder)
        source.prepare('cpu')
        first = source.describe()['checkpoint_sha256']
        shard = max(folder.glob('model-*.safetensors'))
        weights = load_file(shard)
        save_file({k: v + 1 for k, v in weights.items()}, shard, {'format': 'pt'})
        assert TransformersRegions(folder).describe()['checkpoint_sha256'] != first


class TestHub:
    def test_nothing_is_downloaded_unless_asked(self, monkeypatch):
        asked = []

        def snapshot(name, **options):
            asked.append(options['local_files_only'])
            raise OSError('no network')

        monkeypatch.setattr('huggingface_hub.snapshot_download', snapshot)
        with pytest.raises(FileNotFoundError, match=r"hub's cache; .* or download=True"):
            TransformersRegions('own/tiny').prepare('cpu')
        with pytest.raises(FileNotFoundError, match='to be had from the hub'):
            TransformersRegions('own/tiny', download=True, revision='v1').prepare('cpu')
        assert asked == [True, False]

    def test_the_cache_tells_the_revision(self, folders, tmp_path, monkeypatch, images):
        commit = 'c' * 40
        root = tmp_path / 'models--own--tiny'
        (root / 'refs').mkdir(parents=True)
        (root / 'refs/main').write_text(commit)
        (root / 'snapshots').mkdir()
        (root / 'snapshots' / commit).symlink_to(folders('sam2'), target_is_directory=True)
        monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
        source = MODELS.build(
            {'type': 'TransformersRegions', 'checkpoint': 'own/tiny', 'generator': KEEP_ALL}
        )
        assert source.describe()['revision'] == commit
        local = TransformersRegions(folders('sam2'), generator=KEEP_ALL)
        assert local.describe()['revision'] is None
        assert torch.equal(source(images), local(images))

    @pytest.mark.parametrize('name', ['not a name', 'a/b/c', ''])
    def test_impossible_names(self, name):
        with pytest.raises(FileNotFoundError):
            TransformersRegions(name or '/nowhere/at all').prepare('cpu')


def test_without_transformers_one_line_names_the_extra(folders, monkeypatch):
    folder = folders('sam')
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r"pip install 'mmsamdistill\[transformers\]'"):
        TransformersRegions(folder).prepare('cpu')
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ImportError, match=r"pip install 'mmsamdistill\[transformers\]'"):
        TransformersRegions('own/tiny').prepare('cpu')
