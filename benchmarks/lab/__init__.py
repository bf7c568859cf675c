"""Whole tables of training runs: the same network, data and seeds, one difference a row."""

from lab.results import Result, read_results, result_path
from lab.summary import summarise
from lab.table import Row, Table, load_table, row_config

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
