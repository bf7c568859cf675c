"""Outputs to look at: the comparison figure of a paper, and a gallery of a whole test set."""

from mmsamdistill.comparison.columns import DEGRADED, TRUTH, Columns, find_columns
from mmsamdistill.comparison.crops import Box, most_different_box, parse_crop
from mmsamdistill.comparison.figure import FigureRow, FigureStyle, draw_comparison
from mmsamdistill.comparison.gallery import write_gallery
from mmsamdistill.comparison.scores import PICKS, Scores, pick_images, score_images

__all__ = [
    'DEGRADED',
    'PICKS',
    'TRUTH',
    'Box',
    'Columns',
    'FigureRow',
    'FigureStyle',
    'Scores',
    'draw_comparison',
    'find_columns',
    'most_different_box',
    'parse_crop',
    'pick_images',
    'score_images',
    'write_gallery',
]
