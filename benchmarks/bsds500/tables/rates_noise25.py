_base_ = './_rates_.py'

title = 'Gaussian noise of sigma 25: learning rates of the plain network'
plain = '../noise25.py'
in_domain = 'sigma 25'
