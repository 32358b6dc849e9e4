"""What a run has planned: steps of a visit, and what is not done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from unweight import registry
from unweight.bids.derivatives.write import sidecar_path
from unweight.bids.names import BidsName


@final
@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One command on one set of images.

    Attributes:
        pipeline: The command.
        entities: That name what it writes.
        inputs: Files relative to the root of the tree, by the option they are given with; empty for none.
        extra: Further words of the command.
        voxels: Of one volume.
        volumes: How many there are.
        notes: Which images were chosen among several, and why.
        doubts: Why the command will refuse the images as they are: values that only its options can give.
        reused: Earlier commands of the visit whose map of the same images is taken, by the option it is
            given with.
        of: Command of the earlier step of the visit whose first map is its image; empty if its images are
            in the tree.
    """

    pipeline: str
    entities: Mapping[str, str]
    inputs: Mapping[str, tuple[str, ...]]
    extra: tuple[str, ...] = ()
    voxels: int = 0
    volumes: int = 0
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    reused: Mapping[str, str] = field(default_factory=dict)
    of: str = ""

    @property
    def name(self) -> str:
        """`sub-01_ses-a_t1`, `sub-01_ses-a_desc-T1map_segment`."""
        desc = {"desc": self.first[1]} if self.of else {}
        return BidsName(entities={**self.entities, **desc}, suffix=self.pipeline).stem

    @property
    def first(self) -> tuple[str, str]:
        """Suffix and description of the first image it writes."""
        suffix, desc = registry.pipeline(self.pipeline).first
        return suffix, registry.pipeline(self.of).first[0] if self.of else desc

    def words(self, root: Path, out: Path, options: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the words of the command, after `unweight`."""
        files = [
            word
            for option, paths in self.inputs.items()
            for word in (*((option,) if option else ()), *(str(root / path) for path in paths))
        ]
        return (self.pipeline, *files, "-o", str(out), *self.extra, *options)

    def map_words(self, out: Path) -> tuple[str, ...]:
        """Return the words that give the command the maps of earlier commands, in the results."""
        commands = {**self.reused, **({"": self.of} if self.of else {})}
        maps = {
            option: sidecar_path(out, self.entities, *registry.pipeline(command).first)
            for option, command in commands.items()
        }
        return tuple(
            word
            for option, path in maps.items()
            for word in (*((option,) if option else ()), str(path.with_suffix(".nii.gz")))
        )

    def source_of(self, option: str, steps: "Sequence[PlannedStep]") -> "PlannedStep | None":
        """Return the step whose map is given with an option, or None if it is not among the steps."""
        command = self.reused.get(option)
        return next((step for step in steps if step.pipeline == command and same_images(step, self)), None)

    def origin(self, steps: "Sequence[PlannedStep]") -> "PlannedStep | None":
        """Return the step whose first map is the image of this one, or None if there is none."""
        same = (step for step in steps if step.pipeline == self.of)
        return next((step for step in same if dict(step.entities) == dict(self.entities)), None)


@final
@dataclass(frozen=True, kw_only=True)
class Unmapped:
    """Something that is not done.

    Attributes:
        label: Of the visit or series.
        pipeline: The command that cannot be used; empty if it is none in particular.
        reason: Why.
        fault: Whether something is wrong with the files, and they are not merely of another kind.
    """

    label: str
    pipeline: str
    reason: str
    fault: bool


@final
@dataclass(frozen=True, kw_only=True)
class PlannedTask:
    """What is done for one visit, one step after the other."""

    subject: str
    session: str
    steps: tuple[PlannedStep, ...]

    @property
    def label(self) -> str:
        """`sub-01_ses-a`."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is done, and what is not."""

    tasks: tuple[PlannedTask, ...]
    refusals: tuple[Unmapped, ...]

    @property
    def steps(self) -> tuple[PlannedStep, ...]:
        """All steps."""
        return tuple(step for task in self.tasks for step in task.steps)


def same_images(step: PlannedStep, other: PlannedStep) -> bool:
    """Whether two steps take the same images, and name what they write alike."""
    return dict(step.entities) == dict(other.entities) and dict(step.inputs) == dict(other.inputs)
