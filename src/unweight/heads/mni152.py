"""The MNI152 head that nilearn carries: grey and white matter of an average brain, as an anatomy.

Nothing of it is in this package: the files are read from an installed nilearn, at run time, without the
network. They are probabilities; the likeliest tissue is taken, and what is neither within the brain's
envelope is CSF. Skull and scalp are left out. ICBM 152 2009a, Fonov et al., NeuroImage 47:S102, 2009.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from unweight.bids.nifti.volume import Volume, open_volume
from unweight.core.errors import InputError
from unweight.heads.labels import upright_anatomy
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.tissue.materials import INDEX

FILES = {
    "grey_matter": "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
    "white_matter": "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
}
CLOSING_VOXELS = 4
LEAST_TISSUE = 0.2


def mni152_folder() -> Path:
    """Return the folder of nilearn that holds the files.

    Raises:
        InputError: nilearn is not installed, or does not carry them.
    """
    spec = importlib.util.find_spec("nilearn")
    places = (
        [] if spec is None or spec.submodule_search_locations is None else spec.submodule_search_locations
    )
    for place in places:
        folder = Path(place) / "datasets" / "data"
        if all((folder / name).is_file() for name in FILES.values()):
            return folder
    raise InputError(
        "the MNI152 head comes with nilearn, which is not installed here", remedy="pip install nilearn"
    )


def read_mni152() -> Anatomy:
    """Read the head.

    Raises:
        InputError: nilearn is not installed, or its files are unusable.
    """
    folder = mni152_folder()
    grey, white = (open_volume(folder / FILES[name]) for name in ("grey_matter", "white_matter"))
    g, w = _share(grey), _share(white)
    structure = ndimage.generate_binary_structure(3, 1)
    envelope = ndimage.binary_closing(g + w > LEAST_TISSUE, structure, iterations=CLOSING_VOXELS)
    envelope = ndimage.binary_fill_holes(envelope)
    labels = np.zeros(g.shape, dtype=np.uint8)
    labels[envelope] = INDEX["csf"]
    rest = 1 - g - w
    labels[envelope & (g >= w) & (g >= rest)] = INDEX["grey_matter"]
    labels[envelope & (w > g) & (w >= rest)] = INDEX["white_matter"]
    path = folder / FILES["grey_matter"]
    return upright_anatomy(labels, grey.grid.affine.numpy(), subject="mni152", path=path)


def _share(volume: Volume) -> NDArray[np.float32]:
    """Return probabilities from 0 to 1, whatever the scale they are stored in."""
    values = torch.nan_to_num(volume.data.real if volume.data.is_complex() else volume.data)
    shares: NDArray[np.float32] = (values / values.max()).numpy()
    return shares
