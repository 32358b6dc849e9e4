"""What makes pages of data when the documentation is built; the tests call the same functions."""
