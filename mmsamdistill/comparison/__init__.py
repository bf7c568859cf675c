"""Outputs to look at: the comparison figure of a paper, and a gallery of a whole test set."""

from mmsamdistill.comparison.choices import (
    PICKS,
    Box,
    CropChoice,
    describe_pick,
    most_different_box,
    parse_crop,
    pick_images,
)
from mmsamdistill.comparison.columns import DEGRADED, TRUTH, Columns, find_columns, restore_column
from mmsamdistill.comparison.figure import FigureRow, check_format, draw_comparison
from mmsamdistill.comparison.gallery import check_gallery, write_gallery
from mmsamdistill.comparison.layout import FigureStyle
from mmsamdistill.comparison.scores import Scores, format_score, score_images, summary_rows

__all__ = [
    'DEGRADED', 'PICKS', 'TRUTH', 'Box', 'Columns', 'CropChoice', 'FigureRow', 'FigureStyle',
    'Scores', 'check_format', 'check_gallery', 'describe_pick', 'draw_comparison', 'find_columns',
    'format_score', 'most_different_box', 'parse_crop', 'pick_images', 'restore_column',
    'score_images', 'summary_rows', 'write_gallery',
]  # fmt: skip
