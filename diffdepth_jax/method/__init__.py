"""The paper as pure functions: diffusion, refinement of a latent, losses and the objective."""
