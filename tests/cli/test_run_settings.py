from argparse import Namespace
from pathlib import Path

import pytest

from unweight.cli.main import parser
from unweight.cli.study.settings import filled, read_settings, settings_of, with_absolute_path
from unweight.core.errors import InputError, UsageError
from unweight.registry import commands


def toml(folder: Path, text: str) -> Path:
    path = folder / "unweight.toml"
    path.write_text(text, encoding="utf-8")
    return path


def called(*words: str) -> Namespace:
    return parser().parse_args(["run", "bids", "maps", "participant", *words])


def test_sections_become_words_of_their_commands(tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        '[run]\nworkers = 2\n[t1]\nmethod = "ml"\nefficiency-range = [1.5, 2]\nno-figures = true\n'
        "[r2star]\nno-figures = false\n",
    )
    found = read_settings(path)
    assert found.run == {"workers": 2}
    assert found.options["t1"] == ("--method", "ml", "--efficiency-range", "1.5", "2", "--no-figures")
    assert found.options["r2star"] == ()
    assert set(found.options) == set(commands())


def test_nothing_said_is_nothing_set() -> None:
    found = read_settings(None)
    assert found.run == {} and set(found.options.values()) == {()}


def test_the_call_comes_before_the_file(tmp_path: Path) -> None:
    path = toml(
        tmp_path, '[t1]\nmethod = "ml"\nefficiency = 2\n[run]\nworkers = 2\nmemory = 4.0\nerode = 2\n'
    )
    found = read_settings(path, ["t1.method=posterior", "run.queue=long", "t1.no-figures=true"])
    assert found.options["t1"] == ("--method", "posterior", "--efficiency", "2", "--no-figures")
    arguments = filled(called("--workers", "3", "--erode", "0"), found)
    assert (arguments.workers, arguments.memory, arguments.queue) == (3, 4.0, "long")
    assert arguments.erode == 0  # said, though it is nothing
    assert (arguments.bids_dir, arguments.out_dir) == (Path("bids"), Path("maps"))
    assert not arguments.dry_run and arguments.subjects is None


def test_lists_and_labels_of_a_run(tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        '[run]\nparticipant-label = ["sub-01", "02"]\nonly = ["t1", "maps"]\n'
        'directive = ["--constraint=intel", "--exclusive"]\ngpu = true\n',
    )
    arguments = filled(called(), read_settings(path))
    assert arguments.subjects == ["01", "02"] and arguments.only == ["t1", "maps"]
    assert arguments.directives == ["--constraint=intel", "--exclusive"]
    assert arguments.gpu is True


@pytest.mark.parametrize("part", ["a", '"a b"', "'a'"])
def test_a_key_of_very_many_parts_is_refused_at_once(tmp_path: Path, part: str) -> None:
    """tomllib would take hours over it."""
    with pytest.raises(InputError, match="nested too deeply"):
        read_settings(toml(tmp_path, " . ".join([part] * 100_000) + " = 1"))


def test_many_numbers_are_no_deep_key(tmp_path: Path) -> None:
    numbers = ", ".join(["0.5"] * 1000)
    settings = read_settings(toml(tmp_path, f"[t1]\nti = [{numbers}]  # {'. ' * 200}"))
    assert len(settings.options["t1"]) == 1001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[t3]\n", r"there is no section 't3'. Sections are run, t1, "),
        ("[t1]\nmethd = 1\n", r"unknown key 'methd' in \[t1\]. Keys are ti, "),
        ("[t1]\nout = 'x'\n", r"unknown key 'out' in \[t1\]"),
        ("[maps]\nmask = 'x'\n", r"unknown key 'mask' in \[maps\]"),
        ("[run]\nconfig = 'x'\n", r"unknown key 'config' in \[run\]"),
        ("workers = 2\n", r"workers is outside a section"),
        ("[t1]\nmethod = 'magic'\n", r"\[t1\] argument --method: invalid choice: 'magic'"),
        ("[t1]\nefficiency = 'much'\n", r"\[t1\] argument --efficiency: invalid float value: 'much'"),
        ("[t1]\nno-figures = 1\n", r"\[t1\] no-figures must be true or false"),
        ("[t1]\nmethod = true\n", r"\[t1\] method must be a value, not true or false"),
        ("[t1]\nti = []\n", r"\[t1\] ti must be a number, a word, or a list of them"),
        ("[t1]\nti = {a = 1}\n", r"\[t1\] ti must be a number, a word, or a list of them"),
        ("[t1]\nmethod = '--mask=x'\n", r"\[t1\] argument --method"),
        ("[t1\n", r"is not TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read_settings(path)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("t1.method", "is not SECTION.KEY=VALUE"),
        ("method=ml", "is not SECTION.KEY=VALUE"),
        (".a=1", "is not SECTION.KEY=VALUE"),
        ("t3.method=ml", "there is no section 't3'"),
        ("t1.methd=ml", "unknown key 'methd'"),
    ],
)
def test_what_is_wrong_in_the_call_is_said(given: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_settings(None, [given])


def test_a_wrong_value_for_the_run_is_said() -> None:
    with pytest.raises(UsageError, match=r"\[run\] argument --workers: invalid int value: 'many'"):
        filled(called(), read_settings(None, ["run.workers=many"]))


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`unweight init` writes a settings file"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not TOML"):
        read_settings(tmp_path / "binary.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * 2**21)
    with pytest.raises(InputError, match="too large"):
        read_settings(tmp_path / "large.toml")


@pytest.mark.parametrize("pipeline", ["run", *commands()])
def test_only_options_can_be_set(pipeline: str) -> None:
    found = settings_of(pipeline)
    assert found and all(f"--{key}" in one.names for key, one in found.items())
    assert not {"inputs", "out", "config", "rec", "device"} & set(found)
    assert "mask" not in found or found["mask"].settings["choices"] == ("auto",)


def test_paths_start_at_the_file_or_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of a batch system may have another current folder."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    path = toml(
        elsewhere, '[mprage]\nweights = "w"\n[qsm]\nmask-method = "network"\nmask-weights = "../m"\n'
    )
    found = read_settings(path).options
    assert found["mprage"] == ("--weights", str(elsewhere / "w"))
    assert found["qsm"][-1] == str(elsewhere / "../m")
    called_so = read_settings(Path("../elsewhere/unweight.toml"), ["mprage.weights=w"]).options
    assert called_so["mprage"] == ("--weights", str(here / "w"))
    assert Path(called_so["qsm"][-1]).resolve() == tmp_path / "m"
    absolute = read_settings(None, [f"mprage.weights={tmp_path}"]).options
    assert absolute["mprage"] == ("--weights", str(tmp_path))
    assert read_settings(None, ["mprage.weights=~/w"]).options["mprage"] == ("--weights", "~/w")
    assert read_settings(None, ["mprage.method=unet"]).options["mprage"] == ("--method", "unet")


def test_a_mask_can_only_be_computed(tmp_path: Path) -> None:
    path = toml(tmp_path, '[t1]\nmask = "auto"\n')
    assert read_settings(path).options["t1"] == ("--mask", "auto")
    assert read_settings(None, ["r2star.mask=auto"]).options["r2star"] == ("--mask", "auto")
    with pytest.raises(UsageError, match="mask can only be auto"):
        read_settings(None, ["t1.mask=brain.nii.gz"])
    with pytest.raises(UsageError, match="unknown key 'mask'"):  # computed without being asked for
        read_settings(None, ["qsm.mask=auto"])


def test_a_setting_for_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs of `unweight slurm` get the settings of its command line."""
    monkeypatch.chdir(tmp_path)
    absolute = with_absolute_path("mprage.weights=w")
    assert read_settings(None, [absolute]).options["mprage"] == ("--weights", str(tmp_path / "w"))
    assert with_absolute_path("t1.method=ml") == "t1.method=ml"
