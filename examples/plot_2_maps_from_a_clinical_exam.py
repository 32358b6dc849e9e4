"""
Maps from a clinical exam
=========================

This tutorial computes T1, T2 and proton density from the T1w, T2w and FLAIR images of a routine brain exam.
On the command line::

    unweight maps --t1w T1w.nii.gz --t2w T2w.nii.gz --flair FLAIR.nii.gz -o maps

Three images of unknown gain do not determine three maps. The estimate therefore depends on a prior over
normal tissue; the last section shows how to assess its influence.
"""

# %%
# Data
# ----
#
# A simulated exam with lesions, and the true maps.

import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

from unweight.cli.main import main

work = Path(tempfile.mkdtemp(prefix="unweight-"))
main(["simulate", f"{work}/exam", "--contrast", "routine", "--slices", "3", "--lesions", "--quiet"])
anat = work / "exam/bids/sub-001/anat"
for path in sorted(anat.glob("*.json")):
    sidecar = json.loads(path.read_text())
    print(path.name, {name: value for name, value in sidecar.items() if name.endswith("Time")})

# %%
# The timings of each image are inputs of the network. They are read from sidecars, as here, or given as
# options such as ``--t1w-tr 0.6 --t1w-te 0.012``. An error names missing ones; none is guessed.
#
# Maps
# ----
#
# Images on different grids are registered first (rigidly, by SimpleITK). These three share
# one grid.

images = {name: next(anat.glob(f"*_{name}.nii.gz")) for name in ("T1w", "T2w", "FLAIR")}
main(
    [
        "maps",
        *("--t1w", str(images["T1w"]), "--t2w", str(images["T2w"]), "--flair", str(images["FLAIR"])),
        *("-o", f"{work}/maps"),
    ]
)

# %%
# The figure also shows the three images *synthesised* from the maps with the signal equation. This
# check does not require the truth: voxels in which an image cannot be reproduced are labelled
# implausible.

folder = next((work / "maps").glob("sub-*/anat"))


def slice_of(path: Path) -> np.ndarray:
    """Read the central slice."""
    return nib.load(path).get_fdata()[:, :, 1]


def map_of(suffix: str) -> np.ndarray:
    """Read one estimated map."""
    return slice_of(next(folder.glob(f"*_{suffix}.nii.gz")))


def show(rows: dict[str, dict[str, tuple[np.ndarray, float]]]) -> None:
    """Plot rows of images, each with the upper limit of its grey scale."""
    height = 2.6 * len(rows)
    figure, axes = plt.subplots(len(rows), 3, figsize=(9, height), layout="constrained", squeeze=False)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for axis, (title, (values, top)) in zip(line, row.items(), strict=True):
            picture = axis.imshow(
                np.rot90(values), cmap="gray" if name == "" else "magma", vmin=0, vmax=top
            )
            axis.set_title(f"{name} {title}", fontsize=9)
            axis.set_axis_off()
            figure.colorbar(picture, ax=axis, shrink=0.8)


truth = {
    name: slice_of(work / f"exam/truth/sub-001/anat/sub-001_{name}map.nii.gz")
    for name in ("T1", "T2", "PD")
}
made = {
    name: slice_of(next(one for one in folder.glob(f"*_{name}map.nii.gz") if "desc" not in one.name))
    for name in ("T1", "T2", "PD")
}
fluid = np.nanmedian(truth["PD"][truth["T1"] > 4])
truth["PD"] = truth["PD"] / fluid
tops = {"T1": 3.0, "T2": 0.3, "PD": 1.2}
show({"": {name: (slice_of(path), np.percentile(slice_of(path), 99.5)) for name, path in images.items()}})

# %%
# True maps (top) and estimated maps (bottom): T1 [s], T2 [s], and PD relative to cerebrospinal fluid.

show(
    {
        "true": {name: (truth[name], tops[name]) for name in tops},
        "estimated": {name: (made[name], tops[name]) for name in tops},
    }
)

# %%
# Errors
# ------
#
# Medians over brain voxels with status OK, without fluid.

status = slice_of(next(folder.glob("*_desc-status_dseg.nii.gz")))
tissue = (status == 0) & (truth["T1"] > 0.6) & (truth["T1"] < 2.5) & (truth["PD"] > 0.6)
for name in ("T1", "T2"):
    error = np.abs(made[name] / truth[name] - 1)[tissue]
    print(f"{name}: median error {100 * np.median(error):.1f} % of {tissue.sum()} voxels")

# %%
# Influence of the prior
# ----------------------
#
# ``--method physics`` estimates each voxel separately, without a network and with a broad prior over
# tissue. Where it agrees with the default, the estimate is determined by the images; where it does not,
# the default depends on the learned prior.

main(
    [
        "maps",
        *("--t1w", str(images["T1w"]), "--t2w", str(images["T2w"]), "--flair", str(images["FLAIR"])),
        *("-o", f"{work}/physics", "--method", "physics", "--no-figures", "--quiet"),
    ]
)
alone = {
    name: slice_of(
        next(
            one
            for one in (work / "physics").glob(f"sub-*/anat/*_{name}map.nii.gz")
            if "desc" not in one.name
        )
    )
    for name in ("T1", "T2")
}
for name in ("T1", "T2"):
    error = np.abs(alone[name] / truth[name] - 1)[tissue]
    print(f"{name} with --method physics: median error {100 * np.nanmedian(error):.1f} %")

# %%
# Limitations
# -----------
#
# - PD is relative to CSF, and T2 of fluid is poorly determined at usual echo times.
# - Images after contrast agent, gradient-echo T1w without inversion, and 3D FLAIR with very long echo
#   trains are not modelled.
# - In tissue unlike the simulation, inspect ``desc-misfit_T1map``, and compare regions rather than single
#   values.
#
# :doc:`/maps` gives the measured errors, including lesions and unseen protocols.
