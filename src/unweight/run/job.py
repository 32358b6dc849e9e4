"""The job of a worker, as text: one visit, its steps, and how each is done."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from unweight.run.planned import PlannedStep, PlannedTask


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is the same for all visits of a run.

    Attributes:
        root: Of the BIDS tree.
        out: Of the results.
        options: Words for each command.
        weights: SHA-256 of the weights each command may use, by name.
        configuration: Name of the file that holds all this.
        run: Tells this run from others.
        report: Whether each subject gets a page.
        shared_assets: Whether the viewer is a file beside the pages.
    """

    root: str
    out: str
    options: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, Mapping[str, str]]
    configuration: str
    run: str
    report: bool = True
    shared_assets: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """One visit for one worker.

    Attributes:
        task: What is to be done.
        settings: How.
        wait: Whether to wait for another run that works on this visit.
    """

    task: PlannedTask
    settings: Settings
    wait: bool = False

    @property
    def root(self) -> Path:
        """Root of the BIDS tree."""
        return Path(self.settings.root)

    @property
    def out(self) -> Path:
        """Root of the results."""
        return Path(self.settings.out)

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a step.

    Attributes:
        name: Of the step; of the visit, if no step in particular is meant.
        pipeline: The command.
        state: `done`, `kept` (complete before), `failed`, or `busy` (another run works on it).
        reason: Why it failed.
        seconds: It took.
    """

    name: str
    pipeline: str
    state: str
    reason: str = ""
    seconds: float = 0.0


def job_from_json(text: str) -> Job:
    """Return what `Job.to_json` wrote."""
    content = json.loads(text)
    task, settings = content["task"], content["settings"]
    settings["options"] = {name: tuple(words) for name, words in settings["options"].items()}
    return Job(
        task=PlannedTask(
            subject=task["subject"],
            session=task["session"],
            steps=tuple(_step(item) for item in task["steps"]),
        ),
        settings=Settings(**settings),
        wait=content["wait"],
    )


def outcomes_to_json(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as one line."""
    return json.dumps([asdict(outcome) for outcome in outcomes])


def outcomes_from_json(text: str) -> tuple[Outcome, ...]:
    """Return what `outcomes_to_json` wrote."""
    return tuple(Outcome(**load) for load in json.loads(text))


def _step(located: dict[str, Any]) -> PlannedStep:
    inputs = {option: tuple(paths) for option, paths in located["inputs"].items()}
    words = {name: tuple(located.get(name, ())) for name in ("extra", "notes", "doubts")}
    return PlannedStep(**{**located, "inputs": inputs, **words})
