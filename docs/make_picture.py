"""Draw the picture at the top of the README from the command line's own results.

Usage, in an empty folder::

    cryodl simulate half-maps --mode preferred --reconstruction weighted --snr 10 --output half_maps
    cryodl spisonet fsc3d half_maps/half1.mrc half_maps/half2.mrc --mask half_maps/mask.mrc \
        --limit-res 9 --output fsc3d
    python docs/make_picture.py . docs/pictures/preferred_orientation.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryodl.core.io.mrc import read_volume
from cryodl.core.run.figures import new_figure

PANELS = (
    ("half_maps/truth/truth.mrc", "The structure"),
    ("half_maps/half1.mrc", "A half map, one orientation preferred"),
    ("fsc3d/fsc3d.mrc", "Resolution by direction (3DFSC)"),
)


def main(folder: Path, picture: Path) -> None:
    """Draw the sections that contain the z axis, side by side."""
    figure = new_figure(1, 3, 10.0, 3.7)
    for axis, (name, title) in zip(figure.axes, PANELS):
        volume = read_volume(folder / name).data
        section = volume[:, volume.shape[1] // 2, :]
        is_weight = name.endswith("fsc3d.mrc")
        limits = (0.0, 1.0) if is_weight else (0.0, float(section.max()) * 0.9)
        axis.imshow(
            section,
            cmap="gray" if not is_weight else "inferno",
            vmin=limits[0],
            vmax=limits[1],
            origin="lower",
            interpolation="bicubic" if not is_weight else "nearest",
        )
        axis.set_title(title, fontsize=11)
        axis.set_axis_off()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
