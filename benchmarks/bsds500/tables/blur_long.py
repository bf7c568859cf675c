# Is the gain more than a faster start? The same blur, trained four times as long.
_base_ = './blur.py'

title = 'Horizontal motion blur of 5 to 15 pixels, NAFNet of width 16, trained four times as long'
iterations = 2400
