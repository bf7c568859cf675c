_base_ = './_rows_.py'

title = 'Gaussian noise of sigma 25, NAFNet of width 16'
plain = '../noise25.py'
in_domain = 'sigma 25'
