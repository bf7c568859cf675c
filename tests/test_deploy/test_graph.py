import io

import pytest
import torch
from mmengine.config import Config
from toy import NAFNET, plain_model

from mmsamdistill.deploy.export import build_model, export_checkpoint
from mmsamdistill.deploy.graph import PlainLayerNorm2d, torchscript_bytes

RESTORMER = {
    'type': 'Restormer',
    'dim': 8,
    'num_blocks': [1, 1, 1, 1],
    'num_refinement_blocks': 1,
    'heads': [1, 1, 1, 1],
}


def network(generator):
    torch.manual_seed(0)
    model = build_model(Config({'model': plain_model(generator)})).generator.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_normalisation_is_mmagics():
    theirs = network(NAFNET['generator']).middle_blks[0].norm1
    ours = PlainLayerNorm2d(theirs.weight.data, theirs.bias.data, theirs.eps)
    image = torch.randn(2, len(theirs.weight), 5, 6)
    assert torch.equal(ours(image), theirs(image))
    other = PlainLayerNorm2d(theirs.weight.data, theirs.bias.data, 1.0)
    assert not torch.allclose(other(image), theirs(image))


@pytest.mark.parametrize('generator', [NAFNET['generator'], {'type': 'ToyNet'}])
def test_graph_runs_at_every_size(generator):
    model = network(generator)
    kinds = [type(module) for module in model.modules()]
    graph = torch.jit.load(io.BytesIO(torchscript_bytes(model)))
    for size in ((1, 3, 33, 47), (3, 3, 16, 20)):
        image = torch.rand(size)
        with torch.no_grad():
            assert torch.allclose(graph(image), model(image), atol=1e-6)
    assert [type(module) for module in model.modules()] == kinds


def test_a_network_that_decides_by_size_is_refused():
    with pytest.raises(ValueError, match='Restormer cannot be exported as torchscript'):
        torchscript_bytes(network(RESTORMER))


def test_export_writes_the_graph(tmp_path):
    cfg = Config({'model': NAFNET})
    model = build_model(cfg).eval()
    torch.save(model.state_dict(), tmp_path / 'a.pth')
    out = export_checkpoint(cfg, tmp_path / 'a.pth', tmp_path / 'a.pt', 'torchscript')
    image = torch.rand(1, 3, 20, 28)
    with torch.no_grad():
        assert torch.allclose(torch.jit.load(out)(image), model(image), atol=1e-6)
