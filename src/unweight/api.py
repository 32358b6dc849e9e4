"""One function for each kind of maps, from files or arrays to maps that can be shown and saved.

    import unweight

    t1 = unweight.map_t1("sub-01/ir.nii.gz")            # or a folder of DICOM, or a BIDS tree
    t1 = unweight.map_t1(array, inversion_time=(0.05, 0.4, 1.1, 2.5), repetition_time=2.55, affine=affine)
    t1.value("T1"), t1.std("T1"), t1.usable             # tensors; in a notebook `t1` shows a picture
    t1.to_nifti("T1"), t1.save("maps")                  # a nibabel image; what the command writes

Images are a path (a file, a folder of DICOM or NIfTI, a BIDS tree), a list of files, or an array of NumPy
or PyTorch with its volumes on the last axis. Of files the timings in sidecars are used, unless they are
given here; an array needs them all. Times are in seconds, angles in degrees as in BIDS. Each function maps
one series; of a BIDS tree with several, `subject` chooses. Results are those of the commands, to the bit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from unweight.bids.series.weighted import CONTRASTS
from unweight.core.acquisition import SignalKind
from unweight.mapping.arrays import Times, tensor_of
from unweight.mapping.brain import MaskOptions, is_auto
from unweight.mapping.calls import (
    AnyPath,
    EchoCall,
    Images,
    SeriesCall,
    WeightedCall,
    WeightedScan,
    label_of,
    map_array,
    map_files,
    map_magnitudes,
    path_of,
    values_of,
)
from unweight.mapping.decay import GRADIENT_ECHOES, SPIN_ECHOES, R2StarOptions, T2Options
from unweight.mapping.mprage import MprageOptions
from unweight.mapping.phantom import PhantomPlate, analyse_phantom
from unweight.mapping.qsm import QsmOptions
from unweight.mapping.segment import Segmentation, segment
from unweight.mapping.series import MappedSeries, map_read
from unweight.mapping.synthesise import synthesise
from unweight.mapping.t1 import SUFFIX, T1Options
from unweight.mapping.t1_method import T1Choice

__all__ = (
    "MappedSeries",
    "PhantomPlate",
    "Segmentation",
    "WeightedScan",
    "analyse_phantom",
    "map_qsm",
    "map_r2star",
    "map_t1",
    "map_t2",
    "map_weighted",
    "segment",
    "synthesise",
    "synthesise_mprage",
)


def map_t1(
    images: Images,
    *,
    inversion_time: Iterable[float] | None = None,
    repetition_time: Times | None = None,
    echo_time: Times | None = None,
    readout_time: Times | None = None,
    affine: object = None,
    mask: object = None,
    signed: bool | None = None,
    subject: str | None = None,
    method: str = "auto",
    weights: AnyPath | None = None,
    draws: int | None = None,
    steps: int | None = None,
    efficiency: float | None = None,
    efficiency_range: tuple[float, float] | None = None,
    pulse_efficiency: bool = False,
    noise_sd: float | None = None,
    device: str = "auto",
) -> MappedSeries:
    """Map T1, PD and inversion efficiency from an inversion-recovery series: `unweight t1`.

    Args:
        images: Path, paths or array, volumes last.
        inversion_time: One per volume [s].
        repetition_time: One for all, or one per volume [s].
        echo_time: Likewise [s].
        readout_time: From excitation to the last echo of a spin-echo train [s].
        affine: Of an array.
        mask: A file, or of an array another array, not 0 where to work; or `auto`, for the brain.
        signed: Whether the images keep their sign; None for what files say, and by the sign of an array.
        subject: Of a BIDS tree, which; of other images, what it is called.
        method: `auto`, `posterior`, `ml`, `resnet`, `rim`, `diffusor`.
        weights: Folder of weights; None for those of the package.
        draws: Maps to draw, of the posterior or the diffusor.
        steps: Of each draw of the diffusor.
        efficiency: Inversion efficiency to hold; 2 is a perfect inversion.
        efficiency_range: In which it is searched.
        pulse_efficiency: Whether the TR term follows it.
        noise_sd: Noise of one channel, where it is known.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UnweightError: Input or options cannot be used; the message says why and what to do.
    """
    choice = T1Choice(
        method=method,
        weights=path_of(weights),
        draws=draws,
        steps=steps,
        efficiency=efficiency,
        efficiency_range=efficiency_range,
        pulse_efficiency=pulse_efficiency,
    )
    times = {
        "inversion_time": inversion_time,
        "repetition_time": repetition_time,
        "echo_time": echo_time,
        "readout_time": readout_time,
    }
    call = SeriesCall(images=images, times=times, affine=affine, mask=mask, subject=subject)
    options = T1Options(
        images=call.files(),
        signed=signed is True,
        magnitude=signed is False,
        choice=choice,
        noise_sd=noise_sd,
        device=device,
    )
    if call.paths is not None:
        return map_files(options)
    call.check_given("inversion_time", "repetition_time")
    signal = tensor_of(images)
    is_signed = bool((signal < 0).any()) if signed is None else signed
    kind = SignalKind.SIGNED if is_signed else SignalKind.MAGNITUDE
    return map_array(options, call.series(signal, SUFFIX, kind))


def map_t2(
    images: Images,
    *,
    echo_time: Iterable[float] | None = None,
    affine: object = None,
    mask: object = None,
    subject: str | None = None,
    method: str = "auto",
    skip_first: int | None = None,
    known: Mapping[str, object] = MappingProxyType({}),
    percent: Sequence[str] = (),
    fix: Mapping[str, float] = MappingProxyType({}),
    refocusing: Times = 180.0,
    slice_profile: str | float = "auto",
    noise_sd: float | None = None,
    device: str = "auto",
) -> MappedSeries:
    """Map T2 from multi-echo spin echo: `unweight t2`.

    Args:
        images: Path, paths or array, echoes last.
        echo_time: One per echo [s].
        affine: Of an array.
        mask: A file, or of an array another array, not 0 where to work; or `auto`, for the brain.
        subject: Of a BIDS tree, which; of other images, what it is called.
        method: `epg`, with stimulated echoes; `nonlinear`, `log-linear`, `arlo`, one exponential; `auto`:
            `epg` for four echoes or more of an evenly spaced train, else `nonlinear`.
        skip_first: Earliest echoes left out; None for one with an exponential, and none with `epg`.
        known: Maps of `B1` or `T1` [s] for `epg`, by name: files, or arrays beside an array.
        percent: Names of those in percent.
        fix: Values at which `epg` holds `T1` [s] or `B1`; T1 is 1 s unless it is given.
        refocusing: Nominal refocusing angle, one for all pulses or one for each [degrees].
        slice_profile: `auto`, `uniform`, or the thickness of the refocusing slice over the excited one.
        noise_sd: Noise of one channel, where it is known.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UnweightError: Input or options cannot be used; the message says why and what to do.
    """
    call = SeriesCall(
        images=images, times={"echo_time": echo_time}, affine=affine, mask=mask, subject=subject
    )
    arrays = {} if call.paths else {name: tensor_of(array) for name, array in known.items()}
    options = T2Options(
        images=call.files(),
        method=method,
        skip_first=skip_first,
        noise_sd=noise_sd,
        device=device,
        known=tuple((name, str(path_of(path))) for name, path in known.items() if name not in arrays),
        arrays=arrays,
        percent=tuple(percent),
        fix=tuple(fix.items()),
        refocusing=values_of(refocusing) or (180.0,),
        slice_profile=str(slice_profile),
    )
    return map_magnitudes(options, call, SPIN_ECHOES.suffix)


def map_r2star(
    images: Images,
    *,
    echo_time: Iterable[float] | None = None,
    affine: object = None,
    mask: object = None,
    subject: str | None = None,
    method: str = "log-linear",
    noise_sd: float | None = None,
    device: str = "auto",
) -> MappedSeries:
    """Map R2* and T2* from the magnitudes of multi-echo gradient echo: `unweight r2star`.

    Args:
        images: Path, paths or array, echoes last; of complex numbers the magnitude is used.
        echo_time: One per echo [s].
        affine: Of an array.
        mask: A file, or of an array another array, not 0 where to work; or `auto`, for the brain.
        subject: Of a BIDS tree, which; of other images, what it is called.
        method: `log-linear`, `arlo`, `nonlinear`.
        noise_sd: Noise of one channel, where it is known.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UnweightError: Input or options cannot be used; the message says why and what to do.
    """
    times = {"echo_time": echo_time}
    call = SeriesCall(images=images, times=times, affine=affine, mask=mask, subject=subject)
    options = R2StarOptions(images=call.files(), method=method, noise_sd=noise_sd, device=device)
    return map_magnitudes(options, call, GRADIENT_ECHOES.suffix)


def map_qsm(
    images: Images,
    phase: Images = None,
    *,
    echo_time: Iterable[float] | None = None,
    field_strength: float | None = None,
    affine: object = None,
    mask: object = None,
    mask_method: str = "network",
    mask_border: float = 0.0,
    subject: str | None = None,
    background: str = "vsharp",
    inversion: str = "wtv",
    reference: str = "mean",
    bipolar: bool | None = None,
    b0_direction: tuple[float, float, float] | None = None,
    phase_range: tuple[float, float] | None = None,
    phase_full_range: bool = False,
    invert_phase: bool = False,
    quality_limit: float | None = None,
    device: str = "auto",
) -> MappedSeries:
    """Map magnetic susceptibility from multi-echo gradient echo: `unweight qsm`.

    Args:
        images: A BIDS tree, a folder, or files whose names tell magnitude and phase; or the magnitudes; or
            an array, complex, or of magnitudes.
        phase: Phase images, where `images` are the magnitudes: paths, or an array [rad].
        echo_time: One per echo [s].
        field_strength: [T]
        affine: Of an array; it tells the direction of the static field.
        mask: Brain mask, a file, or of an array another array; None or `auto` to find the brain.
        mask_method: `network` or `classical`, where there is no mask.
        mask_border: How far outside the surface the mask of the network ends [mm].
        subject: Of a BIDS tree, which; of other images, what it is called.
        background: `vsharp`, `resharp`, `pdf`.
        inversion: `wtv`, `tv`, `rts`, `tkd`, `tikhonov`.
        reference: Which mean susceptibility is 0: `mean` of the mask, `csf`, `none`.
        bipolar: Whether every other echo was read backwards; None to see it in the data.
        b0_direction: Of the static field in voxel axes.
        phase_range: Lowest and highest number of a full turn in phase files; None to recognise them.
        phase_full_range: Whether those of the files are a full turn.
        invert_phase: Whether phase falls where the field is higher (GE).
        quality_limit: Residual of the phase above which a voxel is excluded [rad].
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UnweightError: Input or options cannot be used; the message says why and what to do.
    """
    call = EchoCall(
        series=SeriesCall(
            images=images,
            times={"echo_time": echo_time},
            affine=affine,
            mask=None if is_auto(mask) else mask,
            subject=subject,
        ),
        phase=phase,
        field_strength=field_strength,
        phase_range=phase_range,
        phase_full_range=phase_full_range,
        invert_phase=invert_phase,
    )
    options = QsmOptions(
        images=call.files(),
        background=background,
        inversion=inversion,
        reference=reference,
        bipolar="auto" if bipolar is None else "yes" if bipolar else "no",
        b0_direction=b0_direction,
        quality_limit=QsmOptions.quality_limit if quality_limit is None else quality_limit,
        brain=MaskOptions(mask_method=mask_method, mask_border=mask_border),
        device=device,
    )
    if call.series.paths is not None:
        return map_files(options)
    call.check_given("echo_time", "field_strength")
    return map_array(options, call.complex_series())


def synthesise_mprage(
    images: Images,
    phase: Images = None,
    *,
    echo_time: Iterable[float] | None = None,
    repetition_time: float | None = None,
    flip_angle: float | None = None,
    field_strength: float | None = None,
    affine: object = None,
    mask: object = None,
    mask_method: str = "network",
    mask_border: float = 0.0,
    subject: str | None = None,
    method: str = "auto",
    draws: int | None = None,
    planes: str | None = None,
    r2star: object = None,
    chi: object = None,
    drop_conditions: Sequence[str] = (),
    no_phase: bool = False,
    any_scan: bool = False,
    b0_direction: tuple[float, float, float] | None = None,
    phase_range: tuple[float, float] | None = None,
    phase_full_range: bool = False,
    invert_phase: bool = False,
    seed: int = 0,
    weights: AnyPath | None = None,
    device: str = "auto",
) -> MappedSeries:
    """Synthesise a T1w (MPRAGE) image from multi-echo gradient echo: `unweight mprage`. It is not measured.

    Args:
        images: As in `map_qsm`; magnitudes alone are taken too.
        phase: Likewise.
        echo_time: One per echo [s].
        repetition_time: [s]; the contrast of the echoes depends on it.
        flip_angle: [degrees]; likewise.
        field_strength: [T]
        affine: Of an array.
        mask: Brain mask, a file, or of an array another array; None or `auto` to find the brain.
        mask_method: `network` or `classical`, where there is no mask.
        mask_border: How far outside the surface the mask of the network ends [mm].
        subject: Of a BIDS tree, which; of other images, what it is called.
        method: `auto` (`unet`; `residual` for draws, `conditioned` for other protocols), `unet`,
            `residual`, `conditioned`, `gan`, `fastddpm`.
        draws: Number of draws; None for that of the method.
        planes: `axial`, `alternate`, `three`; None for those of the method.
        r2star: R2* map to use [1/s]: a file, or an array beside arrays.
        chi: Susceptibility map to use [ppm], likewise.
        drop_conditions: `r2star`, `chi`: inputs of the network that are left out.
        no_phase: Whether magnitudes alone are used.
        any_scan: Whether scans outside the training of the network are taken, with every voxel marked.
        b0_direction: Of the static field in voxel axes.
        phase_range: This and the next two as in `map_qsm`.
        phase_full_range: Likewise.
        invert_phase: Likewise.
        seed: Of the draws.
        weights: Folder of weights; None for those of the package.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UnweightError: Input or options cannot be used; the message says why and what to do.
    """
    times = {"echo_time": echo_time, "repetition_time": repetition_time, "flip_angle": flip_angle}
    call = EchoCall(
        series=SeriesCall(
            images=images, times=times, affine=affine, mask=None if is_auto(mask) else mask, subject=subject
        ),
        phase=phase,
        field_strength=field_strength,
        phase_range=phase_range,
        phase_full_range=phase_full_range,
        invert_phase=invert_phase,
    )
    of_files = call.series.paths is not None
    options = MprageOptions(
        images=call.files(),
        method=method,
        draws=draws,
        planes=planes,
        r2star=path_of(r2star) if of_files else None,
        chi_map=path_of(chi) if of_files else None,
        dropped_conditions=tuple(drop_conditions) or None,
        no_phase=no_phase,
        any_scan=any_scan,
        b0_direction=b0_direction,
        seed=seed,
        weights=path_of(weights),
        brain=MaskOptions(mask_method=mask_method, mask_border=mask_border),
        device=device,
    )
    if of_files:
        return map_files(options)
    call.check_given("echo_time")
    series = call.magnitude_series() if no_phase or not call.has_phase else call.complex_series()
    known = {"R2star": r2star, "Chi": chi}
    arrays = {name: tensor_of(array).float() for name, array in known.items() if array is not None}
    mapper = replace(options.mapper(), known_maps=arrays)
    return map_read(mapper, label_of(series.entities), series)


def map_weighted(
    images: Images = None,
    *,
    t1w: Images | WeightedScan = None,
    t2w: Images | WeightedScan = None,
    flair: Images | WeightedScan = None,
    field_strength: float | None = None,
    affine: object = None,
    mask: object = None,
    mask_method: str = "network",
    mask_border: float = 0.0,
    reference: str | None = None,
    register: bool = True,
    n4: bool = False,
    contrast_agent: bool = False,
    series: Iterable[int] | None = None,
    subject: str | None = None,
    rec: str | None = None,
    method: str = "embedding",
    weights: AnyPath | None = None,
    device: str = "auto",
) -> MappedSeries:
    """Map T1, T2 and PD from routine T1w, T2w and FLAIR images: `unweight maps`.

    Args:
        images: A BIDS tree, a folder of DICOM or NIfTI, or files whose names end in their contrast.
        t1w: Instead: a file, or a `WeightedScan` with its timings, which an array needs.
        t2w: Likewise.
        flair: Likewise.
        field_strength: [T]
        affine: Of arrays, which are on one grid.
        mask: Brain mask, a file, or of arrays another array; None or `auto` to find the brain.
        mask_method: `network` or `classical`, where there is no mask.
        mask_border: How far outside the surface the mask of the network ends [mm].
        reference: `t1w`, `t2w` or `flair`, on whose grid the maps lie; None for the first given.
        register: Whether files on other grids are registered, or resampled only.
        n4: Whether bias fields are removed from files first.
        contrast_agent: Whether images after a contrast agent are accepted, where there are no others.
        series: Numbers of the series of a folder of DICOM to choose from; None for all.
        subject: Of a BIDS tree, which; of other images, what it is called.
        rec: Label of `rec` in the names of the maps.
        method: `embedding`, `no-embedding`, `unet`, `pgan`, `physics`.
        weights: Folder of weights; None for those of the package.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UnweightError: Input or options cannot be used; the message says why and what to do.
    """
    call = WeightedCall(
        images=images,
        scans=dict(zip(CONTRASTS, (t1w, t2w, flair), strict=True)),
        field_strength=field_strength,
        affine=affine,
        mask=None if is_auto(mask) else mask,
        subject=subject,
    )
    options = replace(
        call.files(),
        reference=reference,
        no_register=not register,
        n4=n4,
        rec=rec,
        method=method,
        weights=path_of(weights),
        brain=MaskOptions(mask_method=mask_method, mask_border=mask_border),
        device=device,
        contrast_agent=contrast_agent,
        series=None if series is None else tuple(series),
    )
    if not call.in_memory:
        return map_files(options)
    return map_array(options, call.examination(rec, options.brain))
