"""Simulated images beside real ones, and the distribution of their signals: a picture to look at.

Needs the shared data. Simulated images are of a BrainWeb head that shares nothing with the real subjects,
so contrast and noise can be compared, shapes cannot.
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import scipy.io
from matplotlib.figure import Figure
from scipy import ndimage

from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.heads.brainweb import find_brainweb, read_brainweb
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.protocols.standard import (
    INVERSION_RECOVERY,
    Scan,
    eight_echoes,
    mprage,
    routine_contrasts,
    seven_inversions,
)
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.compose import compose, divisible
from unweight.synth.tissue.materials import BRAIN, INDEX
from unweight.synth.tissue.prior import TissuePrior

SHARED = Path(__file__).parents[2] / "shared" / "data"
STILL = MeasurementPrior(snr=(40.0, 40.0), moving=0.0, rounding=0.0)


def main(path: Path) -> None:
    anatomy = with_nuclei(read_brainweb(find_brainweb(SHARED / "brainweb_crisp")[1]))
    figure = Figure(figsize=(17, 12), layout="constrained", facecolor="white")
    rows = figure.subplots(4, 7)
    for axes in rows.flat:
        axes.set_axis_off()
    real_ir(rows[0])
    simulated_ir(anatomy, rows[1])
    weighted(anatomy, rows[2])
    marginals(anatomy, rows[3])
    figure.savefig(path, dpi=110)
    print(path)


def show(axes, image, title) -> None:  # type: ignore[no-untyped-def]
    image = np.asarray(image, float)
    axes.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, 99.5))
    axes.set_title(title, fontsize=9)


def brain_slice() -> tuple[np.ndarray, list[float]]:
    content = scipy.io.loadmat(SHARED / "brain_ir_qmrlab" / "IRData.mat")
    return content["IRData"][:, :, 0].astype(float), [float(t) for t in content["TI"].ravel()]


def real_ir(row) -> None:  # type: ignore[no-untyped-def]
    images, times = brain_slice()
    for axes, index in zip(row, (0, 1, 2, 3, 5, 7, 8), strict=True):
        show(axes, np.rot90(images[..., index]), f"real IR, TI {times[index]:g} s")


def slab(anatomy: Anatomy, factor: tuple[int, int, int]) -> Anatomy:
    layers = factor[2]
    first = 190 if anatomy.labels.shape[2] > 260 else anatomy.labels.shape[2] // 2
    return Anatomy(
        labels=divisible(anatomy.labels[:, :, first : first + layers], factor).contiguous(),
        voxel_mm=anatomy.voxel_mm,
        subject=anatomy.subject,
        affine=anatomy.affine,
    )


def simulate(
    anatomy: Anatomy, scan: Scan, factor: tuple[int, int, int] = (2, 2, 4)
) -> tuple[np.ndarray, np.ndarray]:
    generator = seeded_generator(3, "realism", scan.name)
    tissue = TissuePrior().draw(generator, scan.protocol.field_strength or 3.0)
    scene = compose(slab(anatomy, factor), factor, tissue, generator)
    signal, _, _ = scanned(scene, scan, STILL, generator)
    inside = scene.fractions[..., [INDEX[name] for name in BRAIN]].sum(-1) > 0.5
    return signal[:, :, 0].abs().numpy(), inside[:, :, 0].numpy()


def simulated_ir(anatomy: Anatomy, row) -> None:  # type: ignore[no-untyped-def]
    images, _ = simulate(anatomy, seven_inversions())
    times = seven_inversions().protocol.require("inversion_time", "this").tolist()
    for index, axes in enumerate(row):
        show(axes, np.rot90(images[..., index]), f"simulated IR, TI {times[index]:g} s")


def weighted(anatomy: Anatomy, row) -> None:  # type: ignore[no-untyped-def]
    patient = SHARED / "ms_lesjak" / "longitudinal" / "patient01"
    flair = np.asarray(nib.load(patient / "study1_FLAIR.nii.gz").dataobj, float)
    axis = int(np.argmin(flair.shape))
    show(row[0], np.rot90(np.take(flair, flair.shape[axis] // 2, axis)), "real FLAIR")
    scans = {scan.name: scan for scan in (*routine_contrasts(), eight_echoes())}
    show(row[1], np.rot90(simulate(anatomy, scans["FLAIR"])[0][..., 0]), "simulated FLAIR")
    volume = np.asarray(nib.load(next((SHARED / "mprage_uih").glob("*.nii.gz"))).dataobj, float)
    show(row[2], np.rot90(volume[:, :, int(volume.shape[2] * 0.62)]), "real MPRAGE")
    show(row[3], np.rot90(simulate(anatomy, mprage())[0][..., 0]), "simulated MPRAGE")
    show(row[4], np.rot90(simulate(anatomy, scans["T2w"])[0][..., 0]), "simulated T2w")
    echoes = np.asarray(nib.load(SHARED / "mgre_romeo" / "Mag.nii").dataobj, float)
    show(row[5], np.rot90(echoes[:, :, 20, 1]), "real GRE (crop), TE 8 ms")
    show(row[6], np.rot90(simulate(anatomy, scans["MEGRE"])[0][..., 1]), "simulated GRE, TE 8 ms")


def marginals(anatomy: Anatomy, row) -> None:  # type: ignore[no-untyped-def]
    real, times = brain_slice()
    strong = real.max(-1) > 10
    parts, count = ndimage.label(ndimage.binary_erosion(strong, iterations=2))
    largest = 1 + int(np.argmax(ndimage.sum(strong, parts, range(1, count + 1))))
    mask = ndimage.binary_dilation(parts == largest, iterations=2) & strong
    scan = Scan(
        name="IRT1",
        model=INVERSION_RECOVERY,
        protocol=protocol_from_values(
            inversion_time=times, repetition_time=[5.0] * len(times), field_strength=1.5
        ),
    )
    images, inside = simulate(anatomy, scan, (4, 4, 10))  # its voxels and field are not stored: a guess
    unit = np.percentile(real[mask][:, -1], 90), np.percentile(images[inside][:, -1], 90)
    print("TI [s] | median real | median simulated | IQR real | IQR simulated")
    for axes, index in zip(row, (0, 1, 2, 3, 5, 7, 8), strict=True):
        a, b = real[mask][:, index] / unit[0], images[inside][:, index] / unit[1]
        axes.set_axis_on()
        bins = np.linspace(0, 1.6, 60)
        axes.hist(a, bins, density=True, alpha=0.55, color="#00798c", label="real")
        axes.hist(b, bins, density=True, alpha=0.55, color="#d1495b", label="simulated")
        axes.set_title(f"signal in the brain, TI {times[index]:g} s", fontsize=9)
        axes.tick_params(labelsize=7)
        spread = [np.subtract(*np.percentile(values, [75, 25])) for values in (a, b)]
        middle = np.median(a), np.median(b)
        print(f"{times[index]:g} | {middle[0]:.3f} | {middle[1]:.3f} | {spread[0]:.3f} | {spread[1]:.3f}")
    row[0].legend(fontsize=7)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("realism.png"))
