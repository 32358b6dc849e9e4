"""How a training is told on the terminal."""

from dataclasses import dataclass
from typing import final

from unweight.cli.terminal import Course
from unweight.core.estimator import Progress
from unweight.learn.training.loop import Step
from unweight.learn.training.precision import PrecisionChoice, describe_precision
from unweight.learn.training.trainer import Listener


@final
@dataclass(frozen=True, kw_only=True)
class Teller(Listener):
    """Tells how a lesson goes.

    Attributes:
        shown: Where.
        what: What is made before the training, `slabs` or `people`.
    """

    shown: Course
    what: str = "slabs"

    def making(self, what: str) -> Progress:
        """Show a bar of what is made."""
        return self.shown.bar(f"{self.what} for {what}")

    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        """Say what the training is computed in, and why."""
        if choices:
            self.shown.line(f"computed in {describe_precision(choices)}")

    def step(self, step: Step) -> None:
        """Say a line at each check."""
        self.shown.bar("training")(step.step, step.n_steps)
        if step.checks is not None:
            self.shown.line(step_line(step))


def step_line(step: Step) -> str:
    """Return how a training goes, in a line."""
    found = step.checks or {}
    parts = [f"step {step.step} of {step.n_steps}: loss {step.loss:.4g}"]
    if "psnr" in found:
        parts.append(f"PSNR {found['psnr']:.1f} dB")
    if "dice_deep" in found:
        parts.append(f"Dice {found['dice_tissues']:.3f}, of deep grey matter {found['dice_deep']:.3f}")
    if "psnr_t1" in found:
        said = (f"{name} {found[f'psnr_{name.lower()}']:.1f}" for name in ("T1", "T2", "PD"))
        parts.append(f"PSNR {', '.join(said)} dB")
    if "rmse_ln_t1" in found:
        parts.append(f"ln T1 off by {found['rmse_ln_t1']:.4f} (fit {found['rmse_ln_t1_fit']:.4f})")
    if "region_ratio" in found:
        parts.append(f"error of regions {found['region_ratio']:.2f} x their spread")
    if "rmse_over_exact" in found:
        parts.append(f"{found['rmse_over_exact']:.2f} x exact on single voxels")
    if "coverage_90" in found:
        parts.append(f"{100 * found['coverage_90']:.0f} % in 90 % intervals")
    if found.get("share_without_value"):
        parts.append(f"{100 * found['share_without_value']:.1f} % without value")
    if step.skipped:
        parts.append(f"{step.skipped} steps skipped")
    left = step.seconds / step.step * (step.n_steps - step.step)
    parts.append(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")
    return ", ".join(parts)
