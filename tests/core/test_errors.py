from unweight.core.errors import InputError, OutputError, ProtocolError, UnweightError, UsageError


def test_message_names_file_problem_and_remedy() -> None:
    error = InputError("is empty", remedy="Copy it again.", path="a.nii")
    assert str(error) == "a.nii: is empty. Copy it again."


def test_message_without_remedy_ends_with_a_full_stop() -> None:
    assert str(UsageError("too many")) == "too many."


def test_tree_and_exit_codes() -> None:
    assert issubclass(ProtocolError, InputError)
    assert {kind.exit_code for kind in (UsageError, InputError, ProtocolError)} == {2}
    assert OutputError.exit_code == 3
    assert issubclass(OutputError, UnweightError)
