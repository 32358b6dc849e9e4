from pathlib import Path

from unweight.core.text import natural_key


def test_numbers_count_as_numbers() -> None:
    names = ["series-10.nii", "series-2.nii", "series-2a.nii", "series-13.nii", "a", "series-8.nii"]
    assert sorted(names, key=natural_key) == [
        "a",
        "series-2.nii",
        "series-2a.nii",
        "series-8.nii",
        "series-10.nii",
        "series-13.nii",
    ]


def test_paths_are_sorted_folder_by_folder() -> None:
    paths = [Path("s10/1.dcm"), Path("s2/10.dcm"), Path("s2/9.dcm"), Path("s2-b/1.dcm")]
    assert sorted(paths, key=natural_key) == [paths[2], paths[1], paths[3], paths[0]]


def test_names_that_differ_in_zeros_alone_have_an_order() -> None:
    assert sorted(["x1", "x01"], key=natural_key) == sorted(["x01", "x1"], key=natural_key)
