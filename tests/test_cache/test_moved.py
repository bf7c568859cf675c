"""A cache that was written when the package had another layout (tests/files/cache_0)."""

import shutil
from pathlib import Path

import pytest

from mmsamdistill.cache import RegionStore, extract, verify
from mmsamdistill.sources import SAMRegions, SuperpixelRegions

OLD = Path(__file__).parents[1] / 'files/cache_0'
SAM = {'points_per_side': 2, 'pred_iou_thresh': -100.0, 'stability_score_thresh': 0.0}
SOURCES = {
    'superpixel': SuperpixelRegions,
    'sam': lambda: SAMRegions(builder='tiny_sam.build_exact_sam', generator=SAM),
}


@pytest.mark.parametrize('name', SOURCES)
def test_a_cache_of_the_old_layout_is_taken_as_it_is(name, tmp_path):
    cache = shutil.copytree(OLD / name, tmp_path / name)
    maps = {path.name: path.read_bytes() for path in cache.glob('*.png')}
    source = SOURCES[name]()
    assert RegionStore(cache).manifest['source'] == source.describe()
    assert extract(OLD / 'images', cache, source).skipped == len(maps) == 2
    assert verify(OLD / 'images', cache, source).ok
    assert {path.name: path.read_bytes() for path in cache.glob('*.png')} == maps
