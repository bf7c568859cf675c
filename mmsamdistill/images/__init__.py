"""Image files: which of a folder they are, whether they are whole, and what is in them.

Imports nothing of this package, so that every reader goes the same way.
"""

from mmsamdistill.images.decoding import check_whole, decode_image
from mmsamdistill.images.finding import IMAGE_SUFFIXES, ImageFolder, find_images

__all__ = ['IMAGE_SUFFIXES', 'ImageFolder', 'check_whole', 'decode_image', 'find_images']
