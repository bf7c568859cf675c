# HINet for Rain13K deraining, as published.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/hinet_c64.py',
    '../_base_/pipelines/rain13k_patch256.py',
    '../_base_/schedules/hinet_400k_warmup.py',
]
