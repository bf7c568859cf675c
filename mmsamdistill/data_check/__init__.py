"""What is wrong with the data of a config, found before a training or a test finds it."""

from mmsamdistill.data_check.check import DataReport, check_data

__all__ = ['DataReport', 'check_data']
