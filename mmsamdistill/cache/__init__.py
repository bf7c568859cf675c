"""Region maps on disk: one PNG an image, its provenance inside, and the manifest beside them."""

from mmsamdistill.cache.extract import ExtractionReport, extract
from mmsamdistill.cache.store import RegionStore
from mmsamdistill.cache.verify import verify

__all__ = ['ExtractionReport', 'RegionStore', 'extract', 'verify']
