_base_ = './_rows_.py'

title = 'Motion blur of 5 to 21 pixels, NAFNet of width 16'
plain = '../blur.py'
in_domain = 'blur'
