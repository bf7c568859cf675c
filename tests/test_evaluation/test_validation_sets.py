import pytest
from mmengine.config import Config

from mmsamdistill.evaluation.validation_sets import check_validation


def config(best, *evaluators, **hook):
    settings = {
        'val_evaluator': list(evaluators) if len(evaluators) > 1 else evaluators[0],
        'val_dataloader': [{} for _ in evaluators] if len(evaluators) > 1 else {},
        'default_hooks': {'checkpoint': {'type': 'CheckpointHook', 'save_best': best, **hook}},
    }
    return Config(settings)


def metric(prefix, **more):
    return {'type': 'RestorationMetric', 'protocol': 'gopro_rgb', 'prefix': prefix, **more}


@pytest.mark.parametrize(
    ('best', 'evaluators'),
    [
        ('PSNR', [[{'type': 'PSNR'}, {'type': 'SSIM'}]]),
        ('PSNR', [{'type': 'Evaluator', 'metrics': [{'type': 'PSNR'}]}]),
        ('A/PSNR', [[metric('A')], [metric('B')]]),
        (['A/PSNR', 'B/SSIM'], [[metric('A')], {'type': 'Evaluator', 'metrics': metric('B')}]),
        ('auto', [[{'type': 'SegmentationMetric', 'protocol': 'x', 'metrics': 'mIoU'}]]),
        ('auto', [[{'type': 'SegmentationMetric', 'protocol': 'x', 'metrics': 'MIOU'}]]),
        ('auto', [[]]),
        (None, [[metric('A')], [metric('B')]]),
        ('LPIPS', [[metric('A')], [metric('B')]]),  # of a hook, perhaps
    ],
)
def test_names_that_will_be_there(best, evaluators):
    check_validation(config(best, *evaluators))


def test_a_name_without_its_prefix_is_found_before_the_run():
    with pytest.raises(ValueError, match=r"save_best='SSIM'.* A/SSIM, B/SSIM; write one"):
        check_validation(config('SSIM', [metric('A')], [metric('B')]))
    with pytest.raises(ValueError, match=r'A/PSNR'):
        check_validation(config('PSNR', [metric('A')]))


def test_sets_that_share_a_name():
    with pytest.raises(ValueError, match="sets 0 and 2 both have a metric 'A/PSNR'"):
        check_validation(config('auto', metric('A', metrics='PSNR'), metric('B'), metric('A')))


def test_whether_more_is_better_is_asked_before_the_run():
    evaluators = ([metric('A')], [metric('B')])
    with pytest.raises(ValueError, match=r"'auto': .* A/PSNR is better; write rule='greater'"):
        check_validation(config('auto', *evaluators))
    check_validation(config('auto', *evaluators, rule='greater'))
    check_validation(config('auto', *evaluators, greater_keys=['PSNR']))


def test_a_config_without_validation():
    check_validation(Config({'model': {}}))
