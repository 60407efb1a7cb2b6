"""The study of the text bridge: what a continuous latent of text costs, what it is worth and how it is used."""
