# The learning rate that NAFNet was published with, for hundreds of thousands of steps.
_base_ = './noise50.py'

optim_wrapper = dict(optimizer=dict(lr=1e-3))
