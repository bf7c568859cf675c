# The same with superpixels computed while training: no region maps on disk, no SAM, slower steps.
_base_ = './samdistill.py'

distill = dict(regions=dict(type='SuperpixelRegions'))
