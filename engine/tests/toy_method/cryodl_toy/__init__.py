"""A sixth method, as small as one can be: a filter learned from two half maps."""
