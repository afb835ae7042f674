"""What is done to volumes in real space: masks, boxes, scaling, tiles."""
