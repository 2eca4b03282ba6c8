"""Rotated MNIST, a user's own images, and their readers."""
