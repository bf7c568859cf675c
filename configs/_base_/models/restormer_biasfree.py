# Restormer as published for denoising: layer normalisation without bias.
_base_ = './restormer_withbias.py'

model = dict(generator=dict(LayerNorm_type='BiasFree'))
