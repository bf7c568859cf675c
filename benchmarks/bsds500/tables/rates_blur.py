_base_ = './_rates_.py'

title = 'Horizontal motion blur: learning rates of the plain network'
plain = '../blur.py'
in_domain = 'blur'
