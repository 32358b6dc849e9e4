"""Time of the default T1 estimator, fit included, and of the published diffusion model, in one run.

A digital phantom of 240 x 240 voxels at SNR 50 with the seven published inversions, one slice and thirty.
The published model is 1,000 steps of ten draws per slice; one evaluation of its network is timed and
multiplied.
"""

import statistics
import time

import torch

from unweight.core.acquisition import Acquisition
from unweight.core.seeding import seeded_generator
from unweight.learn.t1.diffusor import published_unet
from unweight.learn.training.trainable import load_estimator
from unweight.nets.time_unet import TimeUNet
from unweight.phantom.digital import SliceGrid, digital_phantom
from unweight.phantom.facts import sphere_array
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.synth.protocols.standard import seven_inversions
from unweight.synth.simulate import simulate_phantom

REPEATS, SLICES = 7, 30
STEPS, DRAWS = 1000, 10


def slices(count: int) -> Acquisition:
    phantom = digital_phantom(
        sphere_array(5, 2, 3.0), grid=SliceGrid(shape=(240, 240, 1), voxel_mm=(1.0, 1.0, 5.0))
    )
    one = simulate_phantom(
        phantom,
        InversionRecovery(),
        seven_inversions().protocol,
        Rician(sigma=0.02),
        seeded_generator(0, "speed"),
    )
    return Acquisition(signal=one.signal.float().repeat(1, 1, count, 1), protocol=one.protocol)


def median_seconds(work: object, repeats: int) -> float:
    assert callable(work)
    work()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def main() -> None:
    estimator, card = load_estimator("t1-posterior")
    one, thirty = slices(1), slices(SLICES)
    single = median_seconds(lambda: estimator(one), REPEATS)
    volume = median_seconds(lambda: estimator(thirty), 3)
    network = TimeUNet(published_unet(7), generator=seeded_generator(0, "network")).eval()
    image = torch.randn(1, 10, 240, 240)
    with torch.no_grad():
        evaluation = median_seconds(lambda: network(image, torch.tensor([500.0])), 3)
    published = evaluation * STEPS * DRAWS
    print(f"{torch.get_num_threads()} threads; weights {card.name} version {card.version}, {card.preset}")
    print(f"one slice, fit and interval included: {single:.2f} s (median of {REPEATS})")
    print(f"{SLICES} slices: {volume:.1f} s (median of 3)")
    print(f"published network, one evaluation: {evaluation:.2f} s; {STEPS} steps x {DRAWS} draws: ", end="")
    print(f"{published / 3600:.1f} h, {published / single:,.0f} times one slice of ours")


if __name__ == "__main__":
    main()
