"""Worlds for networks that need other scenes than colons, each with complete ground truth.

    still_box        pairs with a known displacement and the depth behind them (Pinard 2017)
    flying_shapes    pairs with exact optical flow and occlusion (after FlyingChairs)
    moving_objects   pairs in which something moves by itself, for motion masks

A sample is a function of (seed, index) alone: not of the batch it comes in, nor of its device but
for rounding.
"""
