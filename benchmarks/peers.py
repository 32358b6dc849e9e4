"""Make a virtual environment for each peer, with what its T1 fit needs."""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".envs"
PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mrpro": (
        "mrpro==0.261015",
        (
            "torch==2.13.0",
            "numpy",
            "scipy",
            "einops",
            "ismrmrd",
            "nibabel",
            "pydicom",
            "torchnd",
            "pytorch-finufft",
            "ptwt<1.0",
            "platformdirs",
            "requests",
            "tqdm",
            "typing-extensions",
        ),
    ),
    "ukat": (
        "ukat==0.7.3",
        (
            "numpy",
            "scipy",
            "nibabel",
            "dipy",
            "scikit-image",
            "scikit-learn",
            "pathos",
            "tqdm",
            "numba",
            "pandas",
            "matplotlib",
            "tabulate",
        ),
    ),
}
STAND_INS = {
    "mrpro": {
        "torchvision/__init__.py": "",
        "torchvision/transforms/__init__.py": "",
        "torchvision/transforms/functional.py": "class InterpolationMode:\n    BILINEAR = NEAREST = None\n",
    },
    "ukat": {"segment/__init__.py": "class Tkv:\n    pass\n"},
}


def make(name: str) -> None:
    package, needs = PEERS[name]
    folder = ENVIRONMENTS / name
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *needs], check=True)
    subprocess.run([*pip, "--no-deps", package], check=True)
    site = next((folder / "lib").glob("python3*/site-packages"))
    for path, content in STAND_INS[name].items():
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    print(f"{name}: {python}")


if __name__ == "__main__":
    for peer in sys.argv[1:] or PEERS:
        make(peer)
