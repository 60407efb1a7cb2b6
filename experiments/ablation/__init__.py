"""The ablation study: what one shared latent gains over late fusion and over one modality, against non-separability."""
