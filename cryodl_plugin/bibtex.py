"""
@inproceedings{Huang2022,
    author = {Huang, Qinwen and Zhou, Ye and Liu, Hsuan-Fu and Bartesaghi, Alberto},
    title = {Accurate Detection of Proteins in Cryo-Electron Tomograms from Sparse Labels},
    booktitle = {Computer Vision - ECCV 2022},
    series = {Lecture Notes in Computer Science},
    volume = {13681},
    year = {2022},
    doi = {https://doi.org/10.1007/978-3-031-19803-8_38}
}

@article{Huang2024,
    author = {Huang, Qinwen and Zhou, Ye and Bartesaghi, Alberto},
    title = {MiLoPYP: self-supervised molecular pattern mining and particle localization in situ},
    journal = {Nature Methods},
    volume = {21},
    year = {2024},
    doi = {https://doi.org/10.1038/s41592-024-02403-6}
}

@article{Liu2025,
    author = {Liu, Yun-Tao and Fan, Hongcheng and Hu, Jason J. and Zhou, Z. Hong},
    title = {Overcoming the preferred-orientation problem in cryo-EM with self-supervised deep learning},
    journal = {Nature Methods},
    volume = {22},
    pages = {113--123},
    year = {2025},
    doi = {https://doi.org/10.1038/s41592-024-02505-1}
}

@article{Luo2023,
    author = {Luo, Zhenwei and Ni, Fengyun and Wang, Qinghua and Ma, Jianpeng},
    title = {OPUS-DSD: deep structural disentanglement for cryo-EM single-particle analysis},
    journal = {Nature Methods},
    volume = {20},
    pages = {1729--1738},
    year = {2023},
    doi = {https://doi.org/10.1038/s41592-023-02031-6}
}

@article{Tan2017,
    author = {Tan, Yong Zi and Baldwin, Philip R. and Davis, Joseph H. and Williamson, James R. and Potter, Clinton S. and Carragher, Bridget and Lyumkis, Dmitry},
    title = {Addressing preferred specimen orientation in single-particle cryo-EM through tilting},
    journal = {Nature Methods},
    volume = {14},
    pages = {793--796},
    year = {2017},
    doi = {https://doi.org/10.1038/nmeth.4347}
}

@article{Zeng2018,
    author = {Zeng, Xiangrui and Leung, Miguel Ricardo and Zeev-Ben-Mordehai, Tzviya and Xu, Min},
    title = {A convolutional autoencoder approach for mining features in cellular electron cryo-tomograms and weakly supervised coarse segmentation},
    journal = {Journal of Structural Biology},
    volume = {202},
    number = {2},
    pages = {150-160},
    year = {2018},
    doi = {https://doi.org/10.1016/j.jsb.2017.12.015}
}

@inproceedings{Zeng2020,
    author = {Zeng, Xiangrui and Xu, Min},
    title = {Gum-Net: Unsupervised Geometric Matching for Fast and Accurate 3D Subtomogram Image Alignment and Averaging},
    booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
    year = {2020},
    doi = {https://doi.org/10.1109/CVPR42600.2020.00413}
}

@article{Zivanov2018,
    author = {Zivanov, Jasenko and Nakane, Takanori and Forsberg, Björn O. and Kimanius, Dari and Hagen, Wim J. H. and Lindahl, Erik and Scheres, Sjors H. W.},
    title = {New tools for automated high-resolution cryo-EM structure determination in RELION-3},
    journal = {eLife},
    volume = {7},
    pages = {e42166},
    year = {2018},
    doi = {https://doi.org/10.7554/eLife.42166}
}
"""  # noqa: D205, D400, E501 - Scipion reads this docstring as BibTeX
