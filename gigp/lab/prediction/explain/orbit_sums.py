"""Predictions as sums over orbits: what every orbit of the pool adds, in the units of tables.

GIGP adds up its orbits, a linear head may follow, and then come the scale and the mean of the
training targets and the references of the atoms: all of this is linear, so the parts of a property
add up to its prediction exactly. Of classes it is the logits that are sums; probabilities are their
softmax.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.groups import SO2, SO3
from gigp.lab.prediction.trained import TrainedModel
from gigp.lab.training.module import Regression
from gigp.pools import GIGP
from gigp.pools.controls import ShuffledGIGP


class OrbitSum(NamedTuple):
    """One input's T numbers as sums: properties, or the logits of classes.

    Attributes:
        orbits: indices of the orbits that hold points, (k,).
        counts: numbers of points in them, (k,).
        adds: what each of them adds to every number, (T, k) float64.
        constants: what else is added, by name, (T,) float64 each.
        pos: points relative to the center of the orbits, (n, d), in the unit of the input.
        radius: their orbit coordinates in that unit, (n,).
        members: memberships of the points in the orbits, (n, k).
    """

    orbits: Tensor
    counts: Tensor
    adds: Tensor
    constants: dict[str, Tensor]
    pos: Tensor
    radius: Tensor
    members: Tensor

    @property
    def total(self) -> Tensor:
        """The numbers themselves, (T,)."""
        return self.adds.sum(1) + sum(self.constants.values())


def check_model(model: TrainedModel) -> GIGP:
    """The pool of a model whose predictions are sums over circles or spheres.

    Raises:
        InputError: they are not.
    """
    pool = model.module.model.pool
    if not isinstance(pool, GIGP) or isinstance(pool, ShuffledGIGP):
        raise InputError(
            f"{model.run} pools by {type(pool).__name__}, which has no orbits to show; give a "
            "model with pool=gigp."
        )
    if not isinstance(pool.group, SO2 | SO3):
        raise InputError(
            f"{model.run} pools over orbits of {pool.group}, which are neither circles nor "
            "spheres; give a model with orbits=SO2 or SO3."
        )
    return pool


def orbit_sum(model: TrainedModel, content: Any) -> OrbitSum:
    """What every orbit adds to the numbers of one input that the model takes."""
    pool = check_model(model)
    found = model.orbit_terms(content)
    terms, constant = found.terms[0], found.constant  # (K, T), (T,)
    parts = {"bias of the last layer": constant}
    if isinstance(model.module, Regression):
        mean, std = model.module.mean, model.module.std
        terms, parts = terms * std, {"bias of the last layer": constant * std}
        parts["mean of the training set"] = mean
    zero = model.inputs.finish(torch.zeros_like(terms[:1]), [content])  # (1, T)

    def finished(values: Tensor) -> Tensor:
        """Addends in the units of tables, references left out, (*, T)."""
        return model.inputs.finish(values, [content]) - zero

    constants = {name: finished(value[None])[0] for name, value in parts.items()}
    constants["references of the atoms"] = zero[0]
    held = found.counts[0].nonzero()[:, 0]  # (k,)
    pos, radius, members = _points(model, pool, content, found.points.pos)
    per_point = min(1.0, len(pos) / int(found.points.mask.sum()))  # lifts count as parts
    return OrbitSum(
        held,
        per_point * found.counts[0][held],
        finished(terms[held]).T,
        {name: value for name, value in constants.items() if value.any()},
        pos,
        radius,
        members[:, held],
    )


def length_unit(model: TrainedModel) -> float:
    """Length of one unit of the orbit coordinate in the unit of the input."""
    data = model.data
    scaled = getattr(data, "scale_positions", False)
    return (getattr(data, "positions_std", None) or 1.0) if scaled else 1.0


def _points(
    model: TrainedModel, pool: GIGP, content: Any, pooled: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Points of an input relative to the center of the pool, (n, d), their orbit coordinates, (n,),
    and memberships, (n, K).

    Args:
        pooled: positions that the pool saw; as those of the input where it has lost or lifted none.
    """
    (cloud,) = model.inputs.clouds([content], model.device, 0)
    pos = cloud.pos if cloud.pos.shape != pooled.shape else pooled
    pos, mass = pos.double(), None if cloud.mass is None else cloud.mass.double()
    q = pool.coordinate(pos, cloud.mask, mass)
    members = pool.orbits(q.to(pool.orbits.centers.dtype), cloud.mask)[0]
    weight = torch.ones_like(pos[..., :1])
    if pool.center == "mass" and mass is not None:
        weight = mass[..., None]
    if pool.center != "origin":
        pos = pos - (weight * pos).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    unit = length_unit(model)
    return unit * pos[0], unit * q[0], members
