"""One NIfTI file: its header, its grid, its scaling and its voxels."""
