import pytest
from mmengine.config import Config
from toy import NAFNET, plain_model

from mmsamdistill.deploy.export import build_model
from mmsamdistill.deploy.settings import (
    apply_local_window,
    image_channels,
    loading_step,
    local_window,
    seen_order,
    sees_unit_range,
    set_local_window,
    statistics_of,
)


def load(key, **options):
    return {'type': 'LoadImageFromFile', 'key': key, **options}


def test_loading_step_is_found_where_it_is():
    inner = {'pipeline': [load('gt', channel_order='bgr'), load('img', channel_order='rgb')]}
    test_set = {'dataset': {'type': 'Around', 'dataset': {'type': 'Around', 'dataset': inner}}}
    cfg = Config({'test_dataloader': [test_set, {'dataset': {'pipeline': []}}]})
    assert loading_step(cfg) == load('img', channel_order='rgb')
    synthetic = {'dataset': {'pipeline': [load('gt', color_type='grayscale')]}}
    cfg = Config({'val_dataloader': synthetic})
    assert loading_step(cfg) == load('img', color_type='grayscale')
    cfg.test_pipeline = [load('img')]
    assert loading_step(cfg) == load('img')
    with pytest.raises(ValueError, match='test_pipeline'):
        loading_step(Config({'train_pipeline': [load('img')]}))


def test_local_window_is_the_hooks_and_can_be_set():
    hook = {'type': 'LocalStatisticsHook', 'window': 384}
    assert local_window(Config({})) is None
    assert local_window(Config({'custom_hooks': [{'type': 'Other'}, hook]})) == 384
    cfg = Config({'default_hooks': {'local': hook}, 'custom_hooks': [{'type': 'Other'}, hook]})
    assert local_window(cfg) == 384
    set_local_window(cfg, None)
    assert local_window(cfg) == 384
    set_local_window(cfg, 128)
    assert local_window(cfg) == 128
    set_local_window(cfg, 0)
    assert local_window(cfg) is None
    assert cfg.custom_hooks == [{'type': 'Other'}]
    with pytest.raises(ValueError, match='ToyNet has no global'):
        apply_local_window(build_model(Config({'model': plain_model()})), 64, 3)


@pytest.mark.parametrize(
    ('generator', 'channels'),
    [
        (NAFNET['generator'], 3),
        ({**NAFNET['generator'], 'img_channels': 1}, 1),
        ({'type': 'PReNet', 'num_stages': 1, 'mid_channels': 4}, 3),  # its first layer sees six
    ],
)
def test_channels_are_found_by_trying(generator, channels):
    assert image_channels(build_model(Config({'model': plain_model(generator)}))) == channels


def test_statistics_are_said():
    local = {**NAFNET['generator'], 'type': 'NAFNetLocal', 'train_size': (1, 3, 32, 32)}
    for generator, window, said in (
        (NAFNET['generator'], None, 'global'),
        (NAFNET['generator'], 384, 'windows of 384 pixels'),
        (local, None, 'local by construction'),
    ):
        assert statistics_of(build_model(Config({'model': plain_model(generator)})), window) == said


@pytest.mark.parametrize(
    ('mean', 'std', 'unit'),
    [(0.0, 255.0, True), (0.0, 1.0, False), (0.0, 250.0, False), (127.5, 127.5, False)],
)
def test_a_network_sees_0_to_1_only_where_mean_and_std_say_so(mean, std, unit):
    scaled = {'type': 'DataPreprocessor', 'mean': [mean] * 3, 'std': [std] * 3}
    model = build_model(Config({'model': plain_model(data_preprocessor=scaled)}))
    assert sees_unit_range(model) == unit


def test_order_is_what_the_network_sees():
    model = build_model(Config({'model': plain_model()}))
    assert seen_order(Config({}), model) is None
    assert seen_order(Config({'test_pipeline': [load('img')]}), model) == 'bgr'
    model.data_preprocessor.output_channel_order = 'RGB'
    assert seen_order(Config({}), model) == 'rgb'
