"""A sound task: the class whose mean feature is nearest."""

import torch

VERSION = 1
NEEDS = "label"
METRICS = {"accuracy": ("%", "higher")}


def fit(encode, train, val):
    features, label = encode(train.images).mean((2, 3)), train.targets["label"]
    means = torch.stack([features[label == one].mean(0) for one in label.unique()])

    def predict(images):
        features = encode(images).mean((2, 3))
        return -torch.cdist(features, means)

    return predict


def measure(guess, targets):
    right = guess.argmax(1) == targets["label"]
    return {"accuracy": 100 * right.double().mean().item()}
