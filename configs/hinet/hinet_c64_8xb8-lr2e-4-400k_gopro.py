# HINet for GoPro deblurring, as published.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/hinet_c64_hin34.py',
    '../_base_/datasets/gopro.py',
    '../_base_/schedules/hinet_400k.py',
]
