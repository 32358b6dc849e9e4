"""Segmentation of real images: volumes, difference of the sides, agreement of the contrasts of one person.

    python benchmarks/segment_real.py [WEIGHTS [FOLDER]]

Each image alone, with the brain mask of the network. WEIGHTS is the folder of the weights, FOLDER where
the pictures go. Needs `ms_lesjak` and `mprage_uih` of the shared data beside the repository.
"""

import sys
import time
from pathlib import Path

import unweight
from unweight.metrics.brain_labels import BRAIN_LABELS, sides_of
from unweight.report.segment_picture import segment_picture

SHARED = Path(__file__).parents[2] / "shared" / "data"
PATIENT = SHARED / "ms_lesjak" / "longitudinal" / "patient01"
PEOPLE = {
    "mprage_uih": {"T1w": SHARED / "mprage_uih" / "T1w_1mm_faceless.nii.gz"},
    **{
        f"ms_lesjak visit {visit}": {
            name: PATIENT / f"study{visit}_{name}.nii.gz" for name in ("T1W", "T2W", "FLAIR")
        }
        for visit in (1, 2)
    },
}
STRUCTURES = tuple(dict.fromkeys(label.structure for label in BRAIN_LABELS if label.side))


def main(weights: Path | None, folder: Path | None) -> None:
    print("person | image | s | " + " | ".join(f"{name} ml (L-R %)" for name in STRUCTURES))
    print("--- | --- | ---: | " + " | ".join("---:" for _ in STRUCTURES))
    for person, images in PEOPLE.items():
        volumes: dict[str, dict[str, float]] = {}
        for contrast, path in images.items():
            if not path.exists():
                continue
            began = time.perf_counter()
            segmented = unweight.segment(path, weights=weights)
            seconds = time.perf_counter() - began
            sides = list(sides_of({item.name: item.volume_ml for item in segmented.volumes}))
            volumes[contrast] = {name: left + right for name, left, right, _ in sides}
            row = [f"{left + right:.1f} ({apart or 0:+.0f})" for _, left, right, apart in sides]
            print(f"{person} | {contrast} | {seconds:.1f} | {' | '.join(row)}", flush=True)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                picture = segment_picture(
                    segmented.image, segmented.labels, segmented.grid.affine, f"{person} {contrast}"
                )
                (folder / f"{person}_{contrast}.png".replace(" ", "_")).write_bytes(picture)
        if len(volumes) > 1:
            spread = []
            for name in STRUCTURES:
                values = [each[name] for each in volumes.values()]
                mean = sum(values) / len(values)
                spread.append(f"{100 * (max(values) - min(values)) / max(mean, 1e-6):.0f} %")
            print(f"{person} | largest less smallest | | {' | '.join(spread)}")


if __name__ == "__main__":
    arguments = [Path(item) for item in sys.argv[1:]]
    main(arguments[0] if arguments else None, arguments[1] if len(arguments) > 1 else None)
