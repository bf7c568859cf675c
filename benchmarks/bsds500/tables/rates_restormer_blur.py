_base_ = './_rates_.py'

title = 'Horizontal motion blur, Restormer: learning rates of the plain network'
plain = '../restormer_blur.py'
in_domain = 'blur'
iterations = 300
