# NAFNet of width 32 as published for denoising (SIDD), whose test images are as large as its training
# patches: pools over the whole image.
_base_ = './nafnet_c32eb2248mb12db2222.py'

model = dict(generator=dict(type='NAFNet'))
