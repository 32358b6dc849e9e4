"""Which device `--device` means."""

from unweight.mapping.device import device_for as device_for
