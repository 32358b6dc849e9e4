"""Rigid registration by mutual information, and what it found.

Both images are smoothed and thinned out to steps of some millimetres, coarse first. The reference is looked
at on a cubic lattice that is turned against the axes of both images: on a common lattice the interpolation
of thick slices favours shifts by half a slice (Pluim et al., Comput Vis Image Underst 77:211, 2000). The
metric is that of Mattes et al., IEEE Trans Med Imaging 22:120, 2003. One thread and every voxel, so that the
result is the same each time.
"""
