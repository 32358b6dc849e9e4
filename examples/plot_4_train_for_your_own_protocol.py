"""
Train for your own protocol
===========================

The default network for T1 accepts any inversion times within the range on its model card. One command
fine-tunes it for your protocol, or trains one of the published networks, which are limited to a single
protocol::

    unweight train t1-posterior -o weights --ti 0.05 0.4 1.1 2.5 --tr 2.55 --from shipped --minutes 10
    unweight t1 scan.nii.gz --ti 0.05 0.4 1.1 2.5 --tr 2.55 --weights weights -o maps

Training uses simulated heads and needs none of your data. With ``--protocol-from dicom_folder`` the timings
are read from your files. An interrupted training resumes when the command is repeated.

Below is the same in Python, with heads, slabs and steps reduced so that it runs in seconds. The resulting
network works, but is not accurate.
"""

# %%
# Configuration
# -------------
#
# A single frozen object contains all settings of the training. It is stored on the model card.

import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import torch

from unweight.cli.main import main
from unweight.core.seeding import seeded_generator
from unweight.learn.t1.methods import for_protocol
from unweight.learn.training.execution import PrecisionChoice
from unweight.learn.training.loop import Step, TrainingCallback
from unweight.learn.training.sample_cache import Heads, SlabData
from unweight.learn.training.trainable import recipe_for, trainable
from unweight.learn.training.trainer import train_model
from unweight.learn.training.weights import load_weights, save_weights
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.signals.precision import cramer_rao_bound
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.protocols.standard import four_inversions

times, repetition = (0.05, 0.40, 1.10, 2.50), 2.55
recipe = for_protocol(recipe_for("t1-posterior", "cpu"), times, repetition, 0.0)
plan = replace(recipe.plan, n_steps=24, batch_size=8, warm_up=6, check_every=6, save_every=24)
recipe = replace(recipe, n_slabs=4, slabs=replace(recipe.slabs, specks=False), plan=plan)
print(recipe.plan)

# %%
# Precision of the protocol
# -------------------------
#
# Check this before training. The Cramér–Rao bound is the smallest standard deviation of any unbiased
# estimate in one voxel.

t1 = torch.logspace(-1, 0.6, 60, dtype=torch.float64)
theta = torch.stack((t1, torch.ones_like(t1), torch.full_like(t1, 1.92)), dim=-1)
model, protocol = InversionRecovery(), four_inversions().protocol
bound = cramer_rao_bound(model, theta, protocol, Rician(sigma=1 / 50))[:, 0]
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.loglog(t1, 100 * bound / t1)
axis.set_xlabel("T1 [s]")
axis.set_ylabel("smallest SD at SNR 50 [%]")
axis.grid(alpha=0.3, which="both")

# %%
# Heads
# -----
#
# One head for training and another for validation and calibration. ``--brainweb-dir brainweb_folder``
# uses the BrainWeb heads instead, which give better networks.


def head(name: str):
    """Generate a thin slab of a head."""
    return procedural_head(
        seeded_generator(0, name),
        shape=(180, 216, 24),
        voxel_mm=(0.5, 0.5, 0.5),
        centre_mm=(0.0, -16.0, 12.0),
    )


heads = Heads(train=(head("a"),), validation=(head("b"),))

# %%
# Training
# --------
#
# Training starts from the weights of the package. The callback is called at each validation.

losses: list[tuple[int, float]] = []


class Notes(TrainingCallback):
    """Keeps the loss."""

    def samples(self, part: str) -> None:
        """Called before the slabs of a part are computed."""

    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        """Called with what losses are computed in: bfloat16 where this is faster on this machine."""
        print(*choices, sep=", then ")

    def step(self, step: Step) -> None:
        """Called at each check."""
        losses.append((step.step, step.loss))


start, _ = load_weights("t1-posterior")
work = Path(tempfile.mkdtemp(prefix="unweight-"))
folder, notes = work / "training", Notes()
data = SlabData(source=trainable(recipe.method), heads=heads, folder=folder, callback=notes)
tensors, card = train_model(
    recipe, data, device=torch.device("cpu"), folder=folder, callback=notes, start=start
)
save_weights(work / "weights", tensors, card, half=True)
for name, value in card.metrics.items():
    print(f"{name:28} {value:.3f}")

# %%
# The model card contains the coverage on held-out voxels. If it is far from 0.9, the training was too
# short or the heads too few.

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.plot(*zip(*losses, strict=True), marker="o")
axis.set_xlabel("step")
axis.set_ylabel("loss")

# %%
# Use
# ----
#
# The new weights are loaded from their folder, together with the model card. The simulated scan is a
# wedge: T1 increases from 0.3 s on the left to 2 s on the right, with these four inversion times at SNR
# 50, surrounded by noise.

values = torch.linspace(0.3, 2.0, 80)[:, None].expand(80, 60)
wedge = torch.stack((values, torch.ones(80, 60), torch.full((80, 60), 1.92)), dim=-1)
clean = torch.zeros(100, 80, len(times))
clean[10:90, 10:70] = model(wedge, protocol)
signal = Rician(sigma=1 / 50).draw(clean, seeded_generator(0, "scan"))
nib.save(nib.Nifti1Image(1000 * signal[:, :, None].numpy(), np.eye(4)), work / "scan.nii.gz")
main(
    [
        *("t1", f"{work}/scan.nii.gz", "--ti", "0.05", "0.4", "1.1", "2.5", "--tr", "2.55"),
        *("--weights", f"{work}/weights", "--method", "posterior", "-o", f"{work}/maps", "--no-figures"),
    ]
)

# %%

paths = (work / "maps").glob("sub-*/anat/*_T1map.nii.gz")
made = nib.load(next(one for one in paths if "desc" not in one.name)).get_fdata()[10:90, 10:70, 0]
figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
axis.plot(values[:, 0], np.nanmedian(made, axis=1), label="median over a column")
axis.fill_between(
    values[:, 0], *np.nanpercentile(made, (5, 95), axis=1), alpha=0.25, label="90 % of its voxels"
)
axis.plot(values[:, 0], values[:, 0], color="black", linewidth=0.8, label="truth")
axis.set_xlabel("true T1 [s]")
axis.set_ylabel("T1 [s]")
axis.legend(frameon=False)

# %%
# Before you use your own weights
# -------------------------------
#
# - ``unweight evaluate t1 -o scores --weights weights`` compares all methods on simulated data, and on
#   your own scan with ``--brain``.
# - Train longer than here: preset ``cpu`` takes about an hour on two cores.
# - Flow, chemical shift and reconstruction artefacts are not simulated, and the network was not trained
#   on them.
