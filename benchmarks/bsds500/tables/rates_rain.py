_base_ = './_rates_.py'

title = 'Rain streaks: learning rates of the plain network'
plain = '../rain.py'
in_domain = 'rain'
