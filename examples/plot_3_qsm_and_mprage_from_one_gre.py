"""
QSM and MPRAGE from one GRE
===========================

One multi-echo gradient echo with its phase gives R2*, magnetic susceptibility, and a T1-weighted image.
On the command line::

    unweight r2star bids_tree -o maps
    unweight qsm bids_tree -o maps
    unweight mprage bids_tree -o images

The first two are measured. The third is made: it shows what a T1w image of most people with these
echoes looks like.
"""

# %%
# A head
# ------
#
# Drawn from random numbers, on a coarse grid of 2.5 mm so that this page runs in half a minute. A label
# image and a table of what its numbers mean is all that ``unweight simulate`` needs; it writes eight
# echoes, magnitude and phase, an MPRAGE of the same person, and the truth.

import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

from unweight.cli.main import main
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.tissue.materials import MATERIALS

work = Path(tempfile.mkdtemp(prefix="unweight-"))
head = procedural_head(
    seeded_generator(1, "head"), shape=(72, 86, 72), voxel_mm=(2.5, 2.5, 2.5), centre_mm=(0.0, -16.0, 12.0)
)
nib.save(nib.Nifti1Image(head.labels.numpy(), head.affine.numpy()), work / "labels.nii.gz")
(work / "labels.json").write_text(json.dumps(dict(enumerate(MATERIALS))))
main(
    [
        *("simulate", f"{work}/study", "--contrast", "megre", "--snr", "100", "100", "--quiet"),
        *("--label-map", f"{work}/labels.nii.gz", f"{work}/labels.json"),
    ]
)
scan = work / "study/bids"

# %%
# R2*
# ----
#
# From the magnitudes alone: whoever has no phase stops here.

main(["r2star", str(scan), "-o", f"{work}/maps", "--no-figures"])

# %%
# Susceptibility
# --------------
#
# Phase scaling, readout direction and the direction of the field are recognised and said; each can be
# overruled. The brain is found in the echoes, or given with ``--mask``.

main(["qsm", str(scan), "-o", f"{work}/maps", "--no-figures"])


def slice_of(path: Path) -> np.ndarray:
    """Read the slice through the deep nuclei."""
    return np.rot90(nib.load(path).get_fdata()[:, :, 34])


def show(pictures: dict[str, tuple[np.ndarray, tuple[float, float]]]) -> None:
    """Draw pictures beside each other."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(3.4 * len(pictures), 3.6), layout="constrained")
    for axis, (title, (values, (low, high))) in zip(axes, pictures.items(), strict=True):
        picture = axis.imshow(values, cmap="gray", vmin=low, vmax=high)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
        figure.colorbar(picture, ax=axis, shrink=0.7)


made, true = work / "maps/sub-001/anat", work / "study/truth/sub-001/anat"
echo = scan / "sub-001/anat/sub-001_echo-4_part-{}_MEGRE.nii.gz"
show(
    {
        "magnitude, 16 ms": (slice_of(Path(str(echo).format("mag"))), (0, 2500)),
        "phase, 16 ms [rad]": (slice_of(Path(str(echo).format("phase"))), (-np.pi, np.pi)),
        "local field [ppm]": (slice_of(made / "sub-001_desc-local_fieldmap.nii.gz"), (-0.05, 0.05)),
    }
)

# %%

chi = slice_of(made / "sub-001_Chimap.nii.gz")
chi_true = slice_of(true / "sub-001_Chimap.nii.gz")
inside = np.isfinite(chi)
chi_true = np.where(inside, chi_true - np.nanmean(chi_true[inside]), np.nan)
show(
    {
        "R2* [1/s]": (slice_of(made / "sub-001_R2starmap.nii.gz"), (0, 60)),
        "susceptibility [ppm]": (chi, (-0.12, 0.15)),
        "true susceptibility [ppm]": (chi_true, (-0.12, 0.15)),
    }
)

# %%
# Deep grey nuclei against the truth, relative to the mean of the brain:

volume, truth = (nib.load(root / "sub-001_Chimap.nii.gz").get_fdata() for root in (made, true))
labels = head.labels.numpy()
brain = np.isfinite(volume)
for name in ("caudate", "putamen", "pallidum", "thalamus"):
    region = brain & (labels == MATERIALS.index(name))
    values = [1e3 * (np.nanmean(one[region]) - np.nanmean(one[brain])) for one in (volume, truth)]
    print(f"{name:9} {values[0]:6.1f} ppb, true {values[1]:6.1f} ppb, {region.sum()} voxels")

# %%
# At 2.5 mm they are off by some 15 ppb; at 1.5 mm, with heads that are not drawn from random numbers,
# by 5 ppb in the mean (:doc:`/qsm`).
#
# A T1w image
# -----------
#
# R2* and susceptibility are given here, since they are there already; without these options they are
# made on the way.

main(
    [
        *("mprage", str(scan), "-o", f"{work}/images", "--method", "unet", "--no-figures"),
        *("--r2star", f"{made}/sub-001_R2starmap.nii.gz", "--chi", f"{made}/sub-001_Chimap.nii.gz"),
    ]
)
real = slice_of(scan / "sub-001/anat/sub-001_T1w.nii.gz")
image = slice_of(work / "images/sub-001/anat/sub-001_desc-synth_T1w.nii.gz")
doubt = slice_of(work / "images/sub-001/anat/sub-001_desc-std_T1w.nii.gz")
show(
    {
        "MPRAGE of this person": (real, (0, np.percentile(real, 99.5))),
        "made of gradient echoes": (image, (0, 1.2)),
        "its standard deviation": (doubt, (0, 0.2)),
    }
)

# %%
# The remark about the size of the voxels is deserved: the network was trained with 1 to 1.5 mm, and 2.5
# mm makes worse images than :doc:`/mprage` shows.
#
# When not to trust it
# --------------------
#
# - The T1w image is for registration and for finding healthy structures, not for reading, and not for
#   lesions: one may be shown as what is common in its place.
# - The standard deviation of susceptibility is that of noise alone; see :doc:`/qsm` for the larger
#   errors.
# - Contrast of large structures, white against grey matter, comes out at two thirds.
