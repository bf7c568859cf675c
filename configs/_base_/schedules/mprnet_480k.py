# MPRNet's published schedule for denoising: 80 epochs of SIDD (320 pairs, 300 patches of each) in
# batches of 16, and a cosine that is made for 40 epochs more.
_base_ = './mprnet_214k.py'

epoch = 6000
train_cfg = dict(max_iters=80 * epoch)
warmup, cosine = _base_.param_scheduler
warmup['end'] = 2 * epoch + 1
cosine.update(begin=3 * epoch, T_max=117 * epoch, end=80 * epoch)
# Mixtures begin with the sixth epoch. A value for the recipe to refer to, see restormer_300k.py.
mixup_hook = dict(type='MixupHook', alpha=0.6, probability=1.0, per_image=True, begin=5 * epoch)
del cosine, epoch, warmup
