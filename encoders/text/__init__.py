"""Text: utterances as tokens for agents, and as continuous latents by a small generative model."""
