"""What is wrong with the data of a config, found before a training or a test finds it."""

from mmsamdistill.data_check.check import check_data
from mmsamdistill.data_check.report import DataReport

__all__ = ['DataReport', 'check_data']
