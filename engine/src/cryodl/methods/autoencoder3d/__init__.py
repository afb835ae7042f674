"""Autoencoder3D and EDSS3D: clusters of subvolumes, and segmentation from chosen clusters."""
