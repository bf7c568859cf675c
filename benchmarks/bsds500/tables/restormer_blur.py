_base_ = './_rows_.py'

title = 'Horizontal motion blur of 5 to 15 pixels, Restormer of width 8'
plain = '../restormer_blur.py'
in_domain = 'blur'
iterations = 300
# Three seeds scatter too much to tell so small a gain.
seeds = [0, 1, 2, 3, 4]
