"""The CIFAR networks in eager PyTorch, as a user would write them from the papers."""

import random

import torch
from torch import nn
from torch.nn import functional

from .task import survival_probabilities


def build(network, survival_probability=1.0):
    """Return a PyTorch module of a `CifarNetwork`."""
    if network.family == "resnet":
        return ResNet(network.blocks, network.classes, survival_probability)
    return DenseNet(network)


def _conv(channels, filters, size, stride=1):
    return nn.Conv2d(channels, filters, size, stride, padding=size // 2, bias=False)


class ResidualBlock(nn.Module):
    """Two convolutions and an option A shortcut, dropped by a Python `if` (Huang et al. 2016)."""

    def __init__(self, channels, filters, stride, survival_probability):
        super().__init__()
        self.conv1, self.norm1 = _conv(channels, filters, 3, stride), nn.BatchNorm2d(filters)
        self.conv2, self.norm2 = _conv(filters, filters, 3), nn.BatchNorm2d(filters)
        self.stride, self.missing = stride, filters - channels
        self.survival_probability = survival_probability

    def forward(self, x):
        shortcut = x
        if self.stride > 1 or self.missing:
            subsampled = x[:, :, :: self.stride, :: self.stride]
            shortcut = functional.pad(subsampled, (0, 0, 0, 0, 0, self.missing))
        if self.training and random.random() >= self.survival_probability:
            return functional.relu(shortcut)
        branch = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        branch = self.norm2(self.conv2(branch))
        if not self.training and self.survival_probability < 1:
            branch = branch * self.survival_probability
        return functional.relu(shortcut + branch)


class ResNet(nn.Module):
    """He et al. 2016, section 4.2."""

    def __init__(self, blocks, classes, survival_probability):
        super().__init__()
        probabilities = iter(survival_probabilities(3 * blocks, survival_probability))
        self.stem, self.norm = _conv(3, 16, 3), nn.BatchNorm2d(16)
        stages, channels = [], 16
        for filters in (16, 32, 64):
            for _ in range(blocks):
                stride = 1 if filters == channels else 2
                stages.append(ResidualBlock(channels, filters, stride, next(probabilities)))
                channels = filters
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        x = self.stages(functional.relu(self.norm(self.stem(x)), inplace=True))
        return self.head(x.mean((2, 3)))


class DenseLayer(nn.Sequential):
    """BN-ReLU-3x3, with BN-ReLU-1x1 before it in a network with bottlenecks."""

    def __init__(self, channels, growth_rate, bottleneck):
        parts = []
        if bottleneck:
            width = 4 * growth_rate
            parts = [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), _conv(channels, width, 1)]
            channels = width
        parts += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), _conv(channels, growth_rate, 3)]
        super().__init__(*parts)

    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


class DenseNet(nn.Module):
    """Huang et al. 2017, section 3."""

    def __init__(self, network):
        super().__init__()
        growth_rate = network.growth_rate
        channels = 2 * growth_rate if network.bottleneck else 16
        parts = [_conv(3, channels, 3)]
        for stage in range(3):
            if stage:
                filters = int(channels * network.compression)
                parts += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
                parts += [_conv(channels, filters, 1), nn.AvgPool2d(2)]
                channels = filters
            for _ in range(network.blocks):
                parts.append(DenseLayer(channels, growth_rate, network.bottleneck))
                channels += growth_rate
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.head = nn.Linear(channels, network.classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))
