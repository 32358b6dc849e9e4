"""Progress of a training on the terminal."""

from dataclasses import dataclass
from typing import final

from unweight.cli.terminal import Course
from unweight.core.estimator import Progress
from unweight.learn.training.execution import PrecisionChoice, describe_precision
from unweight.learn.training.loop import Step, TrainingCallback


@final
@dataclass(frozen=True, kw_only=True)
class ConsoleCallback(TrainingCallback):
    """Shows how a training proceeds.

    Attributes:
        display: Where.
        samples_are: What is computed before the training, `slabs` or `people`.
    """

    display: Course
    samples_are: str = "slabs"

    def samples(self, part: str) -> Progress:
        """Show a bar of the samples computed."""
        return self.display.bar(f"{self.samples_are} for {part}")

    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        """Show what the training is computed in, and why."""
        if choices:
            self.display.line(f"computed in {describe_precision(choices)}")

    def step(self, step: Step) -> None:
        """Show a line at each check."""
        self.display.bar("training")(step.step, step.n_steps)
        if step.checks is not None:
            self.display.line(step_line(step))


def step_line(step: Step) -> str:
    """Return how a training goes, in a line."""
    result = step.checks or {}
    parts = [f"step {step.step} of {step.n_steps}: loss {step.loss:.4g}"]
    if "psnr" in result:
        parts.append(f"PSNR {result['psnr']:.1f} dB")
    if "dice_deep" in result:
        parts.append(f"Dice {result['dice_tissues']:.3f}, of deep grey matter {result['dice_deep']:.3f}")
    if "psnr_t1" in result:
        values = (f"{name} {result[f'psnr_{name.lower()}']:.1f}" for name in ("T1", "T2", "PD"))
        parts.append(f"PSNR {', '.join(values)} dB")
    if "rmse_ln_t1" in result:
        parts.append(f"RMSE of ln T1 {result['rmse_ln_t1']:.4f} (fit {result['rmse_ln_t1_fit']:.4f})")
    if "region_ratio" in result:
        parts.append(f"RMS error of regions {result['region_ratio']:.2f} x the SD of the samples")
    if "rmse_over_exact" in result:
        parts.append(f"RMSE of single voxels {result['rmse_over_exact']:.2f} x that of the exact posterior")
    if "coverage_90" in result:
        parts.append(f"coverage of the 90 % intervals {100 * result['coverage_90']:.0f} %")
    if result.get("share_without_value"):
        parts.append(f"{100 * result['share_without_value']:.1f} % without value")
    if step.skipped:
        parts.append(f"{step.skipped} steps skipped")
    left = step.seconds / step.step * (step.n_steps - step.step)
    parts.append(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")
    return ", ".join(parts)
