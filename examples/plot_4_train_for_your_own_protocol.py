"""
Train for your own protocol
===========================

The default network for T1 takes any inversion times within the range on its card. To sharpen it for yours, or to train
one of the published systems, which know a single protocol each, one command is enough::

    unweight train t1-posterior -o weights --ti 0.05 0.4 1.1 2.5 --tr 2.55 --from shipped --minutes 10
    unweight t1 scan.nii.gz --ti 0.05 0.4 1.1 2.5 --tr 2.55 --weights weights -o maps

It needs no data of yours: it learns from simulated heads. With ``--like dicom_folder`` the timings are taken from your
files. A training that is stopped goes on when it is called again.

Below is the same from Python, with heads, slabs and steps cut down until it runs in seconds. What comes out is a
working network, not a good one.
"""

# %%
# A recipe
# --------
#
# All that is needed to train again is one frozen object. It is written to the card of the weights.

import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from unweight.cli.main import main
from unweight.cli.recipe_choice import with_steps
from unweight.core.acquisition import Acquisition
from unweight.core.seeding import seeded_generator
from unweight.learn.assemble import load_estimator
from unweight.learn.lesson import Heads, Listener, teach
from unweight.learn.presets import recipe_for
from unweight.learn.training import Step
from unweight.learn.weights import load_weights, save_weights
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.signals.precision import cramer_rao_bound
from unweight.synth.procedural_head import procedural_head
from unweight.synth.protocols import four_inversions

times, repetition = (0.05, 0.40, 1.10, 2.50), 2.55
recipe = recipe_for("t1-posterior", "cpu").for_protocol(times, repetition, 0.0)
recipe = with_steps(replace(recipe, n_slabs=4, slabs=replace(recipe.slabs, specks=False)), 30)
print(recipe.plan)

# %%
# Is the protocol any good?
# -------------------------
#
# Ask before you train. The Cramér–Rao bound says how well any unbiased method can do in one voxel.

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
# One to train on, another to score and to calibrate on; never the same. ``--heads brainweb_folder`` takes BrainWeb's
# crisp heads instead, which are better to learn from.


def head(name: str):
    """Draw a thin slab of a head."""
    return procedural_head(
        seeded_generator(0, name), shape=(180, 216, 24), voxel_mm=(0.5, 0.5, 0.5), centre_mm=(0.0, -16.0, 12.0)
    )


heads = Heads(train=(head("a"),), validation=(head("b"),))

# %%
# Training
# --------
#
# It starts from the weights of the package, so that little has to be learned anew. Whoever listens is told of each
# check.

losses: list[tuple[int, float]] = []


class Notes(Listener):
    """Writes down the loss."""

    def making(self, what: str) -> None:
        """Hear that slabs are made."""

    def step(self, step: Step) -> None:
        """Hear of the training."""
        losses.append((step.index, step.loss))


start, _ = load_weights("t1-posterior")
work = Path(tempfile.mkdtemp(prefix="unweight-"))
tensors, card = teach(
    recipe, heads, device=torch.device("cpu"), folder=work / "training", report=Notes(), start=start
)
save_weights(work / "weights", tensors, card, half=True)
for name, value in card.metrics.items():
    print(f"{name:28} {value:.3f}")

# %%
# The share of held-out voxels inside their interval is on the card, whatever it came out as. If it is far from 0.9, the
# training was too short or the heads too few.

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.plot(*zip(*losses, strict=True), marker="o")
axis.set_xlabel("step")
axis.set_ylabel("loss")

# %%
# Use
# ---
#
# The new weights are taken from their folder; the card goes with them, and its ranges are checked.

main(["simulate", f"{work}/study", "--slices", "1", "--quiet"])
