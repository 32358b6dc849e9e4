"""Jobs for the tests of those who carry them out, and a command that only pretends to compute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bids.maps import made_up_maps
from tests.run.trees import inversions, put
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.bids.read import entities_of
from unweight.run.carry_out import CommandResult
from unweight.run.job import Job, Settings
from unweight.run.plan import plan_run
from unweight.run.planned import PlannedTask

NO_SETTINGS = Settings(
    root="bids",
    out="maps",
    options={},
    weights={},
    configuration="config-0.json",
    run="first",
    report=False,
)


def job_of(
    subject: str, root: Path = Path("bids"), out: Path = Path("maps"), task: PlannedTask | None = None
) -> Job:
    """Return a job for a subject; without a task there is nothing to do."""
    settings = replace(NO_SETTINGS, root=str(root), out=str(out))
    return Job(task=task or PlannedTask(subject=subject, session="", steps=()), settings=settings)


def planned_job(folder: Path, subject: str = "01", **settings: object) -> Job:
    """Return a job that maps an inversion recovery which is written to the disk."""
    root = folder / "bids"
    put(root, *inversions(subject))
    (task,) = plan_run(root, ("t1",), [subject]).tasks
    job = job_of(subject, root, folder / "maps", task)
    return replace(job, settings=replace(job.settings, **settings))  # type: ignore[arg-type]


@dataclass(kw_only=True)
class Pretended:
    """A command that writes maps of nothing.

    Attributes:
        said: What it says; it writes only if that is a success.
        calls: The words of each call.
        before: Is called first.
    """

    said: CommandResult = CommandResult(code=0, text="")  # noqa: RUF009 (frozen)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    before: Callable[[], object] = lambda: None

    def __call__(self, words: Sequence[str]) -> CommandResult:
        self.calls.append(tuple(words))
        self.before()
        if self.said.code == 0 and words[0] != "report":
            out, entities = Path(words[words.index("-o") + 1]), entities_of([Path(words[1])])
            write_maps(
                made_up_maps(voxels=(2, 2, 2)), out, entities, Provenance(sources=(), algorithm="none")
            )
        return self.said
