"""One of several processes that train a cascade together; see test_distributed.py."""

import sys

import mmengine.registry
import torch
import torch.distributed as dist
from mmagic.registry import MODELS
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from toy import batch, cascade_model, random_analyzer

import mmsamdistill  # noqa: F401

mmengine.registry.init_default_scope('mmagic')
dist.init_process_group('gloo')
rank = dist.get_rank()
torch.manual_seed(0)
parts = {'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': random_analyzer()}
model = MODELS.build(cascade_model(**parts))
# Its default, find_unused_parameters=False: a parameter without gradient stops the second step.
distributed = MMDistributedDataParallel(model)
optimiser = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
for step in range(3):
    data = batch(seed=10 * rank + step)
    if rank == 0:  # images without any region, in one process only
        for sample in data['data_samples']:
            sample.regions.zero_()
    distributed.train_step(data, optimiser)

# Buffers too: the average of the teacher is nothing that DDP keeps alike.
state = [*model.parameters(), *model.average.state_dict().values()]
weights = torch.cat([value.detach().flatten() for value in state])
gathered = [torch.empty_like(weights) for _ in range(dist.get_world_size())]
dist.all_gather(gathered, weights)
assert torch.equal(*gathered), 'the processes have drifted apart'
assert torch.isfinite(weights).all()
if rank == 0:
    torch.save({'names': list(distributed.state_dict())}, sys.argv[1])
dist.destroy_process_group()
