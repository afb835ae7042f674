"""What the parameters of several spIsoNet commands say in the same words."""

HALF = "MRC file (.mrc, .map, also .gz); cubic, same box and pixel size as the other half."
MASK = "Solvent mask, same box, values 0 to 1."
PIXEL = "Pixel size to use instead of the one in the file headers."
