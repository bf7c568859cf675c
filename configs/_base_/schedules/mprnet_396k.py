# MPRNet's published schedule for deblurring: 3000 epochs of GoPro in batches of 16.
_base_ = './mprnet_214k.py'

epoch = 132
train_cfg = dict(max_iters=3000 * epoch)
warmup, cosine = _base_.param_scheduler
warmup['end'] = 2 * epoch + 1
cosine.update(begin=3 * epoch, T_max=2997 * epoch, end=3000 * epoch)
del cosine, epoch, warmup
