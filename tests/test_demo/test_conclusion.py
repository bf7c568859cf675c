"""The sentence that ends the demo, by hand."""

import runpy
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / 'demo/run_demo.py'
ROWS = [
    {'model': 'degraded', 'PSNR': 14.0, 'SSIM': 0.2},
    {'model': 'plain', 'PSNR': 27.5, 'SSIM': 0.7},
    {'model': 'distilled', 'PSNR': 27.61, 'SSIM': 0.698},
]


@pytest.fixture(scope='module')
def demo():
    return runpy.run_path(str(DEMO))


def test_gains_and_losses_with_their_signs(demo):
    text = demo['conclusion'](ROWS, 1)
    assert 'against the plain one: +0.11 dB and -0.0020 SSIM' in text
    assert '1 seed,' in text
    assert '--parts' in text
    assert text.count('.') == 3 + 0  # one sentence: two numbers and its end


def test_parts_are_named_where_they_were_trained(demo):
    alone = [{'model': 'SPD alone', 'PSNR': 27.4, 'SSIM': 0.7}]
    alone += [{'model': 'SGR alone', 'PSNR': 27.8, 'SSIM': 0.71}]
    text = demo['conclusion'](ROWS + alone, 3)
    assert '(SPD alone -0.10 dB and +0.0000 SSIM; SGR alone +0.30 dB and +0.0100 SSIM)' in text
    assert '3 seeds' in text
    assert '--parts' not in text


def test_edges_are_used_where_they_are(demo, monkeypatch):
    def nowhere(*_):
        raise FileNotFoundError

    used = demo['edges_installed']
    monkeypatch.setitem(used.__globals__, 'locate_edge_weights', nowhere)
    assert not used()
    monkeypatch.setitem(used.__globals__, 'locate_edge_weights', lambda: None)
    monkeypatch.setitem(used.__globals__, 'find_spec', lambda _: None)
    assert not used()
    monkeypatch.setitem(used.__globals__, 'find_spec', lambda _: object())
    assert used()
