# What every distilled twin adds to its plain configuration. Bases of one configuration must not
# share keys, so these are values for the twin to refer to; everything that is not said here has its
# default in the code.
# In every fourth step the teacher teaches as much as in every one, for a fraction of the time; DDP
# then has to look for the parameters that have no gradient in the others.
distill = dict(type='SAMDistillRestorer', regions=dict(type='CachedRegions'), teacher_interval=4)
find_unused_parameters = True
# The published clip of the gradient was tuned for one network: student and teacher are clipped apart.
cascade_optim_wrapper = dict(constructor='CascadeOptimWrapperConstructor')
# A cache that was made otherwise, of other images or only in part would train, and mean nothing.
region_cache_hook = dict(type='RegionCacheHook', expected=dict(type='SAMRegions'))
