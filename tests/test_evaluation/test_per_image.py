import json

import pytest
import torch

from mmsamdistill.evaluation.per_image import image_names, named_rows
from mmsamdistill.evaluation.protocols import measure
from mmsamdistill.evaluation.report import write_report
from mmsamdistill.evaluation.restoration_metric import RestorationMetric


def samples(count=3):
    generator = torch.Generator().manual_seed(0)
    for index in range(count):
        truth = torch.randint(0, 256, (3, 16, 16), generator=generator).float()
        restored = truth + 9 * torch.randn(truth.shape, generator=generator)
        yield {
            'gt_img': truth,
            'output': {'pred_img': restored},
            'gt_path': '/data/sharp/all.png',
            'img_path': f'/data/blur/{index}.png',
        }


@pytest.mark.parametrize(
    ('paths', 'names'),
    [
        (['d/1.png', 'd/2.png'], ['1', '2']),
        (['d/x/1.png', 'd/y/1.png'], ['x/1', 'y/1']),
        (['d/1.png', 'd/1.jpg'], ['1.png', '1.jpg']),
        (['d/1.png', ''], ['0', '1']),
        (['d/a.b.png'], ['a.b']),
    ],
)
def test_names_are_short_and_different(paths, names):
    assert image_names(paths) == names


def test_metric_keeps_the_values_of_each_image():
    data = list(samples())
    metric = RestorationMetric('gopro_rgb')
    metric.process(None, data)
    total = metric.evaluate(len(data))
    assert [row['name'] for row in metric.per_image] == ['0', '1', '2']
    for row, sample in zip(metric.per_image, data, strict=True):
        values = measure(sample['output']['pred_img'], sample['gt_img'], 'gopro_rgb')
        for name in ('PSNR', 'SSIM'):
            assert row[name] == pytest.approx(values[name].item(), abs=1e-9)
    for name in ('PSNR', 'SSIM'):
        assert sum(row[name] for row in metric.per_image) / 3 == pytest.approx(total[name])


def test_padded_images_are_not_kept():
    data = list(samples())
    metric = RestorationMetric('gopro_rgb')
    metric.process(None, [*data, data[0]])
    metric.evaluate(3)
    assert [row['name'] for row in metric.per_image] == ['0', '1', '2']


def test_rows_are_sorted_where_names_are_known():
    values = [{'PSNR': float(n)} for n in range(11)]
    rows = named_rows([f'd/{n}.png' for n in 'cabdefghijk'], values)
    assert [row['name'] for row in rows] == list('abcdefghijk')
    assert [row['PSNR'] for row in rows[:3]] == [1, 2, 0]
    assert named_rows([''] * 11, values)[10] == {'name': '10', 'PSNR': 10.0}


def test_report_has_a_line_for_each_image(tmp_path):
    rows = named_rows(['a/1.png', 'a/2.png'], [{'PSNR': 30.25}, {'PSNR': float('inf')}])
    out = tmp_path / 'report'
    path = write_report(out, [{'dataset': 'A'}], {'config': 'c'}, {'A': rows, 'B "2"': rows})[0]
    report = json.loads(path.read_text())
    expected = [{'name': '1', 'PSNR': 30.25}, {'name': '2', 'PSNR': 'inf'}]
    assert report['per_image'] == {'A': expected, 'B "2"': expected}
    assert (report['config'], report['results']) == ('c', [{'dataset': 'A'}])
    assert '      {"name": "1", "PSNR": 30.25},\n' in path.read_text()
    assert 'per_image' not in json.loads(write_report(out, [], {})[0].read_text())


def test_notes_stand_below_the_table(tmp_path):
    paths = write_report(tmp_path / 'report', [{'dataset': 'A'}], {}, notes=['Skipped: B.'])
    assert paths[2].read_text().endswith('| A       |\n\nSkipped: B.\n')
