"""What a world model gains from one shared latent, and an agent from imagined rollouts."""
