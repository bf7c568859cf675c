_base_ = './_rows_.py'

title = 'Gaussian noise of sigma 50, Restormer of width 16'
plain = '../restormer_noise50.py'
in_domain = 'sigma 50'
