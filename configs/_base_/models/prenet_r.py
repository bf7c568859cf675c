# PReNet_r as published for deraining: one residual block a stage, applied five times.
_base_ = './prenet.py'

model = dict(generator=dict(shared_blocks=True))
