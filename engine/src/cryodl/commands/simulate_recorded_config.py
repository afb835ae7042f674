"""Parameters of the simulations that record molecules with a microscope, shared parts first."""

from __future__ import annotations

from typing import Literal

from cryodl.core.config.parameters import CommandConfig, parameter

_SHIPPED = (
    "groel_groes, proteasome_20s, rubisco, p97, haemoglobin, groel_ring_cis, groel_ring_trans"
)


class MoleculesConfig(CommandConfig):
    """What every such simulation takes: molecules, optics, noise, grey values."""

    structure: list[str] = parameter(
        ["groel_groes"],
        help=f"A shipped density ({_SHIPPED}) or a cubic MRC file, matter bright. Give it several "
        "times for several classes; class numbers follow the order.",
        group="Molecules",
    )
    proportion: list[float] = parameter(
        [],
        help="Shares of the structures, one number each in their order, of any sum. By default "
        "all are equally frequent.",
        group="Molecules",
    )
    pixel_size: float = parameter(
        10.0, help="Pixel size of the data.", unit="angstrom", group="Molecules", gt=0
    )
    resolution: float | None = parameter(
        None,
        help="Finest detail of the molecules. By default 2.5 pixels.",
        unit="angstrom",
        group="Molecules",
        expert=True,
        gt=0,
    )
    equalise: bool = parameter(
        False,
        help="Give all structures the same contrast, so that no class is told by its brightness.",
        group="Molecules",
        expert=True,
    )
    motion: float = parameter(
        0.0,
        help="Range over which the upper half of every molecule turns on a hinge through its "
        "centre (about its x axis): a continuous motion.",
        unit="degrees",
        group="Molecules",
        ge=0,
        le=180,
    )
    motion_steps: int = parameter(
        1,
        help="States that the motion is cut into, evenly over its range.",
        group="Molecules",
        ge=1,
        le=100,
    )
    ctf: bool = parameter(
        True, help="Apply a contrast transfer function to the images.", group="Optics"
    )
    defocus: float = parameter(
        30000.0, help="Underfocus.", unit="angstrom", group="Optics", ge=0, le=200000
    )
    voltage: float = parameter(
        300.0, help="Acceleration voltage, kV.", group="Optics", expert=True, ge=50, le=1000
    )
    spherical_aberration: float = parameter(
        2.7, help="Spherical aberration, mm.", group="Optics", expert=True, ge=0, le=20
    )
    amplitude_contrast: float = parameter(
        0.07, help="Share of amplitude contrast.", group="Optics", expert=True, ge=0, le=1
    )
    bfactor: float = parameter(
        0.0,
        help="Envelope exp(-B s^2 / 4) on every image, B in square Angstrom.",
        group="Optics",
        expert=True,
        ge=0,
    )
    noise_exponent: float = parameter(
        0.0,
        help="Noise power of the detector falls with the frequency to this power: 0 white, 1 pink.",
        group="Noise",
        ge=-4,
        le=4,
    )
    contrast: Literal["bright", "dark"] = parameter(
        "bright", help="Matter is bright, or dark as on a micrograph.", group="Grey values"
    )
    intensity_scale: float = parameter(
        1.0,
        help="Deviation of the noise in the data (of the signal, where there is no noise).",
        group="Grey values",
        expert=True,
        gt=0,
    )
    intensity_offset: float = parameter(
        0.0, help="Added to all values.", group="Grey values", expert=True
    )


class TiltSeriesConfig(MoleculesConfig):
    """What the simulations of tomography take besides."""

    tilt_min: float = parameter(
        -60.0, help="Lowest tilt.", unit="degrees", group="Tilt series", gt=-90, lt=90
    )
    tilt_max: float = parameter(
        60.0, help="Highest tilt.", unit="degrees", group="Tilt series", gt=-90, lt=90
    )
    tilt_increment: float = parameter(
        3.0, help="Angle between tilts.", unit="degrees", group="Tilt series", ge=0.1, le=90
    )
    tilt_axis: Literal["y", "x"] = parameter("y", help="Axis of tilting.", group="Tilt series")
    tilt_order: Literal["dose-symmetric", "bidirectional", "continuous"] = parameter(
        "dose-symmetric",
        help="Order of recording: outward from 0 on both sides in turn; up from 0, then down; or "
        "from the lowest to the highest. Later tilts have seen more dose.",
        group="Tilt series",
    )
    dose_per_tilt: float = parameter(
        3.0,
        help="Electrons per square Angstrom of each tilt.",
        group="Tilt series",
        ge=0,
        le=1000,
    )
    dose_damping: bool = parameter(
        True, help="Let fine detail fade with the dose received.", group="Tilt series"
    )
    thickness_damping: bool = parameter(
        True,
        help="Scale the signal of a tilt with the cosine of its angle, for the longer path "
        "through the ice.",
        group="Tilt series",
        expert=True,
    )
    filter: Literal["ramp", "exact"] = parameter(
        "ramp",
        help="Weight of the back-projection: ramp, or exact, which keeps more of the high "
        "frequencies when tilts are few.",
        group="Tilt series",
        expert=True,
    )
    phase_flip: bool = parameter(
        False,
        help="Put the sign of the contrast transfer function right before the reconstruction.",
        group="Optics",
    )
    noise: Literal["detector", "smooth", "none"] = parameter(
        "detector",
        help="detector: drawn for each image of the series and reconstructed with it. smooth: "
        "Gaussian noise of some smoothness, added to the finished volume. none: no noise.",
        group="Noise",
    )
    snr: float = parameter(
        0.1,
        help="Variance of the signal inside the particles over the variance of the noise, both in "
        "the finished volumes. Measured and told in the result.",
        group="Noise",
        gt=0,
        le=1e6,
    )
    noise_statistics: Literal["gaussian", "poisson"] = parameter(
        "gaussian",
        help="Statistics of the detector; poisson counts the electrons that the dose gives.",
        group="Noise",
        expert=True,
    )
    noise_correlation_px: float = parameter(
        1.0,
        help="Smoothness of --noise smooth: standard deviation of a Gaussian; 0 is white.",
        unit="px",
        group="Noise",
        expert=True,
        ge=0,
        le=50,
    )


class SimulateSubtomogramsConfig(TiltSeriesConfig):
    """Simulate subtomograms with known poses, classes and states.

    Every particle is projected along all tilts, gets contrast transfer function, dose damping and
    noise there, and is reconstructed by weighted back-projection. Writes one volume a particle and
    a STAR file of RELION 3.1, and beside them, under truth/, what is true of them.
    """

    number: int = parameter(
        100, help="Subtomograms, junk included.", group="Particles", ge=1, le=1000000
    )
    box_size_px: int = parameter(
        32, help="Edge of the subtomograms.", unit="px", group="Particles", ge=12, le=512
    )
    max_shift_px: float = parameter(
        2.0,
        help="Particles lie off the centre by up to this along each axis.",
        unit="px",
        group="Particles",
        ge=0,
    )
    junk_fraction: float = parameter(
        0.0,
        help="Share of boxes that hold no particle: empty ice, gold beads, membranes, blobs.",
        group="Particles",
        ge=0,
        le=1,
    )
    neighbours: int = parameter(
        0, help="Other particles about each one.", group="Particles", ge=0, le=50
    )
    poses: Literal["true", "perturbed", "none"] = parameter(
        "true",
        help="What the STAR file tells of angles and origins; the truth is under truth/.",
        group="Particles",
    )
    pose_error: float = parameter(
        5.0,
        help="Standard deviation of the angle by which poses are wrong (--poses perturbed).",
        unit="degrees",
        group="Particles",
        ge=0,
        le=180,
    )
    shift_error_px: float = parameter(
        1.0,
        help="Standard deviation of the error of each origin (--poses perturbed).",
        unit="px",
        group="Particles",
        ge=0,
    )
    defocus_spread: float = parameter(
        0.0,
        help="Particles differ in defocus by up to this, up or down.",
        unit="angstrom",
        group="Optics",
        ge=0,
    )
    imaging: Literal["tilt-series", "wedge", "none"] = parameter(
        "tilt-series",
        help="wedge multiplies with a missing wedge instead, none leaves all directions: for "
        "tests only.",
        group="Tilt series",
        expert=True,
    )
    ctf_volumes: bool = parameter(
        True,
        help="Write the factor on every Fourier component, wedge and contrast transfer function, "
        "as rlnCtfImage.",
        group="Output",
    )


class SimulateTomogramConfig(TiltSeriesConfig):
    """Simulate a crowded tomogram with the place, pose and class of every particle.

    The specimen (particles, decoys, membranes, gold beads, uneven ice) is projected along all
    tilts, gets contrast transfer function, dose damping and noise, and is reconstructed by weighted
    back-projection. Writes the tomogram, and under truth/ what is in it.
    """

    number: int = parameter(
        100,
        help="Particles asked for. What finds no room is left out and told.",
        group="Specimen",
        ge=1,
        le=100000,
    )
    box_size_px: int = parameter(
        256, help="Extent in x and y.", unit="px", group="Specimen", ge=16, le=8192
    )
    thickness_px: int = parameter(
        64, help="Extent in z.", unit="px", group="Specimen", ge=8, le=2048
    )
    height_px: int | None = parameter(
        None,
        help="Extent in y, if not that of x.",
        unit="px",
        group="Specimen",
        expert=True,
        ge=16,
        le=8192,
    )
    spacing: float = parameter(
        1.0,
        help="Least distance of two particles, in units of the sum of their radii; below 1 they "
        "may touch.",
        group="Specimen",
        expert=True,
        gt=0,
        le=100,
    )
    border_px: float | None = parameter(
        None,
        help="Least distance of centres from the faces. By default particles lie wholly inside.",
        unit="px",
        group="Specimen",
        expert=True,
        ge=0,
    )
    decoys: int = parameter(
        0,
        help="Things that are no particles: small balls and long rods in turn.",
        group="Specimen",
        ge=0,
        le=100000,
    )
    vesicles: int = parameter(0, help="Closed membranes.", group="Specimen", ge=0, le=1000)
    sheets: int = parameter(0, help="Flat membranes.", group="Specimen", ge=0, le=1000)
    vesicle_radius: float | None = parameter(
        None,
        help="Mean radius of the vesicles. By default what the thickness allows.",
        unit="angstrom",
        group="Specimen",
        expert=True,
        gt=0,
    )
    membrane_thickness: float = parameter(
        40.0,
        help="Distance of the two leaflets.",
        unit="angstrom",
        group="Specimen",
        expert=True,
        gt=0,
    )
    beads: int = parameter(0, help="Gold beads.", group="Specimen", ge=0, le=10000)
    bead_diameter: float = parameter(
        100.0, help="Of the gold beads.", unit="angstrom", group="Specimen", expert=True, gt=0
    )
    bead_contrast: float = parameter(
        8.0,
        help="Density of gold over that of the particles.",
        group="Specimen",
        expert=True,
        gt=0,
    )
    ice_texture: float = parameter(
        0.05,
        help="Unevenness of the ice: its deviation over the density of the particles.",
        group="Specimen",
        ge=0,
        le=10,
    )
    texture_correlation: float = parameter(
        30.0,
        help="Smoothness of the ice's unevenness.",
        unit="angstrom",
        group="Specimen",
        expert=True,
        ge=0,
    )
    defocus_gradient: bool = parameter(
        False,
        help="Let the defocus of tilted images change across the tilt axis.",
        group="Optics",
        expert=True,
    )
    contrast: Literal["bright", "dark"] = parameter(
        "dark", help="Matter is dark as in most tomograms, or bright.", group="Grey values"
    )
    tilt_images: bool = parameter(
        False,
        help="Write the tilt series with its noise as well, with a file of angles.",
        group="Output",
    )
