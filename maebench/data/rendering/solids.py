"""Ten solids as signed distances, and where rays hit them, by sphere tracing."""

from collections.abc import Callable

import torch
from torch import Tensor, hypot, maximum, minimum

STEPS = 32  # of sphere tracing; rays that are still on their way then graze a silhouette, and count as passing
TOUCH = 1e-4  # distance, in half-sizes of the solid, at which a ray has hit
BOUND = 1.52  # radius of a sphere around every solid
NUDGE = 1e-3  # step of the differences that give a normal, in half-sizes

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]


def _plus(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.abs(), y.abs()
    return minimum(maximum(x - 0.33, y - 1), maximum(x - 1, y - 0.33))


def _gate(x: Tensor, y: Tensor) -> Tensor:
    doorway = hypot(x, (y - 0.1).clamp_min(0)) - 0.5
    return maximum(maximum(x.abs() - 0.95, y.abs() - 1), -doorway)


SOLIDS: dict[str, Distance] = {
    "sphere": lambda x, y, z: hypot(hypot(x, y), z) - 1,
    "cube": lambda x, y, z: maximum(maximum(x.abs(), z.abs()) - 0.8, y.abs() - 1),
    "cylinder": lambda x, y, z: maximum(hypot(x, z) - 0.75, y.abs() - 1),
    "cone": lambda x, y, z: maximum(0.912 * hypot(x, z) + 0.41 * (y - 1), -1 - y),
    "pyramid": lambda x, y, z: maximum(0.928 * maximum(x.abs(), z.abs()) + 0.371 * (y - 1), -1 - y),
    "diamond": lambda x, y, z: (x.abs() + y.abs() + z.abs() - 1) * 0.577,
    "ring": lambda x, y, z: hypot(hypot(x, y) - 0.7, z) - 0.3,
    "capsule": lambda x, y, z: hypot(hypot(x, y - y.clamp(-0.45, 0.45)), z) - 0.55,
    "cross": lambda x, y, z: maximum(_plus(x, y), z.abs() - 0.33),
    "arch": lambda x, y, z: maximum(_gate(x, y), z.abs() - 0.45),
}
"""Name -> signed distance, or a lower bound of it, at x, y, z [P] in half-sizes; every solid stands on y = -1."""


def trace(distance: Distance, origin: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """The ray parameter t of the first hit, inf where there is none, and the outward normal there.

    origin, ray [3, P] in the solid's own axes and half-sizes -> t [P], normal [3, P] (not of unit length).
    Source: Hart 1996 (sphere tracing).
    """
    speed = ray.square().sum(0).sqrt()
    middle = -(origin * ray).sum(0) / speed**2
    reach = (BOUND**2 - (origin + middle * ray).square().sum(0)).clamp_min(0).sqrt() / speed
    t, far = middle - reach, middle + reach
    active = torch.arange(len(t))
    for _ in range(STEPS // 4):  # every four steps, drop the rays that have hit or passed
        start, along, rate, now = origin[:, active], ray[:, active], speed[active], t[active]
        for _ in range(4):
            gap = distance(*(start + now * along))
            now = now + gap / rate
        t[active] = now
        active = active[(gap > TOUCH / 10) & (now < far[active])]
    point = origin + t * ray
    gap = distance(*point)
    t = torch.where((gap < TOUCH) & (t < far), t, torch.inf)
    normal = [distance(*(point + NUDGE * axis[:, None])) - gap for axis in torch.eye(3, dtype=t.dtype)]
    return t, torch.stack(normal)
