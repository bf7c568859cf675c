"""Region maps on disk: one PNG an image, its provenance inside, and the manifest beside them."""

from mmsamdistill.cache.check import CacheReport, verify
from mmsamdistill.cache.extract import ExtractionReport, extract
from mmsamdistill.cache.store import RegionStore

__all__ = ['CacheReport', 'ExtractionReport', 'RegionStore', 'extract', 'verify']
