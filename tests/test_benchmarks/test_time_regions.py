"""The benchmark of regions in training, tiny."""

import runpy
from pathlib import Path

import pytest
from toy import NAFNET, cascade_model, config, write_data

TOOL = Path(__file__).parents[2] / 'benchmarks/time_regions.py'
FAST = ['--image-size', '64', '96', '--samples', '2', '--repeats', '1', '--steps', '1']
FAST += ['--batch-size', '2', '--points-per-side', '1']


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """A script finds the modules beside it."""
    monkeypatch.syspath_prepend(TOOL.parent)


def run(capsys, *options):
    runpy.run_path(str(TOOL))['main'](list(options))
    return capsys.readouterr().out


def tables(printed):
    """Both tables: first cell to row."""
    found = []
    for block in printed.split('\n\n'):
        lines = [line for line in block.strip().splitlines() if line.startswith('|')]
        if lines:
            cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
            header, _, *rows = cells
            found.append({row[0]: dict(zip(header, row, strict=True)) for row in rows})
    return found


@pytest.mark.slow
def test_synthetic_images_and_a_toy_sam(capsys):
    printed = run(capsys, *FAST, '--tiny')
    sources, reading, steps = tables(printed)
    assert next(iter(sources)) == 'superpixels'
    assert all(float(row['s per megapixel']) > 0 for row in sources.values())
    assert list(reading) == ['without regions', 'cached superpixels', 'cached ellipses']
    plain, fine, coarse = reading.values()
    assert plain['added'] == '0.0 %'
    assert float(plain['ms per sample']) > 0
    assert int(fine['regions per image']) > 0
    assert 50 < int(coarse['regions per image']) <= 100
    assert int(plain['bytes per image'].replace(',', '')) > 1000
    assert len(steps) == 5
    assert steps['cached regions']['ratio to cached'] == '1.00'
    assert [name for name in steps if 'toy SAM' in name and 'all masks survive' in name]
    for fact in ('threads', 'torch', 'OpenCV', 'Python', '64 x 96', 'random weights'):
        assert fact in printed


@pytest.mark.slow
def test_a_configuration_with_its_data(capsys, tmp_path):
    data = write_data(tmp_path / 'data')
    settings = config(data, tmp_path / 'run', cascade_model(NAFNET))
    settings.dump(tmp_path / 'toy.py')
    _, reading, steps = tables(run(capsys, str(tmp_path / 'toy.py'), *FAST, '--samples', '4'))
    size = sum(
        (data / name / f'{i}.png').stat().st_size for name in ('gt', 'img') for i in range(4)
    )
    assert reading['without regions']['bytes per image'] == f'{size / 4:,.0f}'
    assert list(steps) == ['plain restorer', 'cached regions', 'superpixels in every step']

    synthetic = run(capsys, str(tmp_path / 'toy.py'), *FAST, '--synthetic')
    assert tables(synthetic)[1]['without regions'] != reading['without regions']
    assert 'toy.py, synthetic images of 64 x 96' in synthetic


def test_senseless_numbers(capsys):
    with pytest.raises(SystemExit, match='at least 1'):
        run(capsys, '--samples', '0')
