_base_ = './_rates_.py'

title = 'Gaussian noise of sigma 50: learning rates of the plain network'
plain = '../noise50.py'
in_domain = 'sigma 50'
