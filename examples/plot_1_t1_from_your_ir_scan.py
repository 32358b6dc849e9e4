"""
T1 from your inversion-recovery scan
====================================

This tutorial computes T1 with a 90 % interval in every voxel from a series of inversion-recovery images,
and then regional means. On the command line::

    unweight validate bids_tree
    unweight t1 bids_tree -o maps
    unweight regions maps/sub-001/anat/sub-001_T1map.nii.gz --labels dseg.nii.gz --erode 1

Here the scan is simulated, so the true T1 is known.
"""

# %%
# Data
# ----
#
# ``unweight simulate`` writes a BIDS dataset and the true maps. With your own data, skip this step: input
# is a folder of DICOM files, a BIDS dataset with ``IRT1`` images, or NIfTI files with ``--ti``.

import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

from unweight.cli.main import main

work = Path(tempfile.mkdtemp(prefix="unweight-"))
main(["simulate", f"{work}/study", "--slices", "1", "--snr", "50", "50", "--quiet"])
scan = work / "study" / "bids"
for path in sorted(scan.glob("sub-001/anat/*.json")):
    print(path.name, json.loads(path.read_text())["InversionTime"], "s")

# %%
# ``main([...])`` is equivalent to the command ``unweight`` with these arguments.
#
# Checking the data
# -----------------
#
# ``validate`` reads and checks all images and computes no maps. It reports missing fields before a long
# computation.

main(["validate", str(scan)])

# %%
# The seven images, from short to long inversion time. The signal of a tissue is zero at a TI of 0.69
# times its T1. Magnitude images do not contain the sign of the signal; the fit determines it.

images = [nib.load(path).get_fdata()[:, :, 0] for path in sorted(scan.glob("sub-001/anat/*.nii.gz"))]
figure, axes = plt.subplots(1, len(images), figsize=(12, 2.4), layout="constrained")
for number, (axis, image) in enumerate(zip(axes, images, strict=True), start=1):
    axis.imshow(np.rot90(image), cmap="gray", vmin=0, vmax=np.percentile(images[-1], 99))
    axis.set_title(f"inv-{number}")
    axis.set_axis_off()

# %%
# Maps
# ----
#
# The default method fits every voxel by maximum likelihood and corrects the fit with a network that also
# uses neighbouring voxels. Outside the supported range of the network, it uses the fit and reports this.

main(["t1", str(scan), "-o", f"{work}/maps"])

# %%
# The figure written by every call: T1 in its recommended colour map, its standard deviation, PD,
# inversion efficiency, misfit and status.

made = plt.imread(work / "maps/sub-001/figures/sub-001_T1map.png")
figure, axis = plt.subplots(figsize=(12, 12 * made.shape[0] / made.shape[1]), layout="constrained")
axis.imshow(made)
axis.set_axis_off()

# %%
# Coverage of the intervals
# -------------------------
#
# With known truth, coverage can be measured: the share of usable brain voxels whose 90 % interval
# contains the true T1.


def image_of(name: str, root: str = "maps") -> np.ndarray:
    """Read one map of the one slice."""
    return nib.load(work / root / f"sub-001/anat/sub-001_{name}.nii.gz").get_fdata()[:, :, 0]


truth, t1 = image_of("T1map", "study/truth"), image_of("T1map")
lower, upper = image_of("desc-lower90_T1map"), image_of("desc-upper90_T1map")
usable = (image_of("desc-status_dseg") == 0) & (truth > 0.5) & (truth < 2.0)
inside = (lower <= truth) & (truth <= upper)
print(f"{100 * inside[usable].mean():.1f} % of {usable.sum()} voxels")
print(f"median |error| {100 * np.median(np.abs(t1 / truth - 1)[usable]):.1f} %")

# %%
# Coverage is an average over voxels like those simulated. It is lower in partial-volume voxels, where the
# true T1 is a matter of definition. See :doc:`/t1` for results on held-out heads.
#
# Regional means
# --------------
#
# Any label image on the same grid can be used. Here white and grey matter are taken from the truth; with
# your data they come from a segmentation.

labels = np.where((truth > 0.6) & (truth < 1.0), 1, np.where((truth > 1.3) & (truth < 1.8), 2, 0))
grid = nib.load(work / "maps/sub-001/anat/sub-001_T1map.nii.gz")
nib.save(nib.Nifti1Image(labels[..., None].astype(np.uint8), grid.affine), work / "dseg.nii.gz")
(work / "names.tsv").write_text("index\tname\n1\twhite_matter\n2\tgrey_matter\n")
main(
    [
        "regions",
        f"{work}/maps/sub-001/anat/sub-001_T1map.nii.gz",
        *("--labels", f"{work}/dseg.nii.gz", "--names", f"{work}/names.tsv"),
    ]
)

# %%
# From Python
# -----------
#
# The same steps without intermediate files: read, fit, display.

from unweight.bids.read import find_inputs
from unweight.fit.inversion_recovery import InversionRecoveryFit

acquisition = find_inputs([scan])[0].read().acquisition
maps = InversionRecoveryFit()(acquisition)
fitted = maps.value("T1")[:, :, 0].numpy()
figure, axes = plt.subplots(1, 3, figsize=(12, 4.6), layout="constrained")
for axis, (title, shown) in zip(
    axes, {"true T1 [s]": truth, "default": t1, "fit of each voxel alone": fitted}.items(), strict=True
):
    picture = axis.imshow(np.rot90(shown), cmap="magma", vmin=0, vmax=3)
    axis.set_title(title)
    axis.set_axis_off()
figure.colorbar(picture, ax=axes, shrink=0.8)
print(f"median |error| of the fit {100 * np.nanmedian(np.abs(fitted / truth - 1)[usable]):.1f} %")

# %%
# Limitations
# -----------
#
# - With the default method, a one-voxel lesion loses a third of its contrast; compare with ``--method
#   ml``.
# - ``desc-misfit_T1map`` well above 1 indicates that a single T1 does not explain the voxel: motion,
#   flow, or two tissues.
# - ``desc-invalid_mask`` marks voxels with signal that have no value or a suspect one. Exclude them.
