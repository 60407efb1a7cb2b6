"""Encoders: text, image and video into one shared latent."""
