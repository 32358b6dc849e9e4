"""Pipelines, signal models, simulated data sets and quantities: one record each."""

from unweight.registry.records import DatasetName, Demand, FamilyBenchmark, Model, Pipeline, Quantity, Reuse

_PLAN = "unweight.run.plan:"
# What `qsm` and `mprage` take alike, and susceptibility depends on.
_OF_CHI = (
    *("--te", "--field", "--b0-direction", "--phase-range", "--phase-full-range", "--invert-phase"),
    *("--mask-method", "--mask-border", "--mask-weights"),
)
PIPELINES = (
    Pipeline(
        command="t1",
        family="t1",
        suffixes=("IRT1",),
        first=("T1map", ""),
        plan=_PLAN + "plan_inversion_recovery",
        fewest=3,
        nanoseconds=2000.0,
        bytes=199.0,
        demand=Demand(voxel=800.0, value=80.0, least=2**28),
        title="T1 from inversion recovery",
        short="T1",
        marks=("IEmap",),
        caveats=(
            "T1 is mono-exponential; a short component, as in white matter, is neither detected nor "
            "corrected.",
            "PD includes the receive sensitivity; compare it between neighbouring regions, not across the "
            "head.",
        ),
        segmented=True,
        page="t1.md",
        benchmark="unweight.cli.evaluate:T1",
        compares="from inversion recovery",
    ),
    Pipeline(
        command="maps",
        family="weighted",
        suffixes=("T1w", "T2w", "FLAIR"),
        first=("T1map", ""),
        plan=_PLAN + "plan_weighted",
        fewest=2,
        nanoseconds=1370.0,
        bytes=82.0,
        demand=Demand(voxel=275.0),
        title="T1, T2 and PD from routine images",
        short="T1 T2 PD",
        marks=("T2map",),
        n_faces=2,
        caveats=(
            "Three images do not determine all parameters: every estimate depends on a prior over normal "
            "tissue. In tissue unlike the simulation, inspect the misfit, and compare regions rather than "
            "single values.",
            "PD is relative to cerebrospinal fluid, which is 1. T2 of cerebrospinal fluid is poorly "
            "determined.",
        ),
        segmented=True,
        page="maps.md",
        benchmark="unweight.cli.evaluate:MAPS",
        compares="T1, T2 and PD from weighted images",
    ),
    Pipeline(
        command="r2star",
        family="decay",
        suffixes=("MEGRE",),
        first=("R2starmap", ""),
        plan=_PLAN + "plan_magnitudes",
        fewest=2,
        nanoseconds=173.0,
        bytes=18.0,
        demand=Demand(voxel=110.0),
        title="R2* and T2*",
        short="R2*",
        caveats=(
            "Field gradients within a voxel (sinuses, ear canals, implants) cause signal loss; R2* is then "
            "overestimated.",
        ),
        page="qsm.md",
    ),
    Pipeline(
        command="t2",
        family="decay",
        suffixes=("MESE",),
        first=("T2map", ""),
        plan=_PLAN + "plan_magnitudes",
        fewest=2,
        nanoseconds=9000.0,
        bytes=18.0,
        demand=Demand(voxel=400.0, value=24.0, least=2**28),
        title="T2",
        caveats=(
            "T2 is mono-exponential. If the method in the sidecar is one exponential (nonlinear, "
            "log-linear, arlo), stimulated echoes cause T2 to be overestimated by a few per cent.",
            "With stimulated echoes (epg), T2 depends on a slice profile that approximates the pulses of "
            "the scanner; B1 is a nuisance parameter that compensates for it, not a field map.",
        ),
        page="qsm.md",
    ),
    Pipeline(
        command="qsm",
        family="qsm",
        suffixes=("MEGRE",),
        first=("Chimap", ""),
        plan=_PLAN + "plan_complex",
        fewest=2,
        nanoseconds=400.0,
        bytes=30.0,
        demand=Demand(voxel=330.0),
        title="Magnetic susceptibility (QSM)",
        short="χ",
        caveats=(
            "Susceptibility is relative to the reference given above.",
            "The contrast of large structures is underestimated; compare a region between subjects, not "
            "tissues within one.",
            "The standard deviation covers noise only. Errors of background removal and inversion are "
            "larger and are not mapped; the outer few voxels of the brain are the least reliable.",
        ),
        page="qsm.md",
        benchmark="unweight.cli.evaluate:QSM",
        compares="R2* and susceptibility from multi-echo gradient echo",
    ),
    Pipeline(
        command="mprage",
        family="mprage",
        suffixes=("MEGRE",),
        first=("T1w", "synth"),
        plan=_PLAN + "plan_complex",
        fewest=2,
        without_phase=("--no-phase",),
        nanoseconds=1000.0,
        bytes=33.0,
        demand=Demand(voxel=230.0, value=28.0),
        title="Synthetic T1w image (not measured)",
        short="T1w",
        synthetic=True,
        caveats=(
            "This image is synthetic, not measured. What gradient echoes do not determine follows a prior "
            "over normal tissue.",
            "It is not for diagnosis, and not for lesions, tumours, or abnormal iron and myelin.",
        ),
        reuses=(
            Reuse(
                command="qsm",
                option="--chi",
                nanoseconds=300.0,
                shared=_OF_CHI,
                indifferent=("--device", "--no-figures"),
                excluded_by=("--chi", "--no-phase", "--drop-condition"),
            ),
        ),
        segmented=True,
        page="mprage.md",
        benchmark="unweight.cli.evaluate_mprage:MPRAGE",
        compares="T1w images from multi-echo gradient echo",
    ),
    Pipeline(
        command="segment",
        family="segmentation",
        suffixes=(),
        first=("dseg", ""),
        plan=_PLAN + "plan_nothing",
        nanoseconds=1000.0,
        bytes=60.0,
        demand=Demand(voxel=55.0, least=2**28),
        title="Segmentation",
        on_request=True,
        caveats=(
            "The network was trained on simulated images, in which deep grey nuclei are ellipsoids.",
            "Lesions are labelled as the tissue in which they lie.",
        ),
        page="segment.md",
    ),
)
MODELS = (
    Model(
        name="inversion-recovery",
        target="unweight.signals.inversion_recovery:InversionRecovery",
        summary="inversion recovery, signed or magnitude",
        suffixes=("IRT1",),
    ),
    Model(
        name="variable-flip-angle",
        target="unweight.signals.variable_flip_angle:VariableFlipAngle",
        summary="spoiled gradient echo at several flip angles",
        suffixes=("VFA",),
        command="vfa",
        maps=("T1map", "M0map"),
        b1_map="TB1map",
        title="T1 from variable flip angles",
        reference="Fram et al., Magn Reson Imaging 5:201 (1987)",
        caveats=(
            "The relative error of T1 is about twice that of the flip angle; without a B1 map, T1 varies "
            "with the transmit field.",
            "Perfect spoiling is assumed; otherwise T1 has an error of a few per cent.",
        ),
    ),
    Model(
        name="variable-flip-angle-mpm",
        target="unweight.signals.variable_flip_angle:SPOILED_25_MS",
        summary="variable-flip-angle, corrected for the imperfect spoiling of TR 25 ms, 6 and 21 degrees",
        suffixes=("VFA",),
        reference="Preibisch and Deichmann, Magn Reson Med 61:125 (2009)",
    ),
    Model(
        name="multi-echo-spin-echo",
        target="unweight.signals.epg:MULTI_ECHO_SPIN_ECHO",
        summary="train of spin echoes with stimulated echoes",
        suffixes=("MESE",),
        reference="Lebel and Wilman, Magn Reson Med 64:1005 (2010)",
    ),
    Model(
        name="t2-decay",
        target="unweight.signals.exponential_decay:T2_DECAY",
        summary="T2 from multi-echo spin echo",
        suffixes=("MESE",),
    ),
    Model(
        name="r2star-decay",
        target="unweight.signals.exponential_decay:R2STAR_DECAY",
        summary="R2* from multi-echo gradient echo",
        suffixes=("MEGRE",),
    ),
    Model(
        name="gradient-echo",
        target="unweight.signals.gradient_echo:GradientEcho",
        summary="spoiled multi-echo gradient echo",
        suffixes=("MEGRE",),
    ),
    Model(
        name="spin-echo",
        target="unweight.signals.spin_echo:SpinEcho",
        summary="spin echo and turbo spin echo",
        suffixes=("MESE", "T1w", "T2w"),
    ),
    Model(
        name="flair",
        target="unweight.signals.flair:Flair",
        summary="fluid-attenuated inversion recovery",
        suffixes=("FLAIR",),
    ),
    Model(
        name="mprage",
        target="unweight.signals.mprage:Mprage",
        summary="magnetisation-prepared gradient echo",
        suffixes=("T1w",),
    ),
)
BENCHMARKS = (
    FamilyBenchmark(
        command="mask",
        family="mask",
        benchmark="unweight.cli.evaluate_mask:MASK",
        compares="brain masks of images of eight contrasts",
    ),
    FamilyBenchmark(
        command="segment",
        family="segmentation",
        benchmark="unweight.cli.evaluate_segmentation:SEGMENTATION",
        compares="segmentations of images of eight contrasts",
    ),
)
_WEIGHTED_SETS = "unweight.benchmark.weighted.datasets:"
DATASETS = (
    *(
        DatasetName(name=name, family="weighted", target=f"{_WEIGHTED_SETS}{maker}", n_draws=n_draws)
        for name, maker, n_draws in (
            ("internal", "internal_set", 8),
            ("protocols", "protocols_set", 8),
            ("field", "field_set", 3),
            ("lesions", "lesions_set", 4),
        )
    ),
    *(
        DatasetName(name=name, family=family)
        for family, names in (
            (
                "t1",
                ("phantom", "brains", "brains-other", "brains-blurred", "scattered", "detail", "stability"),
            ),
            ("qsm", ("plain", "calcified")),
            ("mprage", ("healthy", "iron_overload", "demyelination")),
            ("mask", ("isotropic", "coarse", "thick")),
            ("segmentation", ("isotropic", "coarse", "thick")),
        )
        for name in names
    ),
)
QUANTITIES = (
    Quantity(
        suffix="T1map",
        name="T1",
        symbol="T1",
        words="longitudinal relaxation time",
        step=1e-3,
        sd_step=1e-3,
        colours="lipari",
        relaxation=True,
        window=(0.0, 3.0),
    ),
    Quantity(suffix="R1map", name="R1", symbol="R1", colours="lipari_r", relaxation=True),
    Quantity(
        suffix="T2map",
        name="T2",
        symbol="T2",
        words="transverse relaxation time",
        step=1e-4,
        sd_step=1e-4,
        colours="navia",
        relaxation=True,
        window=(0.0, 0.3),
    ),
    Quantity(suffix="R2map", name="R2", symbol="R2", colours="navia_r", relaxation=True),
    Quantity(
        suffix="T2starmap",
        name="T2star",
        symbol="T2*",
        words="effective transverse relaxation time",
        step=1e-4,
        sd_step=1e-4,
        colours="navia",
        relaxation=True,
        window=(0.0, 0.12),
    ),
    Quantity(
        suffix="R2starmap",
        name="R2star",
        symbol="R2*",
        words="effective transverse relaxation rate",
        step=0.1,
        sd_step=0.1,
        colours="navia_r",
        relaxation=True,
        window=(0.0, 60.0),
    ),
    Quantity(
        suffix="Chimap",
        name="Chi",
        symbol="χ",
        words="magnetic susceptibility",
        step=1e-3,
        sd_step=2e-4,
        colours="grayC",
        window=(-0.15, 0.15),
    ),
    Quantity(suffix="PDmap", name="PD", symbol="PD", words="proton density", colours="grayC"),
    Quantity(suffix="M0map", name="M0", symbol="M0", words="equilibrium magnetisation", colours="grayC"),
    Quantity(suffix="S0map", name="S0", symbol="S0", words="signal at echo time zero", colours="grayC"),
    Quantity(
        suffix="IEmap",
        name="B",
        symbol="B",
        words="inversion efficiency, 2 for a perfect inversion",
        step=0.01,
        sd_step=0.01,
        window=(1.0, 2.2),
    ),
    Quantity(
        suffix="T1w",
        name="T1w",
        symbol="T1w",
        words="synthetic image, not measured",
        step=0.005,
        sd_step=0.005,
        colours="grayC",
        window=(0.0, 1.2),
    ),
)
