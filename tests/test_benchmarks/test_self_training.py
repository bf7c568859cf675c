"""The control that learns from the average of itself."""

import copy

import torch
from mmagic.registry import MODELS
from mmengine.optim import OptimWrapper
from toy import batch, plain_model


def test_it_learns_from_the_truth_where_there_is_one_and_from_its_average_everywhere(monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / 'benchmarks')
    import lab.self_training  # noqa: F401

    torch.manual_seed(0)
    model = MODELS.build({'type': 'SelfTrainedRestorer', 'restorer': plain_model()})
    model.init_weights()
    plain = copy.deepcopy(model.restorer)
    data = model.data_preprocessor(batch(), True)
    data['data_samples'].gt_img[1] = float('nan')  # as WithoutTruth marks it

    # Untouched, it is its own average: only the labelled image has a loss.
    losses = model(**data, mode='loss')
    truth = data['data_samples'].gt_img
    with torch.no_grad():
        restored = plain.generator(data['inputs'])
    assert torch.equal(losses['loss_rec'], plain.pixel_loss(restored[:1], truth[:1]))
    assert losses['loss_spd'] == 0

    # Once it has moved away, the unlabelled image pulls it back.
    with torch.no_grad():
        for parameter in model.restorer.parameters():
            parameter.add_(0.1)
    assert model(**data, mode='loss')['loss_spd'] > 0
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0))
    before = copy.deepcopy(model.average.state_dict())
    model.train_step(batch(), wrapper)
    assert any(not torch.equal(v, before[k]) for k, v in model.average.state_dict().items())
    assert torch.equal(model(data['inputs']), model.restorer(data['inputs']))
