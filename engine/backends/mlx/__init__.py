"""mlx-lm's models on Apple's GPU, and on any CPU that MLX runs on, under the project's own loop."""
