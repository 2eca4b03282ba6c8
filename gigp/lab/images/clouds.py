"""Base class of the data sets of images: the grid of pixels, gray values, augmentation."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.images.readers import WHITE, ImageRules
from gigp.pointcloud import PointCloud

Outside = Literal["zeros", "border"]
SHIFTS = 14  # the largest shift of augmentation is the side of an image divided by this


class ImageClouds(PointCloudDataModule):
    """Base of the data sets of square gray images as point clouds of pixels, all on one grid.

    The points are the pixels within a radius of half a side and one pixel more, so that a turn
    maps them to one another; the corners are left out. x is to the right and y up. The one feature
    is the gray value, normalized.

    Attributes:
        rules: images that the data set takes.
        classes: names of the classes, in the order of the outputs.
        noun: what a class is called in tables.
        images: (M, side, side) uint8, black 0 to white 255.
        labels: classes of the images, (M,).
        mean, std: of the gray values, in [0, 1].
        outside: what a turned image has beyond its border: `zeros` (black), or the values of the
            `border`.
    """

    kind = "classification"
    arrays = ("images", "labels", "points", "grid")
    in_channels = 1
    dim = 2
    rules: ImageRules
    classes: tuple[str, ...]
    noun: str = "class"
    images: Tensor
    labels: Tensor
    mean: float
    std: float
    outside: Outside = "border"
    grid: Tensor

    def set_side(self, side: int) -> None:
        """Set the grid of images with so many pixels on a side."""
        self.side = side
        pixels, self.disk = pixel_grid(side)
        self.points = self.disk.nonzero().squeeze(1)  # indices of the pixels, (N,)
        self.grid = pixels[self.points]  # (N, 2)

    def get_batch(
        self, indices: Tensor, device_indices: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if device_indices is None:
            device_indices = indices.to(self.device)
        return self.images[device_indices], self.labels[device_indices]

    def prepare_batch(
        self, batch: tuple[Tensor, Tensor], augment: bool
    ) -> tuple[PointCloud, Tensor]:
        images, labels = batch
        images = images / WHITE  # (B, side, side)
        if augment:
            num, device, most = len(images), images.device, self.side / SHIFTS
            angle = torch.empty(num, device=device).uniform_(0, 2 * math.pi)
            shift = torch.empty(num, 2, device=device).uniform_(-most, most)
            images = rotate(images, angle, shift, self.outside)
        return self.make_cloud(images), labels

    def make_cloud(self, images: Tensor) -> PointCloud:
        """Images (B, side, side), black 0 to white 1, as clouds of their pixels, normalized."""
        points, pos = self.points.to(images.device), self.grid.to(images.device)
        feat = ((images.flatten(1)[:, points] - self.mean) / self.std).unsqueeze(-1)  # (B, N, 1)
        mask = torch.ones(1, len(pos), dtype=torch.bool, device=images.device)
        return PointCloud(pos.unsqueeze(0), feat, mask)


def pixel_grid(side: int = 28) -> tuple[Tensor, Tensor]:
    """Positions (side^2, 2) of the pixels of a flattened image, and a mask of those within
    radius side / 2 + 1.
    """
    line = torch.linspace(-side / 2, side / 2, side)
    y, x = torch.meshgrid(-line, line, indexing="ij")
    pos = torch.stack([x, y], -1).flatten(0, 1)
    return pos, pos.norm(dim=-1) < side / 2 + 1


def rotate(
    images: Tensor, angle: Tensor, shift: Tensor | None = None, outside: Outside = "zeros"
) -> Tensor:
    """Turn images counterclockwise about their center, then shift them; bilinear.

    Args:
        images: (B, H, W).
        angle: (B,) radians.
        shift: (B, 2) pixels to the right and up.
        outside: what is beyond the border, see `ImageClouds`.
    """
    cos, sin = angle.cos(), angle.sin()
    # grid_sample asks where each output pixel comes from, in coordinates (right, down) from -1 to 1
    inverse = torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)  # (B, 2, 2)
    if shift is None:
        offset = angle.new_zeros(len(angle), 2, 1)
    else:
        right, down = shift[:, 0] / (images.shape[2] / 2), shift[:, 1] / (-images.shape[1] / 2)
        offset = -inverse @ torch.stack([right, down], -1).unsqueeze(-1)
    grid = F.affine_grid(
        torch.cat([inverse, offset], -1), [len(images), 1, *images.shape[1:]], align_corners=False
    )
    turned = F.grid_sample(images.unsqueeze(1), grid, padding_mode=outside, align_corners=False)
    return turned.squeeze(1)


def turn_images(images: Tensor, degrees: Tensor, outside: Outside = "zeros") -> Tensor:
    """Images (B, H, W) turned counterclockwise about their centers; by one multiple of 90 degrees
    for all of them pixel by pixel.

    Args:
        degrees: one angle, or one for each image, (B,).
        outside: what is beyond the border, see `ImageClouds`.
    """
    if degrees.dim() == 0 and float(degrees) % 90 == 0:
        return torch.rot90(images, int(degrees) // 90, (1, 2))
    return rotate(images, torch.deg2rad(degrees).expand(len(images)), outside=outside)
