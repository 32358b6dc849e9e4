"""`unweight segment`: its arguments; `cli.segment` carries it out."""

from pathlib import Path

from unweight.cli.arguments import NO_FIGURES, NO_REPORT, OUT, SHARED_ASSETS, SUBJECT, Command, argument

SEGMENT = Command(
    module="unweight.cli.segment",
    summary="tissues, lateral ventricles and deep grey nuclei of head images of any contrast",
    arguments=(
        argument(
            "images",
            metavar="IMAGE",
            nargs="+",
            type=Path,
            help="3D NIfTI images of heads: T1w, T2w, FLAIR, magnitude of a gradient echo, T1 map",
        ),
        OUT,
        argument(
            "--mask",
            type=Path,
            metavar="FILE",
            help="brain mask on the grid of the image; default: computed by the network of brain masks",
        ),
        argument(
            "--weights",
            type=Path,
            metavar="DIR",
            help="weights of `unweight train brain-segmentation` instead of those of the package",
        ),
        argument(
            "--mask-weights",
            type=Path,
            metavar="DIR",
            help="weights of `unweight train brain-mask` instead of those of the package",
        ),
        SUBJECT,
        NO_FIGURES,
        NO_REPORT,
        SHARED_ASSETS,
    ),
    epilogue=(
        "unweight segment sub-01_T1w.nii.gz -o segmented\n"
        "unweight segment sub-01_T2w.nii.gz sub-01_FLAIR.nii.gz -o segmented"
    ),
)
