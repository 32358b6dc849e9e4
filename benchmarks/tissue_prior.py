"""The tissue prior as a picture: 400 draws per material at both fields, before the shuffled prior."""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from unweight.core.seeding import seeded_generator
from unweight.synth.tissue.materials import BRAIN, INDEX
from unweight.synth.tissue.prior import RandomTissuePrior, TissuePrior

SHOWN = [name for name in BRAIN if name not in ("tumour", "oedema")]
COLOURS = (
    "#00798c", "#6d6875", "#e0a458", "#d1495b", "#edae49", "#4c9f70",
    "#8d3b9a", "#30638e", "#003d5b", "#f4845f", "#b56576",
)  # fmt: skip


def main(path: Path) -> None:
    figure = Figure(figsize=(13, 4.6), layout="constrained", facecolor="white")
    for axes, field in zip(figure.subplots(1, 2), (1.5, 3.0), strict=True):
        generator = seeded_generator(0, "tissue prior", str(field))
        draws = torch.stack([TissuePrior().draw(generator, field).values for _ in range(400)])
        wild = torch.stack([RandomTissuePrior().draw(generator, field).values for _ in range(60)])
        axes.loglog(
            wild[:, :, 0].ravel(), wild[:, :, 1].ravel(), ".", color="#dddddd", ms=2, label="shuffled prior"
        )
        for name, colour in zip(SHOWN, COLOURS, strict=True):
            values = draws[:, INDEX[name]]
            axes.loglog(values[:, 0], values[:, 1], ".", ms=3, alpha=0.5, color=colour, label=name)
        axes.set_xticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="T1 [s]", ylabel="T2 [s]", title=f"{field:g} T", xlim=(0.2, 7), ylim=(0.02, 4))
    axes.legend(fontsize=7, markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=110, metadata={"Software": None})
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/figures/tissue_prior.png"))
