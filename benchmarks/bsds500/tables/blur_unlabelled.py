_base_ = './_unlabelled_.py'

title = 'Horizontal blur with a truth; slanted blur without'
plain = '../blur_few.py'
in_domain = 'blur'
