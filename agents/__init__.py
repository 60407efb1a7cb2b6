"""Agents: networks, rollouts, PPO and its distribution with Ray."""
