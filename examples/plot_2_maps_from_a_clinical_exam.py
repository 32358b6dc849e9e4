"""
Maps from a clinical exam
=========================

T1, T2 and proton density from the T1w, T2w and FLAIR images that nearly every brain examination has. On
the command line::

    unweight maps --t1w T1w.nii.gz --t2w T2w.nii.gz --flair FLAIR.nii.gz -o maps

Three images of unknown gain do not determine three maps by themselves. What is common in tissue fills
the gap, and this page shows how to see how much.
"""

# %%
# An exam
# -------
#
# A simulated one, with lesions, and with the true maps beside it.

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
# The network takes the timings of each image as input, so they must be known: from sidecars as here, or by
# options such as ``--t1w-tr 0.6 --t1w-te 0.012``. What is missing is asked for by its name; nothing is
# guessed.
#
# Maps
# ----
#
# Images on different grids are registered first (``pip install "unweight[align]"``). These three lie on
# one.

images = {name: next(anat.glob(f"*_{name}.nii.gz")) for name in ("T1w", "T2w", "FLAIR")}
main(
    [
        "maps",
        *("--t1w", str(images["T1w"]), "--t2w", str(images["T2w"]), "--flair", str(images["FLAIR"])),
        *("-o", f"{work}/maps"),
    ]
)

# %%
# *Synthesised* are the three images, from the maps, by the signal equation. It is the check that works
# without knowing the truth: where an image cannot be reproduced, the voxel is marked implausible.

folder = next((work / "maps").glob("sub-*/anat"))


def slice_of(path: Path) -> np.ndarray:
    """Read the slice in the middle."""
    return nib.load(path).get_fdata()[:, :, 1]


def map_of(suffix: str) -> np.ndarray:
    """Read one map that was made."""
    return slice_of(next(folder.glob(f"*_{suffix}.nii.gz")))


def show(rows: dict[str, dict[str, tuple[np.ndarray, float]]]) -> None:
    """Draw rows of pictures, each with the value that is brightest."""
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
# True maps above, made ones below: T1 [s], T2 [s], and PD, where cerebrospinal fluid is 1.

show(
    {
        "true": {name: (truth[name], tops[name]) for name in tops},
        "made": {name: (made[name], tops[name]) for name in tops},
    }
)

# %%
# How far off?
# ------------
#
# Medians over voxels of the brain that are neither fluid nor marked.

status = slice_of(next(folder.glob("*_desc-status_dseg.nii.gz")))
tissue = (status == 0) & (truth["T1"] > 0.6) & (truth["T1"] < 2.5) & (truth["PD"] > 0.6)
for name in ("T1", "T2"):
    error = np.abs(made[name] / truth[name] - 1)[tissue]
    print(f"{name}: median error {100 * np.median(error):.1f} % of {tissue.sum()} voxels")

# %%
# What comes from the images, and what from other people's tissue?
# ----------------------------------------------------------------
#
# ``--method physics`` takes each voxel by itself, with no network and only a broad prior of tissue.
# Where it and the default agree, the images themselves say it; where they do not, the default leans on
# what is common.

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
    print(f"{name} by physics alone: median error {100 * np.nanmedian(error):.1f} %")

# %%
# When not to trust it
# --------------------
#
# - PD is relative, and T2 of fluid is hardly seen at usual echo times.
# - After contrast agent, with a gradient-echo T1w without inversion, or with a 3D FLAIR of very long
#   echo trains, there is no model here.
# - In tissue unlike anything simulated look at ``desc-misfit_T1map``, and compare regions rather than
#   rely on single values.
#
# :doc:`/maps` has the figures, lesions and unseen protocols among them.
