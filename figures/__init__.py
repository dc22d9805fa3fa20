"""What a generator shows: a trained network asked for images, the paper's figures, latents in
files, directions, animations, and the way from a picture back to its latent. Imports `training`,
`data` and what those stand on.
"""
