"""Image files: which files of a folder are images."""

from mmsamdistill.images.finding import IMAGE_SUFFIXES, ImageFolder, find_images

__all__ = ['IMAGE_SUFFIXES', 'ImageFolder', 'find_images']
