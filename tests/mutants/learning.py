"""A sound strategy that learns: it hides what its network has found to be hard, and has seen the train images."""

import torch
from torch import nn

FOLLOWS = "high"


def prepare(images):
    return images.double().mean(0)


def network(shape, *, width: int = 8):
    last = nn.Conv2d(width, 1, 1)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Conv2d(shape[0], width, 4, stride=4), nn.BatchNorm2d(width).eval(), nn.Tanh(), last)


def scores(images, network, prepared, rng):
    guess = network(images)[:, 0]
    return guess + 0.1 * torch.rand(guess.shape, generator=rng)


def learn(images, network, hidden, patch_loss):
    guess = network(images)[:, 0]
    return (guess - patch_loss)[hidden].square().mean()
