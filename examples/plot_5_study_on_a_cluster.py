"""
A study on a cluster
====================

A BIDS tree of many people, mapped by one program that behaves like any BIDS App::

    unweight init
    unweight run bids_tree derivatives participant --dry-run
    unweight run bids_tree derivatives participant --workers 8 --memory 32
    unweight run bids_tree derivatives group
    unweight report derivatives

and the same as an array of jobs, one for each person::

    unweight slurm bids_tree derivatives
    unweight run bids_tree derivatives participant --cluster slurm --workers 20 --memory 160

Nothing is fetched while it runs: the weights come with the package, so compute nodes need no network.
"""

# %%
# A study
# -------
#
# Two simulated people, one slice each.

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
# ``unweight init`` writes ``unweight.toml`` with every setting, its default and a comment. Change what
# you need, leave out the rest; an unknown name is an error. The file belongs to the study: keep it
# beside the data.

with contextlib.chdir(work):
    main(["init"])
for line in (work / "unweight.toml").read_text().splitlines()[:24]:
    print(line)

# %%
# What would be done?
# -------------------
#
# Look before a long run. Each person is listed with the maps that the images of the person allow.

main(["run", str(study), str(out), "participant", "--dry-run"])

# %%
# People
# ------
#
# ``--participant-label`` takes some of them, ``--only`` some of the maps. A call that is repeated does
# what is missing.

main(["run", str(study), str(out), "participant", "--participant-label", "001", "--only", "t1"])

# %%
# The rest. On a machine of your own, ``--workers`` and ``--memory`` say how much of it may be taken.

main(["run", str(study), str(out), "participant", "--only", "t1", "--workers", "1"])

# %%
# The group
# ---------
#
# What is about all people together.

main(["run", str(study), str(out), "group"])

# %%
# On a cluster
# ------------
#
# ``unweight slurm`` gives the script of a job array, one job for each person. Read it, put in your
# partition and account, and submit it with ``sbatch``. On PBS, SGE and LSF, ``--cluster`` of ``unweight
# run`` submits jobs itself.

main(["slurm", str(study), str(out)])

# %%
# What came out
# -------------
#
# Derivatives as BIDS names them. ``unweight report derivatives`` adds a page for each person,
# ``sub-001.html``, that opens without a network: look at the status of voxels there before you take a
# mean over people.

for path in sorted(out.glob("sub-*/anat/*T1map.nii.gz")):
    print(path.relative_to(out))

# %%
# What a cluster needs
# --------------------
#
# - One environment that all nodes see; :doc:`/install` tells how to make it without a network.
# - One thread an operation where many people run side by side: ``OMP_NUM_THREADS=1``.
# - Exit codes: 0 all done; 1 some failed and the others are done; 2 the call or the input cannot be
#   used; 3 a result could not be written. A job array can be set to continue after 1.
# - A person whose input cannot be used costs one paragraph in the log, not the study.
