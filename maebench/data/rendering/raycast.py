"""A ray caster for batches of small scenes: a ground plane, a back wall and textured solids, with exact depth.

World: x right, y up, z ahead, in metres; the ground is y = 0 and the camera stands at (0, height, 0), pitched down.
All in float64, though 8 bits and a float32 depth come of it: processors round differently, and in float32 that moved a
few pixels of a thousand images by a level or more, so that two machines had two data sets.
Axes here: B scenes, S solids a scene, K = 2 + S surfaces (ground, wall, solids), R rays a scene, P (solid, ray) pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.data.rendering.solids import BOUND, SOLIDS, trace
from maebench.data.rendering.textures import sample

# Five rays a pixel: its centre, for depth, and a 2x2 grid, whose mean colour is the pixel's.
RAYS = ((0.0, 0.0), (-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))


@dataclass(frozen=True)
class Scenes:
    """B scenes: float64 tensors unless said otherwise, lengths in metres, angles in radians."""

    camera: Tensor
    """[B, 3] height, pitch downwards, focal length in image widths"""
    wall: Tensor
    """[B, 2] distance from the camera along the wall's normal, turn about y"""
    solid: Tensor
    """int64 [B, S] index into SOLIDS, -1 = none"""
    place: Tensor
    """[B, S, 2] x and z of the centre"""
    extent: Tensor
    """[B, S, 3] half-sizes along the solid's own axes"""
    yaw: Tensor
    """[B, S] turn about y"""
    volume: Tensor
    """int64 [B, K] which texture volume"""
    grain: Tensor
    """[B, K] texels a metre"""
    frame: Tensor
    """[B, 3, 3] rotation from the world to the axes of the texture volumes"""
    colour: Tensor
    """[B, K, 2, 3] RGB of the darkest and the brightest texel, 1 = white"""
    light: Tensor
    """[B, 3] unit vector towards the light"""
    ambient: Tensor
    """[B] strength of the light from everywhere, where the directed light is 1"""

    def __getitem__(self, rows: slice) -> "Scenes":
        """Some of the scenes."""
        return Scenes(**{name: value[rows] for name, value in vars(self).items()})


def render(scenes: Scenes, bank: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """-> images uint8 [B, 3, size, size] and depth float32 [B, 1, size, size].

    Depth is z-depth in metres: along the optical axis, exact at the pixel's centre. Colour is the mean of 2x2 rays.
    bank [V, side, side, side] are the texture volumes.
    """
    rays = _rays(scenes, size)
    depth, surface, facing = _planes(scenes, rays)
    for index in range(len(SOLIDS)):
        _solids(scenes, index, rays, depth, surface, facing)
    first = size * size  # the centre rays need no colour
    colour = _shade(scenes, bank, rays[..., first:], depth[:, first:], surface[:, first:], facing[:, first:])
    pixels = colour.view(3, len(depth), -1, size, size).mean(2).transpose(0, 1)
    return pixels.mul(255).round_().clamp_(0, 255).to(torch.uint8), depth[:, :first].float().view(-1, 1, size, size)


def _rays(scenes: Scenes, size: int) -> Tensor:
    """-> directions [3, B, R] whose part along the optical axis is 1, so that a ray's parameter is z-depth."""
    _, pitch, focal = scenes.camera.T[..., None]
    pixel = torch.arange(size, dtype=torch.float64) + 0.5
    v, u = torch.stack([torch.cartesian_prod(pixel + y, pixel + x) for y, x in RAYS]).flatten(0, 1).T / size - 0.5
    right, up = u / focal, -v / focal
    return torch.stack([right, up * pitch.cos() - pitch.sin(), up * pitch.sin() + pitch.cos()])


def _planes(scenes: Scenes, rays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """-> depth [B, R] of ground or wall, surface int64 [B, R] (0 or 1), cosine to the light [B, R]."""
    distance, turn = scenes.wall.T[..., None]
    light = scenes.light.T[..., None]
    ground = torch.where(rays[1] < 0, -scenes.camera[:, :1] / rays[1], torch.inf)
    wall = distance / (turn.sin() * rays[0] + turn.cos() * rays[2])
    facing = torch.where(ground < wall, light[1], -turn.sin() * light[0] - turn.cos() * light[2])
    return torch.minimum(ground, wall), (ground >= wall).long(), facing


def _centre(scenes: Scenes, row: Tensor, slot: Tensor) -> Tensor:
    """-> [3, P] world centres of the solids scenes[row, slot], which stand on the ground."""
    x, z = scenes.place[row, slot].T
    return torch.stack([x, scenes.extent[row, slot, 1], z])


def _own(scenes: Scenes, vector: Tensor, row: Tensor, slot: Tensor) -> Tensor:
    """World vectors [3, P, ...] -> the axes and half-sizes of the solids scenes[row, slot], row and slot [P]."""
    shape = (-1,) + (1,) * (vector.ndim - 2)
    yaw, extent = scenes.yaw[row, slot].view(shape), scenes.extent[row, slot].T.reshape(3, *shape)
    x, y, z = vector
    return torch.stack([yaw.cos() * x - yaw.sin() * z, y, yaw.sin() * x + yaw.cos() * z]) / extent


def _solids(scenes: Scenes, index: int, rays: Tensor, depth: Tensor, surface: Tensor, facing: Tensor) -> None:
    """Draw every solid of one kind into depth, surface and facing [B, R], in place."""
    row, slot = (scenes.solid == index).nonzero().T
    eye = -_centre(scenes, row, slot)
    eye[1] += scenes.camera[row, 0]
    eye, ray = _own(scenes, eye, row, slot), _own(scenes, rays[:, row], row, slot)
    along, speed = (eye[..., None] * ray).sum(0), ray.square().sum(0)
    near = along.square() > speed * (eye.square().sum(0) - BOUND**2)[:, None]
    solid, pixel = near.nonzero().T
    t, normal = trace(list(SOLIDS.values())[index], eye[:, solid], ray[:, solid, pixel])
    row, slot = row[solid], slot[solid]
    cosine = _cosine(scenes, normal, row, slot)
    for turn in range(scenes.solid.shape[1]):  # one slot at a time, so that no two pairs write to one ray
        mine = ((slot == turn) & (t < depth[row, pixel])).nonzero()[:, 0]
        place = (row[mine], pixel[mine])
        depth[place], surface[place], facing[place] = t[mine], torch.tensor(2 + turn), cosine[mine]


def _cosine(scenes: Scenes, normal: Tensor, row: Tensor, slot: Tensor) -> Tensor:
    """Outward normals [3, P] in half-sizes of the solids -> cosine of the angle to the light [P]."""
    extent = scenes.extent[row, slot].T
    normal = normal / extent
    light = _own(scenes, scenes.light[row].T, row, slot) * extent
    return (normal * light).sum(0) / normal.square().sum(0).sqrt().clamp_min(1e-12)


def _shade(scenes: Scenes, bank: Tensor, rays: Tensor, depth: Tensor, surface: Tensor, facing: Tensor) -> Tensor:
    """-> colours [3, B, R], 1 = white, may be more: texture x (ambient + Lambert x shadow)."""
    point = rays * depth
    point[1] += scenes.camera[:, :1]
    texel = torch.stack([(axis[..., None] * point).sum(0) for axis in scenes.frame.permute(1, 2, 0)])
    texel *= scenes.grain.gather(1, surface)
    shift = sample(bank, scenes.volume.gather(1, surface).flatten(), texel.flatten(1)).view_as(depth)
    blend = torch.sigmoid(1.5 * shift)
    dark, bright = (scenes.colour[:, :, side].permute(2, 0, 1) for side in (0, 1))
    surface = surface.expand(3, -1, -1)
    low = dark.gather(2, surface)
    albedo = low + blend * (bright.gather(2, surface) - low)
    lit = facing.clamp_min(0) * torch.where(surface[0] == 0, _sunlit(scenes, point), 1)
    return albedo * (scenes.ambient[:, None] + lit)


def _sunlit(scenes: Scenes, point: Tensor) -> Tensor:
    """Share of the light [B, R] that reaches points [3, B, R] past ellipsoids in the places of the solids."""
    lit = torch.ones_like(point[0])
    rows = torch.arange(len(scenes.solid))
    for turn in range(scenes.solid.shape[1]):
        slot = torch.full_like(rows, turn)
        start = _own(scenes, point - _centre(scenes, rows, slot)[..., None], rows, slot)
        light = _own(scenes, scenes.light.T, rows, slot)[..., None]
        ahead = (-(start * light).sum(0) / light.square().sum(0)).clamp_min(0)
        gap = (start + ahead * light).square().sum(0).sqrt()
        there = (scenes.solid[:, turn] >= 0)[:, None]
        lit = torch.where(there, lit * ((gap - 0.6) / 0.5).clamp(0, 1), lit)  # a penumbra 0.5 half-sizes wide
    return lit
