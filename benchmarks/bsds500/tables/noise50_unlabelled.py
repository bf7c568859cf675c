_base_ = './_unlabelled_.py'

title = 'Noise of sigma 50 with a truth; sigma 25, sigma 70 and rain without'
plain = '../noise50_few.py'
in_domain = 'sigma 50'
