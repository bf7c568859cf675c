_base_ = './_rows_.py'

title = 'Horizontal motion blur of 5 to 15 pixels, NAFNet of width 16'
plain = '../blur.py'
in_domain = 'blur'
