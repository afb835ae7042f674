"""Groups among points: k-means, and how good and how stable they are."""
