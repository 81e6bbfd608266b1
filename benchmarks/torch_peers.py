"""The networks in PyTorch, as a user would write them from the papers."""

import random

import torch
from torch import nn
from torch.nn import functional

from .task import ImageNetNetwork, survival_probabilities


def build(network, survival_probability=1.0):
    """Return a PyTorch module of a `CifarNetwork`, or of an `ImageNetNetwork` at constant depth."""
    if network.family == "densenet":
        return DenseNet(network)
    if isinstance(network, ImageNetNetwork):
        return ImageNetResNet(network.stages, network.classes)
    return ResNet(network.blocks, network.classes, survival_probability)


def compile_network(model):
    """Compile a module in place: all of it, or with stochastic depth each block.

    The Python `if` of a block that may be dropped would break the graph of the whole network.
    """
    blocks = [block for block in model.modules() if isinstance(block, ResidualBlock) and block.may_be_dropped]
    for block in blocks:
        block.residual = torch.compile(block.residual)
    if not blocks:
        model.compile()


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
        self.may_be_dropped = survival_probability < 1

    def forward(self, x):
        if self.training and self.may_be_dropped and random.random() >= self.survival_probability:
            return functional.relu(self.shortcut(x))
        return self.residual(x)

    def shortcut(self, x):
        if self.stride == 1 and not self.missing:
            return x
        subsampled = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(subsampled, (0, 0, 0, 0, 0, self.missing))

    def residual(self, x):
        branch = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        branch = self.norm2(self.conv2(branch))
        if not self.training and self.may_be_dropped:
            branch = branch * self.survival_probability
        return functional.relu(self.shortcut(x) + branch)


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
        _initialize(self)

    def forward(self, x):
        x = self.stages(functional.relu(self.norm(self.stem(x)), inplace=True))
        return self.head(x.mean((2, 3)))


def _initialize(model):
    """Initialize convolutions as He et al. 2015."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)


def _imagenet_stem(channels):
    return [_conv(3, channels, 7, 2), nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)]


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 pixels and an option B shortcut; the first has the stride, as in the paper."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.branch = nn.Sequential(
            *(_conv(channels, filters, 1, stride), nn.BatchNorm2d(filters), nn.ReLU(inplace=True)),
            *(_conv(filters, filters, 3), nn.BatchNorm2d(filters), nn.ReLU(inplace=True)),
            *(_conv(filters, 4 * filters, 1), nn.BatchNorm2d(4 * filters)),
        )
        self.shortcut = nn.Identity()
        if channels != 4 * filters:
            self.shortcut = nn.Sequential(_conv(channels, 4 * filters, 1, stride), nn.BatchNorm2d(4 * filters))

    def forward(self, x):
        return functional.relu(self.shortcut(x) + self.branch(x), inplace=True)


class ImageNetResNet(nn.Module):
    """He et al. 2016, table 1, networks of bottlenecks."""

    def __init__(self, stages, classes):
        super().__init__()
        parts, channels = _imagenet_stem(64), 64
        for stage, blocks in enumerate(stages):
            filters = 64 * 2**stage
            for block in range(blocks):
                parts.append(Bottleneck(channels, filters, 2 if stage and not block else 1))
                channels = 4 * filters
        self.features = nn.Sequential(*parts)
        self.head = nn.Linear(channels, classes)
        _initialize(self)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


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
    """Huang et al. 2017, section 3 (CIFAR) and table 1 (ImageNet)."""

    def __init__(self, network):
        super().__init__()
        growth_rate = network.growth_rate
        channels = 2 * growth_rate if network.bottleneck else 16
        is_imagenet = isinstance(network, ImageNetNetwork)
        parts = _imagenet_stem(channels) if is_imagenet else [_conv(3, channels, 3)]
        for stage, blocks in enumerate(network.stages):
            if stage:
                filters = int(channels * network.compression)
                parts += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
                parts += [_conv(channels, filters, 1), nn.AvgPool2d(2)]
                channels = filters
            for _ in range(blocks):
                parts.append(DenseLayer(channels, growth_rate, network.bottleneck))
                channels += growth_rate
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.head = nn.Linear(channels, network.classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))
