"""A row differs from the plain config in what it says, and in nothing else."""

from pathlib import Path

import pytest
from toy import cascade_model
from toy_table import write_table

from lab import load_table, row_config

ROWS = """dict(
    plain=dict(),
    longer=dict(length=2.5),
    tight=dict(
        title='tight regions', regions='regions', note='superpixels',
        distill=dict(regions=dict(type='CachedRegions'), sgr_loss=None),
        changes={'optim_wrapper.optimizer.lr': 0.5},
    ),
    second=dict(distill=dict(stage='student', sgr_loss=None), start_from='tight'),
)"""


def test_rows_share_everything_but_what_they_say(tmp_path):
    table = load_table(write_table(tmp_path, ROWS))
    plain, tight = (row_config(table, name, 7) for name in ('plain', 'tight'))
    assert plain.model == table.plain.model
    assert tight.model.restorer == plain.model
    assert tight.model.regions.type == 'CachedRegions'
    assert tight.train_dataloader.dataset.dataset == plain.train_dataloader.dataset
    assert Path(tight.train_dataloader.dataset.regions) == tmp_path / 'data/regions'
    assert tight.optim_wrapper.optimizer.lr == 0.5
    assert tight.randomness.seed == plain.randomness.seed == 7
    same = ('train_cfg', 'param_scheduler', 'default_hooks', 'test_evaluator')
    assert all(plain[key] == tight[key] for key in same)
    assert plain.train_cfg.max_iters == plain.param_scheduler.T_max == 4
    longer = row_config(table, 'longer', 7)
    assert longer.model == plain.model
    assert longer.train_cfg.max_iters == longer.param_scheduler.T_max == 10


def test_augmentation_is_of_training_alone_and_comes_before_packing(tmp_path):
    rows = "dict(plain=dict(), mix=dict(augment=[dict(type='RegionMix')], regions='regions'))"
    table = load_table(write_table(tmp_path, rows))
    plain, mix = (row_config(table, name, 0) for name in ('plain', 'mix'))
    pipeline = mix.train_dataloader.dataset.dataset.pipeline
    assert [step['type'] for step in pipeline[-2:]] == ['RegionMix', 'PackInputs']
    before = plain.train_dataloader.dataset.pipeline
    assert pipeline[:-2] + pipeline[-1:] == before
    assert 'RegionMix' not in str(mix.val_dataloader) + str(mix.test_dataloader)
    assert mix.model == plain.model


def test_a_crop_among_several_is_of_training_alone(tmp_path):
    rows = "dict(plain=dict(), crop=dict(crop=dict(candidates=3), regions='regions'))"
    table = load_table(write_table(tmp_path, rows))
    plain, crop = (row_config(table, name, 0) for name in ('plain', 'crop'))
    assert crop.train_dataloader.dataset.crop == {'candidates': 3}
    assert crop.train_dataloader.dataset.dataset == plain.train_dataloader.dataset
    assert 'crop' not in crop.val_dataloader.dataset
    assert crop.model == plain.model


@pytest.mark.parametrize('kind', ['images', 'pairs'])
def test_unlabelled_images_stand_beside_each_batch(tmp_path, kind):
    rows = f"dict(plain=dict(), more=dict(unlabelled='{kind}', augment=[dict(type='RegionMix')]))"
    table = load_table(write_table(tmp_path, rows))
    others = {**table.plain.train_dataloader.dataset.to_dict(), 'indices': [3]}
    table.plain.unlabelled = others
    plain, more = (row_config(table, name, 0) for name in ('plain', 'more'))
    loader = more.train_dataloader
    assert loader.batch_size == loader.sampler.batch_size == 2 * plain.train_dataloader.batch_size
    assert (loader.sampler.type, loader.sampler.ratio) == ('MixedSampler', (1, 1))
    first, second = loader.dataset.datasets
    assert [step['type'] for step in first.pipeline[-2:]] == ['RegionMix', 'PackInputs']
    marks = [step['type'] == 'WithoutTruth' for step in second.pipeline]
    assert marks[-2:] == [kind == 'images', False]
    assert second.indices == [3]
    assert more.test_dataloader == plain.test_dataloader


def test_making_a_config_leaves_the_table_alone(tmp_path):
    table = load_table(write_table(tmp_path, ROWS))
    before = table.plain.pretty_text
    row_config(table, 'tight', 3)
    assert table.plain.pretty_text == before


def test_titles_and_needs(tmp_path):
    rows = load_table(write_table(tmp_path, ROWS)).rows
    assert [row.title for row in rows.values()] == ['plain', 'longer', 'tight regions', 'second']
    assert rows['second'].needs == ['tight']
    assert rows['plain'].needs == []


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        ({'rows': 'dict(other=dict())'}, KeyError, 'a row called plain'),
        ({'title': ''}, KeyError, 'title is missing'),
        ({'rows': "dict(plain=dict(start_from='x'))"}, KeyError, "refers to 'x'"),
        ({'rows': 'dict(plain=dict(colour=1))'}, TypeError, "has \\['colour'\\]; rows have"),
        ({'rows': "{'plain': {}, 'a/b': {}}"}, ValueError, "row name 'a/b'"),
        ({'rows': 'dict(plain=dict(crop=dict()))'}, ValueError, "'plain' has crop, and no regions"),
        ({'rows': "dict(plain=dict(unlabelled='all'))"}, ValueError, "unlabelled='all'"),
        ({'compare': "[('plain', 'y')]"}, KeyError, "compare refers to 'y'"),
        ({'plain': "'missing.py'"}, FileNotFoundError, 'missing.py'),
    ],
)
def test_a_wrong_table_is_refused_by_name(tmp_path, changes, error, message):
    path = write_table(tmp_path, **{'rows': ROWS, **changes})
    with pytest.raises(error, match=message):
        load_table(path)


def test_the_toy_cascade_is_what_a_row_builds(tmp_path):
    # The wrapper is written by the table; it must be the one that users write.
    table = load_table(write_table(tmp_path, ROWS))
    built = row_config(table, 'tight', 0).model
    assert built.type == cascade_model()['type']
