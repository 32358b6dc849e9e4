"""What a run would do: for each visit the maps that can be made, and why others cannot.

Planning looks at names, sizes and one header for each series, and at nothing else: a thousand subjects take
a second. What only a sidecar or a voxel can tell is said when the series is read.

A command that needs a map which an earlier command of the visit computes of the same images comes after it
and takes the map from the results, where the settings of both lead to the map that it would compute itself
(`registry.records.Reuse`). Segmentations come last: each is one of the first map of an earlier step.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unweight import registry
from unweight.bids.collection import Collection, Unreadable
from unweight.bids.field_maps import field_map_for
from unweight.bids.nifti.volume import count_volumes, open_grid
from unweight.bids.read import KEPT_ENTITIES, entities_of
from unweight.bids.series.weighted import CONTRASTS
from unweight.core.errors import InputError, UnweightError
from unweight.core.text import printable
from unweight.registry.records import Pipeline, Reuse
from unweight.run.filter_file import EVERYTHING, SeriesFilter
from unweight.run.planned import Plan, PlannedStep, PlannedTask, Unmapped, same_images
from unweight.run.visit import Visit, visits_of, weighted_images

# The folders of an absolute path; in `1/s` and `https://` there is none.
FOLDERS = re.compile(r"(?<![\w/.])/(?:[^/\s'\":;,]+/)+")
# The name of T1, T2 and PD from weighted images where the same visit has maps of these names already.
BESIDE_OTHERS = "weighted"
SEVERAL_ECHOES = "MEGRE"
SEGMENT = "segment"


def plan_run(
    root: Path,
    wanted: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    sessions: Sequence[str] | None = None,
    *,
    series_filter: SeriesFilter = EVERYTHING,
    follow_links: bool = False,
    options: Mapping[str, Sequence[str]] | None = None,
) -> Plan:
    """Find out what can be done.

    Args:
        root: Of the BIDS tree.
        wanted: Commands; None for all.
        subjects: Labels without `sub-`; None for all.
        sessions: Labels without `ses-`; None for all.
        series_filter: Which series may be used.
        follow_links: Whether images may lie outside the tree.
        options: Words for each command, on which it depends whose maps are taken; None for none.

    Raises:
        InputError: There is no such folder.
    """
    chosen = [registry.pipeline(name) for name in (registry.usual_commands() if wanted is None else wanted)]
    tasks: list[PlannedTask] = []
    refusals: list[Unmapped] = []
    for item in visits_of(root, subjects, sessions, follow_links=follow_links):
        if isinstance(item, Unreadable):
            refusals.append(
                Unmapped(
                    label=item.label, pipeline="", reason=relative_message(item.error, root), fault=True
                )
            )
            continue
        visit = replace(item, series=tuple(filter(series_filter.keeps, item.series)))
        if item.series and not visit.series:
            reason = "the filter file excludes all of its series"
            refusals.append(Unmapped(label=visit.label, pipeline="", reason=reason, fault=False))
            continue
        result = list(
            _told_apart([entry for item in chosen for entry in registry.load(item.plan)(item, root, visit)])
        )
        steps = _with_maps([item for item in result if isinstance(item, PlannedStep)], options or {})
        if SEGMENT in (item.command for item in chosen):
            steps = (*steps, *_segmentations(steps))
        why = [item for item in result if isinstance(item, Unmapped)]
        if steps:
            tasks.append(PlannedTask(subject=visit.subject, session=visit.session, steps=steps))
        refusals.extend(
            why or (() if steps or visit.spoilt else (_nothing(visit, [item.command for item in chosen]),))
        )
    return Plan(tasks=tuple(tasks), refusals=tuple(_printable(refusal, root) for refusal in refusals))


def _told_apart(steps: Sequence[PlannedStep | Unmapped]) -> Iterator[PlannedStep | Unmapped]:
    """Refuse steps that would write under one name: which of them is meant cannot be known."""
    names = [entry.name for entry in steps if isinstance(entry, PlannedStep)]
    for item in steps:
        if isinstance(item, Unmapped) or names.count(item.name) == 1:
            yield item
            continue
        first = next(path for paths in item.inputs.values() for path in paths)
        reason = f"maps of {first} and of another series would have the same name; exclude one of them"
        yield Unmapped(label=item.name, pipeline=item.pipeline, reason=reason, fault=True)


def _with_maps(
    steps: Sequence[PlannedStep], options: Mapping[str, Sequence[str]]
) -> tuple[PlannedStep, ...]:
    """Return the steps of a visit; those that take maps of others have their names, and come last."""
    result = []
    for step in steps:
        reused = {
            reuse.option: reuse.command
            for reuse in registry.pipeline(step.pipeline).reuses
            if any(source.pipeline == reuse.command and same_images(source, step) for source in steps)
            and _same_map(reuse, options.get(reuse.command, ()), options.get(step.pipeline, ()), step.extra)
        }
        result.append(replace(step, reused=reused))
    return tuple(sorted(result, key=lambda step: bool(step.reused)))


def _segmentations(steps: Sequence[PlannedStep]) -> Iterator[PlannedStep]:
    """Give a segmentation for each step whose first map shows the tissues."""
    for step in steps:
        if registry.pipeline(step.pipeline).segmented:
            yield PlannedStep(
                pipeline=SEGMENT,
                entities=step.entities,
                inputs={},
                voxels=step.voxels,
                volumes=1,
                of=step.pipeline,
            )


def _same_map(reuse: Reuse, earlier: Sequence[str], later: Sequence[str], extra: Sequence[str]) -> bool:
    """Whether the options of two commands lead to the same map, which the later one uses."""
    before, after = _by_option(earlier), _by_option((*later, *extra))
    decisive = {name: values for name, values in before.items() if name not in reuse.indifferent}
    wanted = {name: values for name, values in after.items() if name in reuse.shared}
    return decisive == wanted and not after.keys() & {*reuse.excluded_by}


def _by_option(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of each option in words of a command, `--te 0.004 0.008` or `--te=0.004`."""
    values: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            values[name] = (*values.get(name, ()), *((value,) if equals else ()))
        else:
            values[name] = (*values.get(name, ()), word)
    return values


def _printable(refusal: Unmapped, root: Path) -> Unmapped:
    return replace(refusal, label=redact_paths(refusal.label), reason=redact_paths(refusal.reason, root))


def relative_message(error: UnweightError, root: Path) -> str:
    """Return what an error says in one line, with paths within the tree only."""
    line = " ".join(str(error).split())
    return redact_paths(line, root)


def redact_paths(text: str, *roots: Path) -> str:
    """Return a text without the folders of paths, but for those below some roots, and of plain characters.

    Folders tell of people and machines; other characters can move the cursor of a terminal.
    """
    for root in roots:
        for form in {str(root), str(root.absolute()), str(root.resolve())}:
            if len(form) > 1:
                text = text.replace(f"{form}/", "").replace(form, ".")
    return printable(FOLDERS.sub("", text))


def nameless_word(word: str) -> str:
    """Return a word of a command without the folders of a path."""
    return Path(word).name if word.startswith(("/", "~")) else word


def _nothing(visit: Visit, wanted: Sequence[str]) -> Unmapped:
    unused = f"has {', '.join(visit.suffixes)}; none is used by {', '.join(wanted)}"
    reason = unused if visit.suffixes else "has no images"
    return Unmapped(label=visit.label, pipeline="", reason=reason, fault=False)


def plan_nothing(pipeline: Pipeline, root: Path, visit: Visit) -> Iterator[PlannedStep | Unmapped]:
    """Plan nothing: the command takes maps of other steps."""
    yield from ()


def plan_inversion_recovery(
    pipeline: Pipeline, root: Path, visit: Visit
) -> Iterator[PlannedStep | Unmapped]:
    """Plan a command for inversion recovery, as magnitudes or with its sign."""
    for entry in _series(pipeline, visit):
        usable = [part for part in ("", "mag", "real") if part in entry.files]
        yield _step(pipeline, root, entry, _chosen(entry, (tuple(usable),)))


def plan_weighted(pipeline: Pipeline, root: Path, visit: Visit) -> Iterator[PlannedStep | Unmapped]:
    """Plan a command for the T1w, T2w and FLAIR of a visit together."""
    series = _series(pipeline, visit)
    if not series or visit.spoilt & {*pipeline.suffixes}:
        return
    try:
        choice = weighted_images(series)
    except InputError as error:
        yield Unmapped(
            label=visit.label,
            pipeline=pipeline.command,
            reason=f"{error.problem}; two of T1w, T2w and FLAIR are needed",
            fault=False,
        )
        return
    images = {name: entry.path for name, entry in choice.entries.items()}
    inputs = {f"--{name.lower()}": (_relative(root, path),) for name, path in images.items()}
    taken = visit.has(*_same_maps(pipeline))
    entities = dict(entities_of(tuple(images.values())))
    extra = ("--rec", BESIDE_OTHERS) if taken else ()
    if taken:
        entities["rec"] = BESIDE_OTHERS
    doubts = tuple(f"{name}: {item.problem}" for name, item in choice.assessments.items() if item.problem)
    step = PlannedStep(
        pipeline=pipeline.command,
        entities=entities,
        inputs=inputs,
        extra=extra,
        volumes=len(images),
        notes=choice.lines() if choice.left_out else (),
        doubts=doubts,
    )
    yield _sized(step, root, visit.label)


def _same_maps(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the suffixes of the series whose maps have names that this command gives, too."""
    names = (pipeline.first[0], *pipeline.marks)
    others = [item for item in registry.pipelines() if item != pipeline and item.first[0] in names]
    return tuple(suffix for item in others for suffix in item.suffixes)


def plan_magnitudes(pipeline: Pipeline, root: Path, visit: Visit) -> Iterator[PlannedStep | Unmapped]:
    """Plan a command for magnitudes, or what they can be computed from."""
    for entry in _series(pipeline, visit):
        yield _step(pipeline, root, entry, _chosen(entry, (("mag",), ("",), ("real", "imag"))))
    yield from _single_echo(pipeline, visit)


def plan_fit(pipeline: Pipeline, root: Path, visit: Visit) -> Iterator[PlannedStep | Unmapped]:
    """Plan the fit of a signal model, with the B1 map of the visit if the model takes one.

    Beside maps of an earlier pipeline its own have `rec` in their names; weighted images make way
    themselves.
    """
    earlier = registry.pipelines()[: registry.pipelines().index(pipeline)]
    rivals = [
        item for item in earlier if item.first == pipeline.first and not item.plan.endswith("weighted")
    ]
    taken = visit.has(*(suffix for item in rivals for suffix in item.suffixes))
    for entry in _series(pipeline, visit):
        step = _with_b1_map(_step(pipeline, root, entry, _chosen(entry, (("mag",), ("",)))), root, visit)
        if taken and isinstance(step, PlannedStep):
            step = replace(
                step,
                entities={**step.entities, "rec": pipeline.command},
                extra=(*step.extra, "--rec", pipeline.command),
            )
        yield step


def _with_b1_map(step: PlannedStep | Unmapped, root: Path, visit: Visit) -> PlannedStep | Unmapped:
    """Return a fit with the B1 map that is for its images, or why it cannot be chosen."""
    if isinstance(step, Unmapped):
        return step
    suffix = registry.model_of_command(step.pipeline).b1_map
    images = [root / path for path in step.inputs[""]]
    try:
        b1_map = field_map_for(root, visit.folder, suffix, images) if suffix else None
    except InputError as error:
        return Unmapped(
            label=step.name, pipeline=step.pipeline, reason=relative_message(error, root), fault=True
        )
    if b1_map is None:
        return step
    given = replace(step, inputs={**step.inputs, "--b1-map": (_relative(root, b1_map),)})
    return _sized(given, root, step.name)


def plan_complex(pipeline: Pipeline, root: Path, visit: Visit) -> Iterator[PlannedStep | Unmapped]:
    """Plan a command for magnitude and phase; for magnitudes alone if it has options for that."""
    for entry in _series(pipeline, visit):
        paths = _chosen(entry, (("mag", "phase"), ("", "phase"), ("real", "imag")))
        if paths:
            yield _step(pipeline, root, entry, paths)
        elif pipeline.without_phase:
            yield _step(pipeline, root, entry, _chosen(entry, (("mag",), ("",))), pipeline.without_phase)
        elif "phase" in entry.files or {"real", "imag"} & entry.files.keys():
            yield _step(pipeline, root, entry, ())
        else:
            yield Unmapped(
                label=entry.label, pipeline=pipeline.command, reason="has no phase images", fault=False
            )
    yield from _single_echo(pipeline, visit)


def _series(pipeline: Pipeline, visit: Visit) -> tuple[Collection, ...]:
    """Return the series of a visit that a command takes."""
    return tuple(entry for entry in visit.series if entry.suffix in pipeline.suffixes)


def _single_echo(pipeline: Pipeline, visit: Visit) -> Iterator[Unmapped]:
    """Say why the phase of a single gradient echo is not enough, where there are no series of several."""
    if SEVERAL_ECHOES not in pipeline.suffixes or visit.has(*pipeline.suffixes):
        return
    for entry in visit.series:
        if "phase" in entry.files and entry.suffix in CONTRASTS:
            reason = f"has one echo; {pipeline.command} needs several ({SEVERAL_ECHOES})"
            yield Unmapped(label=entry.label, pipeline=pipeline.command, reason=reason, fault=False)


def _chosen(collection: Collection, wishes: Sequence[tuple[str, ...]]) -> tuple[Path, ...]:
    """Return the files of the first set of parts that is there."""
    for parts in wishes:
        if all(part in collection.files for part in parts):
            return tuple(path for part in parts for path in collection.files[part])
    return ()


def _step(
    pipeline: Pipeline,
    root: Path,
    collection: Collection,
    paths: tuple[Path, ...],
    extra: tuple[str, ...] = (),
) -> PlannedStep | Unmapped:
    command, fewest = pipeline.command, pipeline.fewest
    if len(paths) == 1:
        volumes = _volumes_of(paths[0], at_least=fewest)
    else:
        volumes = max((len(files) for files in collection.files.values()), default=0)
    problem = ""
    if not paths:
        there = ", ".join(f"{len(files)} {part or 'magnitude'}" for part, files in collection.files.items())
        problem = f"has no images that {command} can use ({there})"
    elif volumes < fewest:
        problem = f"has {volumes} image{'s' if volumes != 1 else ''}; {command} needs {fewest} at least"
    if problem:
        return Unmapped(label=collection.label, pipeline=command, reason=problem, fault=False)
    step = PlannedStep(
        pipeline=command,
        entities={key: label for key, label in collection.entities.items() if key in KEPT_ENTITIES},
        inputs={"": tuple(_relative(root, path) for path in paths)},
        extra=extra,
        volumes=volumes if len(paths) == 1 else len(paths),
    )
    return _sized(step, root, collection.label)


def _volumes_of(path: Path, at_least: int) -> int:
    """Return how many volumes the header of a file announces; enough of one that cannot be read."""
    try:
        return max(1, count_volumes(path))
    except UnweightError:
        return at_least  # `_sized` refuses it with the reason


def _sized(step: PlannedStep, root: Path, label: str) -> PlannedStep | Unmapped:
    """Return a step with the size of its images, or why they cannot be read."""
    paths = [root / path for given in step.inputs.values() for path in given]
    empty = [path for path in paths if path.stat().st_size == 0]
    if empty:
        reason = f"{_relative(root, empty[0])} is empty (0 bytes)"
        if len(empty) > 1:
            reason += f", and {len(empty) - 1} more"
        return Unmapped(label=label, pipeline=step.pipeline, reason=reason, fault=True)
    try:
        shape = open_grid(paths[0]).shape
    except UnweightError as error:
        return Unmapped(
            label=label, pipeline=step.pipeline, reason=relative_message(error, root), fault=True
        )
    return replace(step, voxels=math.prod(shape))


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
