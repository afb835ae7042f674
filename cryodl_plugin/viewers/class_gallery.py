"""Groups of subvolumes at a glance: average and decoded centre side by side; without any window."""

import numpy as np

from cryodl_plugin.viewers.slices.gallery import GalleryItem, GalleryModel, _fit

_TILE = 208
_SHOWN_SLICES = 3
_GROUND = 0.13  # about that of the window


class ClassGallery(GalleryModel):
    """A picture a group: on the left what was measured, on the right what the network imagines."""

    def __post_init__(self):
        super().__post_init__()
        self.tile, self.thickness = _TILE, _SHOWN_SLICES

    def _read(self, item):
        half = max(self.tile // 2 - 2, 8)
        square = np.full((self.tile, self.tile), _GROUND, np.float32)
        for place, source in enumerate(item.source):
            image = super()._read(GalleryItem(None, source))
            if image is None:
                return None
            low = (self.tile - half) // 2
            left = place * (self.tile - half)
            square[low : low + half, left : left + half] = _fit(image, half)
        return square


def classGallery(averages, centers, sizes):
    """Return the gallery of groups.

    Parameters
    ----------
    averages, centers : list of str
        Files, in the order of the groups.
    sizes : list of int
        Particles of each.
    """
    return ClassGallery(
        [
            GalleryItem(k, (average, center), f"group {k}: {size} particles", float(size), k)
            for k, (average, center, size) in enumerate(zip(averages, centers, sizes), start=1)
        ]
    )
