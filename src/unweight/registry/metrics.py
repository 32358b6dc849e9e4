"""The metrics of benchmarks: a function and a line here.

Every benchmark that has what the function needs can score it, `unweight evaluate … --metrics NAME`:
parameters of the function are filled by name from these inputs.

    IMAGE    estimate, truth, inside, data_range: a map on its grid against the true one, within a mask
    VOXELS   estimate, truth, positive, scale, and where a method gives them prediction (mean and SD on the
             free scale), lower and upper (its 90 % interval): voxels of one group
    LABELS   estimate, truth, voxel_mm: one structure of a segmentation against the true one
"""

from unweight.registry.records import OF_MAP, Inputs, Metric


def _image(name: str, target: str, **rest: str) -> Metric:
    return Metric(name=name, inputs=Inputs.IMAGE, target=f"unweight.metrics.{target}", **rest)


def _voxels(target: str, *names: str, unit: str = "1") -> tuple[Metric, ...]:
    return tuple(
        Metric(name=name, inputs=Inputs.VOXELS, target=f"unweight.metrics.{target}", item=name, unit=unit)
        for name in names
    )


def _labels(name: str, item: str, unit: str) -> Metric:
    target = "unweight.metrics.segmentation:score_structure"
    return Metric(name=name, inputs=Inputs.LABELS, target=target, item=item, unit=unit)


METRICS: tuple[Metric, ...] = (
    _image("psnr", "image_quality:psnr", unit="dB"),
    _image("ssim", "image_quality:ssim"),
    _image("ms-ssim", "image_quality:ms_ssim"),
    _image("gmsd", "gradient_similarity:gmsd"),
    _image("haarpsi", "haar_similarity:haarpsi"),
    _image("fsim", "feature_similarity:fsim"),
    _image("sharpness", "sharpness:sharpness_ratio"),
    _image("hfen", "sharpness:hfen"),
    _image("slice jumps", "slice_continuity:slice_jumps"),
    _image("nrmse", "susceptibility:field_errors", item="nrmse", unit="%"),
    _image("nrmse_detrended", "susceptibility:field_errors", item="nrmse_detrended", unit="%"),
    _image("correlation", "susceptibility:field_errors", item="correlation"),
    *_voxels("accuracy:accuracy", "bias", "median_bias", "rmse_ln", "mape", "median_ape", "sd_ln"),
    *_voxels("accuracy:accuracy", "missing"),
    *_voxels("accuracy:absolute_errors", "rmse", "mae", unit=OF_MAP),
    *_voxels("calibration:calibration", "coverage_50", "coverage_80", "coverage_90", "coverage_95"),
    *_voxels("calibration:calibration", "ence", "ause", "crps", "width_90", "sd_over_error", "winkler_90"),
    *_voxels("calibration:interval_measures", "interval_90", "interval_90_width"),
    _labels("dice", "dice", "1"),
    _labels("hd95", "hd95_mm", "mm"),
    _labels("surface distance", "surface_distance_mm", "mm"),
)
