"""Names and phrases that `scripts/check` refuses, and that none is left."""

import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = module_from_spec(
    spec_from_loader("words", SourceFileLoader("words", str(ROOT / "scripts" / "words")))
)
WORDS.__spec__.loader.exec_module(WORDS)


def test_no_such_word_is_left() -> None:
    assert list(WORDS.findings(ROOT)) == []


def test_it_takes_little_time() -> None:
    began = time.process_time()
    list(WORDS.findings(ROOT))
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "def f(told):\n    pass",
        "class C:\n    made: int",
        "x.shown",
        "f(seen=2)",
        "def said():\n    pass",
        "for one in range(3):\n    pass",
        'x = f"{found} of 3"',
        "x = 'it\\'s' + found + 'a'",
    ],
)
def test_participles_are_refused_as_names(code: str) -> None:
    assert len(list(WORDS.bad_names(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        '"""One of those found."""',
        "x = 'found'  # as was made",
        "found_files = on_one_side",
        'x = f"one of {n}"',
        "x = 'say \"one\"' # said\ny = 1",
    ],
)
def test_they_may_stand_in_sentences_and_within_names(code: str) -> None:
    assert list(WORDS.bad_names(code)) == []


def test_names_keep_their_line_below_a_docstring() -> None:
    assert list(WORDS.bad_names('"""A\n\nmodule."""\n\nmade = 1\n')) == [(5, "made")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Maps with error bars that hold.", "error bars that hold"),
        ("What the network is told.", "told"),
        ("# images of networks\n    # and what the network\n    # says", "network says"),
        ('"what the network "\n    f"knows of it"', "network knows"),
        ("a training that was stopped goes on", "training that was stopped goes on"),
    ],
)
def test_phrases_are_refused_also_over_lines(text: str, words: str) -> None:
    ((_, phrase, instead),) = WORDS.bad_phrases(text)
    assert phrase == words and instead


def test_plain_english_passes() -> None:
    text = "Two echoes cannot be told apart. The network predicts T1; `told_chi` is a key of cards."
    assert list(WORDS.bad_phrases(text)) == []


def test_findings_name_the_file_and_the_line(tmp_path: Path) -> None:
    for folder in ("src/unweight", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "src" / "unweight" / "a.py").write_text("x = 1\nmade = 2\n")
    (tmp_path / "docs" / "a.md").write_text("# Maps\n\nReady to paste.\n")
    assert list(WORDS.findings(tmp_path)) == [
        "src/unweight/a.py:2: made (a name that says what it holds)",
        "docs/a.md:3: ready to paste (methods paragraph)",
    ]
