"""SAM's automatic mask generator, exact and fast; it imports nothing else of this package."""

from mmsamdistill.fast_sam.generator import FastSamMaskGenerator

__all__ = ['FastSamMaskGenerator']
