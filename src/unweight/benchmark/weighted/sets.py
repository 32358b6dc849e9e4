"""What map methods are tried on: simulated examinations of heads that no training has seen.

Stacks of axial slices (`benchmark.weighted.heads`) under T1w, T2w and FLAIR at an SNR of 40 to 80 each
(95th percentile over noise), tissue from the literature (`TissuePrior`), gains drawn for each image. The
same draw of the same head has the same tissue, fields and noise in `internal` and `protocols`, so that
these differ by timings alone.

    internal    protocols as in a training: no image is held out (`synth.protocols.prior`)
    protocols   all three images are held out
    field       2.2 T, between the fields of the training; protocols as in `internal`
    lesions     plaques of multiple sclerosis, and tumours with oedema; protocols as in `internal`
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.benchmark.weighted.field import BetweenFields
from unweight.benchmark.weighted.groups import LESIONS, TISSUE_NAMES, tissue_of
from unweight.benchmark.weighted.heads import FACTOR, MapsHead
from unweight.core.errors import UsageError
from unweight.core.examination import Examination
from unweight.core.seeding import seeded_generator
from unweight.core.weighting import Readout
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.lesions import PlaqueLoad, with_plaques, with_tumour
from unweight.synth.protocols.prior import ContrastPrior, draw_contrasts, is_held_out
from unweight.synth.protocols.standard import Scan
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.simulate_weighted import Examined, ScannerPrior, examine, weighting_of
from unweight.synth.tissue.prior import Prior, TissuePrior

INTERNAL, PROTOCOLS, FIELD, LESIONED = "internal", "protocols", "field", "lesions"
FIELDS = (1.5, 3.0)
READOUTS = (Readout.MPRAGE, Readout.SPIN_ECHO)  # of T1w
UNSEEN_FIELD = 2.2
HEALTHY, PLAQUES, TUMOURS = "healthy", "plaques", "tumours"
N_TRIES = 10_000
N_PLACES = 50  # tries to place a lesion so that the slices show it
LEAST_LESION = 20  # voxels of pure lesion in a stack
SCANNER = ScannerPrior(measurement=MeasurementPrior(snr=(40.0, 80.0), moving=0.0, rounding=0.0), beside=0.0)
# T1 is that of one exponential, as every method here defines it (docs/decisions/0012).
TISSUE: Prior = TissuePrior(short=None)
Contrasts = tuple[Scan, Scan, Scan]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapsTrial:
    """One examination to map, with its truth.

    Attributes:
        examination: What a method gets; its mask is what is scored.
        truth: T1 [s], T2 [s] and PD relative to CSF.
        tissue: Place of each voxel in TISSUE_NAMES; −1 outside the mask.
        kinds: What it is: field, readout of T1w, and what ails the head.
    """

    examination: Examination
    truth: Float[Tensor, "x y slices 3"]
    tissue: Int[Tensor, "x y slices"]
    kinds: tuple[str, str, str]

    @property
    def disease(self) -> str:
        """What ails the head."""
        return self.kinds[2]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapsSet:
    """Trials that are scored together, each made when it is asked for: together they fill a memory.

    Attributes:
        name: Of the set in the table of scores.
        n_trials: How many.
        make: Makes the trial of a number, the same one each time.
    """

    name: str
    n_trials: int
    make: Callable[[int], MapsTrial]

    def __post_init__(self) -> None:
        if self.n_trials < 1:
            raise UsageError(f"a set called {self.name} with nothing in it")

    def trials(self) -> Iterator[MapsTrial]:
        """Make one trial after the other."""
        return (self.make(number) for number in range(self.n_trials))


def trained_contrasts(prior: ContrastPrior, generator: torch.Generator) -> Contrasts:
    """Draw a protocol that a training may draw: none of its images is held out."""
    for _ in range(N_TRIES):
        scans = draw_contrasts(prior, generator)
        if not any(is_held_out(weighting_of(scan)) for scan in scans):
            return scans
    raise UsageError("this prior draws no protocol that is not held out")


def held_out_contrasts(prior: ContrastPrior, generator: torch.Generator) -> Contrasts:
    """Draw a protocol of which no training has seen an image.

    Args:
        prior: At one field.
        generator: For the draws, of which for each image the first that is held out is taken.

    Raises:
        UsageError: The prior has several fields, or draws none.
    """
    if len(prior.field_strengths) != 1:
        raise UsageError("images of one examination are of one field", remedy="Give one field strength.")
    chosen: list[Scan | None] = [None, None, None]
    for _ in range(N_TRIES):
        for place, scan in enumerate(draw_contrasts(prior, generator)):
            if chosen[place] is None and is_held_out(weighting_of(scan)):
                chosen[place] = scan
        t1w, t2w, flair = chosen
        if t1w is not None and t2w is not None and flair is not None:
            return t1w, t2w, flair
    raise UsageError("this prior draws no protocol that is held out")


def internal_set(heads: Sequence[MapsHead], n_draws: int, n_slices: int) -> MapsSet:
    """Return heads nobody has seen under protocols as in a training."""
    return _healthy_set(INTERNAL, heads, (n_draws, n_slices), trained_contrasts)


def protocols_set(heads: Sequence[MapsHead], n_draws: int, n_slices: int) -> MapsSet:
    """Return the same heads and tissue under protocols that no training has seen."""
    return _healthy_set(PROTOCOLS, heads, (n_draws, n_slices), held_out_contrasts)


def field_set(heads: Sequence[MapsHead], n_draws: int, n_slices: int) -> MapsSet:
    """Return heads at a field that no training has seen."""

    def make(number: int) -> MapsTrial:
        place, draw = divmod(number, n_draws)
        prior = _prior_at(UNSEEN_FIELD, READOUTS[draw % 2])
        scans = trained_contrasts(prior, _generator(FIELD, place, draw, "protocol"))
        tissue = BetweenFields(prior=TISSUE)
        return _trial(heads[place].stack(n_slices), scans, tissue, (FIELD, place, draw), HEALTHY)

    return MapsSet(name=FIELD, n_trials=len(heads) * n_draws, make=make)


def lesions_set(heads: Sequence[MapsHead], n_draws: int, n_slices: int) -> MapsSet:
    """Return heads with plaques, and as many with a tumour; the slices show some of it.

    Raises:
        UsageError: No lesion lies in the slices, however often it is placed.
    """

    def make(number: int) -> MapsTrial:
        place, rest = divmod(number, 2 * n_draws)
        ill, draw = divmod(rest, n_draws)
        disease = (PLAQUES, TUMOURS)[ill]
        scans = trained_contrasts(_prior_of(draw), _generator(LESIONED, place, rest, "protocol"))
        generator = _generator(LESIONED, place, rest, "lesions")
        for _ in range(N_PLACES):
            anatomy = _with_lesions(heads[place], disease, generator).stack(n_slices)
            trial = _trial(anatomy, scans, TISSUE, (LESIONED, place, rest), disease)
            shown = sum(int((trial.tissue == TISSUE_NAMES.index(name)).sum()) for name in LESIONS)
            if shown >= LEAST_LESION:
                return trial
        raise UsageError(f"no {disease} in {n_slices} slices", remedy="Ask for more slices.")

    return MapsSet(name=LESIONED, n_trials=2 * len(heads) * n_draws, make=make)


def _healthy_set(
    name: str,
    heads: Sequence[MapsHead],
    extent: tuple[int, int],
    contrasts: Callable[[ContrastPrior, torch.Generator], Contrasts],
) -> MapsSet:
    n_draws, n_slices = extent

    def make(number: int) -> MapsTrial:
        place, draw = divmod(number, n_draws)
        scans = contrasts(_prior_of(draw), _generator(name, place, draw, "protocol"))
        return _trial(heads[place].stack(n_slices), scans, TISSUE, (INTERNAL, place, draw), HEALTHY)

    return MapsSet(name=name, n_trials=len(heads) * n_draws, make=make)


def _prior_of(draw: int) -> ContrastPrior:
    """Return the prior of a draw: of four in a row there are two at each field, one of them an MPRAGE."""
    return _prior_at(FIELDS[draw % 2], READOUTS[draw // 2 % 2])


def _prior_at(field_strength: float, readout: Readout) -> ContrastPrior:
    return ContrastPrior(field_strengths=(field_strength,), mprage=float(readout is Readout.MPRAGE))


def _with_lesions(head: MapsHead, disease: str, generator: torch.Generator) -> MapsHead:
    if disease == PLAQUES:
        return head.with_anatomy(with_plaques(head.anatomy, generator, PlaqueLoad()))
    return head.with_anatomy(with_tumour(head.anatomy, generator))


def _generator(name: str, head: int, draw: int, purpose: str) -> torch.Generator:
    return seeded_generator(0, "evaluation", "maps", name, head, draw, purpose)


def _trial(
    anatomy: Anatomy, scans: Contrasts, prior: Prior, seed: tuple[str, int, int], disease: str
) -> MapsTrial:
    """Draw tissue and scan."""
    field = scans[0].protocol.field_strength
    tissue = prior.draw(_generator(*seed, "tissue"), 3.0 if field is None else field)
    examined = examine(anatomy, FACTOR, tissue, scans, _generator(*seed, "scan"), SCANNER)
    return MapsTrial(
        examination=examined.examination,
        truth=examined.truth,
        tissue=tissue_of(examined),
        kinds=(*_scanned(examined), disease),
    )


def _scanned(examined: Examined) -> tuple[str, str]:
    """Return the field and the readout of T1w, as groups are called."""
    first = examined.examination.images[0].weighting.readout
    name = "MPRAGE" if first is Readout.MPRAGE else "spin echo"
    return f"{examined.examination.field_strength:g} T", f"T1w {name}"
