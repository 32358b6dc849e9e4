"""`unweight run … group`: tables and a page of all subjects."""

from unweight.bids.folders import is_folder
from unweight.cli.study.options import RunOptions
from unweight.cli.terminal import console, error_line
from unweight.core.errors import InputError, UsageError
from unweight.files.atomic import write_bytes_atomic
from unweight.report.study import study_page
from unweight.run.group import LabelTree, study_of, write_study
from unweight.run.record import check_logs

PAGE = "study.html"


def run_group(options: RunOptions) -> int:
    """Read what there is of all subjects, and write tables and page; 1 if some steps failed."""
    erode = options.erode or 0
    if erode < 0:
        raise UsageError(f"a region cannot be eroded {erode} times", remedy="Give 0 or more.")
    if options.labels is not None and not is_folder(options.labels):
        raise InputError("there is no such folder of labels", remedy="Check the path.", path=options.labels)
    check_logs(options.out_dir)
    labels = None if options.labels is None else LabelTree(folder=options.labels, erode=erode)
    study = study_of(options.out_dir, options.bids_dir, labels)
    written = [*write_study(options.out_dir, study), options.out_dir / PAGE]
    write_bytes_atomic(written[-1], study_page(study))
    screen = console(quiet=options.verbosity.quiet)
    for remark in study.remarks:
        error_line(remark)
    subjects = len({row.subject for row in study.qc})
    screen.print(f"{subjects} subjects, {len(study.qc)} maps, {len(study.failures)} failures")
    for path in written:
        screen.print(str(path))
    unmeasured = labels is not None and bool(study.qc) and not study.regions
    return 1 if study.failures or unmeasured else 0
