"""Whole tables of training runs: the same network, data and seeds, one difference a row."""

from mmsamdistill.benchmark.results import Result, read_results, result_path
from mmsamdistill.benchmark.summary import summarise
from mmsamdistill.benchmark.table import Row, Table, load_table, row_config

__all__ = [
    'Result',
    'Row',
    'Table',
    'load_table',
    'read_results',
    'result_path',
    'row_config',
    'summarise',
]
