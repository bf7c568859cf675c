import pytest
import torch

from mmsamdistill.weights import require_same_keys
from mmsamdistill.weights.library_weights import load_completely


def weights(**shapes):
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


def test_equal_keys_pass_in_any_order():
    require_same_keys(weights(a=2, b=3), weights(b=3, a=2))


def test_one_message_lists_all_three_kinds():
    with pytest.raises(ValueError, match='the weights do not fit') as error:
        require_same_keys(weights(a=2, new=1), weights(a=3, b=3), 'the cascade')
    text = str(error.value)
    assert 'the cascade' in text
    assert '1 missing: b' in text
    assert '1 unexpected: new' in text
    assert '1 of another shape: a is (2,), needs (3,)' in text


def test_whole_numbers_are_no_weights():
    given, reference = {'a': torch.zeros(2, dtype=torch.int8)}, weights(a=2)
    with pytest.raises(
        ValueError, match=r'1 of another type: a is torch\.int8, needs torch\.float32'
    ):
        require_same_keys(given, reference)
    require_same_keys({'a': torch.zeros(2, dtype=torch.half)}, reference)


def test_counters_may_be_missing_and_statistics_may_not():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    whole = {key: value + 1 for key, value in network.state_dict().items()}
    load_completely(network, {k: v for k, v in whole.items() if 'batches' not in k}, 'it')
    assert torch.equal(network[0].running_mean, whole['0.running_mean'])
    for missing in ('0.running_mean', '0.weight'):
        with pytest.raises(ValueError, match=f'1 missing: {missing}'):
            load_completely(network, {k: v for k, v in whole.items() if k != missing}, 'it')


def test_long_lists_are_cut_but_counted():
    reference = weights(**{f'k{index:02}': 1 for index in range(25)})
    with pytest.raises(ValueError, match='25 missing') as error:
        require_same_keys({}, reference)
    assert 'k09, and 15 more' in str(error.value)
    assert 'k10' not in str(error.value)
