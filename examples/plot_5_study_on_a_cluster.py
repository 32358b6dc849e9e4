"""
A study on a cluster
====================

``unweight run`` is a BIDS App that maps all subjects of a dataset::

    unweight init
    unweight run bids_tree derivatives participant --dry-run
    unweight run bids_tree derivatives participant --workers 8 --memory 32
    unweight run bids_tree derivatives group
    unweight report derivatives

The same on a cluster, as a job array with one job per subject, or with persistent workers::

    unweight slurm bids_tree derivatives
    unweight run bids_tree derivatives participant --cluster slurm --workers 20 --memory 160

Compute nodes need no network access: the weights are part of the package.
"""

# %%
# Data
# ----
#
# Two simulated subjects, one slice each.

import contextlib
import tempfile
from pathlib import Path

from unweight.cli.main import main

work = Path(tempfile.mkdtemp(prefix="unweight-"))
main(["simulate", f"{work}/study", "--n-subjects", "2", "--slices", "1", "--quiet"])
study, out = work / "study/bids", work / "derivatives"

# %%
# Settings in a file
# ------------------
#
# ``unweight init`` writes ``unweight.toml`` with all settings, their defaults and comments. Change what
# you need and delete the rest; an unknown name is an error. Keep the file with the study.

with contextlib.chdir(work):
    main(["init"])
for line in (work / "unweight.toml").read_text().splitlines()[:24]:
    print(line)

# %%
# Planning
# --------
#
# ``--dry-run`` lists each subject with the maps that its images allow.

main(["run", str(study), str(out), "participant", "--dry-run"])

# %%
# Selected subjects
# -----------------
#
# ``--participant-label`` selects subjects, ``--only`` selects kinds of maps. A repeated call completes
# what is missing.

main(["run", str(study), str(out), "participant", "--participant-label", "001", "--only", "t1"])

# %%
# The remaining subjects. ``--workers`` and ``--memory`` limit the use of the machine.

main(["run", str(study), str(out), "participant", "--only", "t1", "--workers", "1"])

# %%
# Group level
# -----------
#
# Tables and a report of all subjects.

main(["run", str(study), str(out), "group"])

# %%
# On a cluster
# ------------
#
# ``unweight slurm`` prints the script of a job array with one job per subject. Check it, add your
# partition and account, and submit it with ``sbatch``. On PBS, SGE and LSF, ``--cluster`` of ``unweight
# run`` submits the jobs.

main(["slurm", str(study), str(out)])

# %%
# Results
# -------
#
# BIDS derivatives. ``unweight report derivatives`` adds a report for each subject, ``sub-001.html``,
# that opens offline. Check the voxel status there before averaging over subjects.

for path in sorted(out.glob("sub-*/anat/*T1map.nii.gz")):
    print(path.relative_to(out))

# %%
# Notes for clusters
# ------------------
#
# - All nodes need the same environment; :doc:`/install` describes the offline installation.
# - Use one thread per process if many subjects run in parallel: ``OMP_NUM_THREADS=1``.
# - Exit codes: 0, success; 1, some steps failed and the others are complete; 2, the command line or the
#   input is invalid; 3, a result could not be written. A job array can be set to continue after 1.
# - A subject with invalid input is reported in the log and does not stop the others.
