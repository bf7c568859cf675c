_base_ = './_rows_.py'

title = 'Rain streaks, NAFNet of width 16'
plain = '../rain.py'
in_domain = 'rain'
