"""From files or arrays of a user to a described set of maps: what commands and `unweight.api` share."""
