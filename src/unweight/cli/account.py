"""What became of the voxels, as a table to print."""

from rich.table import Table

from unweight.cli.terminal import table
from unweight.core.maps import ParameterMaps


def voxel_table(maps: ParameterMaps) -> Table:
    """Return how many voxels have each status, and what it means."""
    total = maps.status.numel()
    rows = [
        (
            status.name.lower().replace("_", " "),
            f"{count:,}",
            f"{100 * count / total:.2f} %",
            status.meaning,
        )
        for status, count in maps.count().items()
    ]
    return table(("voxels", "count", "share", "meaning"), rows)
