import csv
import json
import math

import pytest

from mmsamdistill.evaluation.report import metric_rows, to_markdown, write_report

METRICS = {'Kodak24/PSNR': 31.25, 'Kodak24/SSIM': 0.87654, 'Urban100/PSNR': 29.5}


def test_rows_keep_data_sets_apart():
    rows = metric_rows(METRICS, {'Kodak24': 24})
    assert rows == [
        {'dataset': 'Kodak24', 'images': 24, 'PSNR': 31.25, 'SSIM': 0.87654},
        {'dataset': 'Urban100', 'PSNR': 29.5},
    ]


def test_metrics_without_prefix_belong_to_the_only_data_set():
    assert metric_rows({'PSNR': 1.0}, {'test': 3}) == [
        {'dataset': 'test', 'images': 3, 'PSNR': 1.0}
    ]
    assert metric_rows({'PSNR': 1.0}, {}, fallback='rain') == [{'dataset': 'rain', 'PSNR': 1.0}]


def test_markdown_aligns_rounds_and_leaves_missing_cells_empty():
    lines = to_markdown(metric_rows(METRICS, {'Kodak24': 1024})).splitlines()
    assert lines[0] == '| dataset  | images |  PSNR |   SSIM |'
    assert lines[2] == '| Kodak24  |  1,024 | 31.25 | 0.8765 |'
    assert lines[3] == '| Urban100 |        | 29.50 |        |'
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize('name', ['table', 'table.json', 'table.v2'])
def test_three_files_hold_the_same_numbers(tmp_path, name):
    rows = metric_rows(METRICS, {'Kodak24': 24})
    paths = write_report(tmp_path / 'deep' / name, rows, {'config': 'c.py'})
    stem = name.removesuffix('.json')
    assert [path.name for path in paths] == [f'{stem}.json', f'{stem}.csv', f'{stem}.md']
    data = json.loads(paths[0].read_text())
    assert data['config'] == 'c.py'
    assert data['results'] == rows
    with paths[1].open() as file:
        table = list(csv.DictReader(file))
    assert float(table[0]['SSIM']) == 0.87654
    assert table[1]['images'] == ''
    assert paths[2].read_text() == to_markdown(rows) + '\n'


def test_protocols_stand_beside_the_numbers():
    rows = metric_rows(METRICS, {'Kodak24': 24}, protocols={'Kodak24': 'denoise_rgb: RGB, 8 bit'})
    assert list(rows[0]) == ['dataset', 'images', 'protocol', 'PSNR', 'SSIM']
    assert 'protocol' not in rows[1]
    assert '| denoise_rgb: RGB, 8 bit |' in to_markdown(rows)


def test_infinite_psnr_is_valid_json(tmp_path):
    (path, *_) = write_report(tmp_path / 'table', [{'dataset': 'same', 'PSNR': math.inf}], {})

    def refuse(constant):
        raise ValueError(constant)

    data = json.loads(path.read_text(), parse_constant=refuse)
    assert data['results'][0]['PSNR'] == 'inf'


def test_names_are_no_formulas_in_a_spreadsheet(tmp_path):
    names = ('=cmd|x', '@sum', '-1+1', '+1', '\t=1')
    write_report(tmp_path / 'report', [{'dataset': name, 'PSNR': -1.5} for name in names], {})
    lines = (tmp_path / 'report.csv').read_text().splitlines()
    assert lines[1:] == [f"'{name},-1.5" for name in names]
