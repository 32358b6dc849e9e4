"""`unweight run … group`: tables and a page of all subjects."""

import argparse

from unweight.bids.folders import is_folder
from unweight.cli.terminal import console, error_line
from unweight.core.errors import InputError, UsageError
from unweight.files.atomic import write_bytes_atomic
from unweight.report.study import study_page
from unweight.run.group import LabelTree, study_of, write_study
from unweight.run.record import check_logs

PAGE = "study.html"


def run_group(arguments: argparse.Namespace) -> int:
    """Read what there is of all subjects, and write tables and page; 1 if some steps failed."""
    erode = arguments.erode or 0
    if erode < 0:
        raise UsageError(f"a region cannot be eroded {erode} times", remedy="Give 0 or more.")
    if arguments.labels is not None and not is_folder(arguments.labels):
        raise InputError(
            "there is no such folder of labels", remedy="Check the path.", path=arguments.labels
        )
    check_logs(arguments.out_dir)
    labels = None if arguments.labels is None else LabelTree(folder=arguments.labels, erode=erode)
    study = study_of(arguments.out_dir, arguments.bids_dir, labels)
    written = [*write_study(arguments.out_dir, study), arguments.out_dir / PAGE]
    write_bytes_atomic(written[-1], study_page(study))
    screen = console(quiet=arguments.quiet)
    for remark in study.remarks:
        error_line(remark)
    subjects = len({row.subject for row in study.qc})
    screen.print(f"{subjects} subjects, {len(study.qc)} maps, {len(study.failures)} failures")
    for path in written:
        screen.print(str(path))
    unmeasured = labels is not None and bool(study.qc) and not study.regions
    return 1 if study.failures or unmeasured else 0
