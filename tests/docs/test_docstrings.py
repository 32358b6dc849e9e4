from docs.hooks.docstrings import to_rst


def test_stars_bars_and_underscores_mean_nothing() -> None:
    assert to_rst(["R2* of |S| and x_ in `a*b_`."]) == ["R2\\* of \\|S\\| and x\\_ in ``a*b_``."]


def test_indented_paragraphs_are_kept_as_they_are() -> None:
    found = to_rst(["As follows:", "", "    S = a*b", "    T = c", "where a is", ""])
    assert found == ["As follows:", "", "::", "", "    S = a*b", "    T = c", "", "where a is", ""]


def test_sections_are_left_to_napoleon() -> None:
    lines = ["Do it.", "", "Args:", "    r2star: R2* [1/s].", "", "    next: More."]
    assert to_rst(lines) == [*lines[:3], "    r2star: R2\\* [1/s].", *lines[4:]]
