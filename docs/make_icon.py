"""Draw the plugin's icon: a ball of Fourier space whose missing cone is filled in.

Usage: python docs/make_icon.py cryodl_plugin/icon.png
"""

import sys

import numpy as np
from PIL import Image

EDGE_PX = 256
OVERSAMPLING = 4
CONE_HALF_ANGLE_DEGREES = 32
DEEP, BRIGHT = np.array([18, 58, 112]), np.array([88, 170, 236])
FILL_DEEP, FILL_BRIGHT = np.array([214, 92, 8]), np.array([255, 190, 92])


def draw_icon() -> Image.Image:
    """Return the icon, 256 px, transparent outside the ball."""
    n = EDGE_PX * OVERSAMPLING
    y, x = np.mgrid[0:n, 0:n] / (n / 2) - 1 + 1 / n
    radius = np.hypot(x, y) / 0.96
    light = np.exp(-((x + 0.35) ** 2 + (y + 0.45) ** 2) / 0.55)[..., None]
    ball = DEEP + (BRIGHT - DEEP) * light
    fill = FILL_DEEP + (FILL_BRIGHT - FILL_DEEP) * light
    from_axis = np.degrees(np.arctan2(np.abs(x), np.abs(y)))
    cone = from_axis < CONE_HALF_ANGLE_DEGREES
    # The filling comes in shells, as resolution grows from the middle outwards.
    shells = (np.mod(radius * 4.5, 1) < 0.8) & (radius > 0.12)
    colour = np.where((cone & shells)[..., None], fill, ball)
    colour = np.where((radius < 0.12)[..., None], 255, colour)
    rim = np.clip((radius - 0.9) / 0.1, 0, 1)[..., None] * 0.35
    colour = colour * (1 - rim)
    alpha = np.where(radius <= 1, 255, 0)[..., None]
    pixels = np.concatenate([colour, alpha], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).resize((EDGE_PX, EDGE_PX), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw_icon().save(sys.argv[1], optimize=True)
