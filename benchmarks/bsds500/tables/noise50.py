_base_ = './_rows_.py'

title = 'Gaussian noise of sigma 50, NAFNet of width 16'
plain = '../noise50.py'
in_domain = 'sigma 50'
