import json
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from tests.run.trees import inversions, put
from unweight.cli.main import main, parser

CAPTURE = pytest.CaptureFixture[str]
FAKE = '#!/usr/bin/env bash\nfor word in "$@"; do echo "$word"; done\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "my study"
    for subject in ("01", "02", "03", "04", "05"):
        put(root, *inversions(subject))
    put(root, "sub-06_bold")
    return root


def written(tree: Path, *words: str) -> str:
    script = tree.parent / "job.sbatch"
    out = tree.parent / "maps"
    assert main(["slurm", str(tree), str(out), "-o", str(script), "--quiet", *words]) == 0
    text = script.read_text()
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    return text


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def words_of_job(tree: Path, number: int) -> list[str]:
    """Run one job of the array, where `unweight` only tells what it was called with."""
    program = tree.parent / "bin" / "unweight"
    program.parent.mkdir(exist_ok=True)
    program.write_text(FAKE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(tree.parent / "job.sbatch")],
        env={**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": str(number)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_each_job_does_its_subjects(tree: Path) -> None:
    text = written(tree, "--per-job", "2", "--only", "t1", "--set", "t1.method=ml", "--no-report")
    assert "--array=0-2" in directives(text)
    done = []
    for number in range(3):
        words = words_of_job(tree, number)
        arguments = parser().parse_args(words)
        assert arguments.bids_dir == tree and arguments.out_dir == tree.parent / "maps"
        assert (arguments.level, arguments.workers, arguments.only) == ("participant", 1, ["t1"])
        assert arguments.settings == ["t1.method=ml"] and arguments.no_report
        assert arguments.memory > 0
        done.append(arguments.subjects)
    assert done == [["01", "02"], ["03", "04"], ["05"]]


def test_what_the_batch_system_is_told(tree: Path) -> None:
    text = written(
        tree,
        *("--walltime", "01:00:00", "--at-once", "3", "--queue", "long", "--account", "brain"),
        *("--memory", "4", "--gpu", "--directive=--constraint=intel"),
    )
    assert directives(text) == [
        *("--job-name=unweight", "--array=0-4%3", "--cpus-per-task=1", "--mem=4000M", "--time=01:00:00"),
        *("--partition=long", "--account=brain", "--gres=gpu:1", "--constraint=intel"),
    ]
    assert "--gpu" in words_of_job(tree, 0)


def test_time_and_memory_are_estimated_with_room(tree: Path) -> None:
    found = dict(one.removeprefix("--").split("=") for one in directives(written(tree)))
    hours, minutes, _ = (int(part) for part in found["time"].split(":"))
    assert 60 * hours + minutes >= 15
    assert int(found["mem"].removesuffix("M")) >= 1.5 * 512
    assert float(words_of_job(tree, 0)[words_of_job(tree, 0).index("--memory") + 1]) >= 0.5


def test_settings_of_a_file_reach_the_jobs(tree: Path) -> None:
    config = tree.parent / "settings.toml"
    config.write_text('[run]\nqueue = "long"\n[t1]\nmethod = "ml"\n')
    assert "--partition=long" in directives(written(tree, "--config", str(config)))
    assert parser().parse_args(words_of_job(tree, 0)).config == config


def test_the_script_is_shown_where_no_file_is_named(tree: Path, capsys: CAPTURE) -> None:
    assert main(["slurm", str(tree), "maps[a]"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("#!/usr/bin/env bash\n#SBATCH --job-name=unweight\n")
    assert shlex.quote(str(Path("maps[a]").absolute())) in shown


@pytest.mark.parametrize(("option", "value"), [("--per-job", "0"), ("--at-once", "0")])
def test_no_subjects_or_no_jobs_are_refused(tree: Path, capsys: CAPTURE, option: str, value: str) -> None:
    assert main(["slurm", str(tree), "maps", option, value]) == 2
    assert "one job must run at a time" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["run.cluster=slurm", "run.scheduler=tcp://127.0.0.1:9"])
def test_jobs_that_would_start_workers_are_refused(tree: Path, capsys: CAPTURE, setting: str) -> None:
    assert main(["slurm", str(tree), "maps", "--set", setting]) == 2
    assert "would start its own workers" in capsys.readouterr().err


def test_a_tree_with_nothing_to_do_is_said(tree: Path, capsys: CAPTURE) -> None:
    assert main(["slurm", str(tree), "maps", "--participant-label", "06"]) == 2
    assert "no supported image series was found" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--queue", "--account", "--walltime", "--directive"])
@pytest.mark.parametrize("value", ["a\nrm -rf x", "a\r#", "\u202egnp", "\x1b[1m", "\u2028x"])
def test_what_would_add_lines_to_a_job_is_refused(
    tree: Path, tmp_path: Path, capsys: CAPTURE, option: str, value: str
) -> None:
    """On the command line, and in the settings of a file, for `slurm` and for the jobs of `run`."""
    script = tmp_path / "job"
    with pytest.raises(SystemExit) as ended:
        main(["slurm", str(tree), "maps", f"{option}={value}", "-o", str(script)])
    assert ended.value.code == 2 and not script.exists()
    with pytest.raises(SystemExit):
        main(["run", str(tree), "maps", "participant", "--dry-run", f"{option}={value}"])
    config = tmp_path / "a.toml"
    config.write_text(f"[run]\n{option[2:]} = {json.dumps(value)}\n")
    assert main(["slurm", str(tree), "maps", "--config", str(config), "-o", str(script)]) == 2
    assert not script.exists()
    capsys.readouterr()
