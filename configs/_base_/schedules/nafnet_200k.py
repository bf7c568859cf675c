# NAFNet's published schedule of 200k iterations.
_base_ = './nafnet_400k.py'

train_cfg = dict(max_iters=200_000)
param_scheduler = dict(T_max=200_000)

auto_scale_lr = dict(base_batch_size=32)
