"""Checks of the content of a checkpoint, which may come from anyone.

One schema says what it may hold. What it holds is compared with
what the model and its optimizer have, before anything is copied: PyTorch's fused Adam writes to
memory at the shapes of its state without a look at those of the parameters.
"""

import json
import sys
from typing import Annotated, Any, TypeVar

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from gigp.lab.runs.record import Provenance, first_problem

Item = TypeVar("Item")

STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)
MOST_COUNT = 2**53
Count = Annotated[int, Field(ge=0, le=MOST_COUNT, strict=True)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
One = Annotated[list[Item], Field(min_length=1, max_length=1)]


def _finite(value: float) -> float:
    """A number that is finite."""
    if not abs(value) <= sys.float_info.max:
        raise ValueError(f"{value!r:.50} is not finite")
    return value


Number = Annotated[int | float, AfterValidator(_finite)]


def _only_counts(node: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries of counts and flags alone, as those of Lightning's loops."""
    for value in node.values():
        if isinstance(value, dict):
            _only_counts(value)
        elif not (isinstance(value, int) and 0 <= value <= MOST_COUNT):
            raise ValueError(f"{value!r:.50} is not a count")
    return node


def _provenance(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `Provenance`."""
    Provenance(**fields)
    return fields


Conditions = Annotated[dict[str, Any], AfterValidator(_provenance)]


class Moments(BaseModel):
    """What Adam keeps of a parameter."""

    model_config = STRICT | ConfigDict(extra="forbid")
    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


class ParameterGroup(BaseModel):
    """Settings of Adam; all but the rates are those that a new one has."""

    model_config = STRICT | ConfigDict(extra="allow")
    lr: Number
    initial_lr: Number


class OptimizerState(BaseModel):
    """State of Adam."""

    state: dict[int, Moments]
    param_groups: One[ParameterGroup]


class HistoryState(BaseModel):
    """What `History` keeps; see there."""

    model_config = STRICT | ConfigDict(extra="forbid")
    rows: list[dict[str, Number]]
    best: Digest | None
    identity: dict[str, Any]
    provenance: Annotated[list[Conditions], Field(min_length=1)]


class Callbacks(BaseModel):
    """States of callbacks, of which one is read."""

    History: HistoryState


class TrainingState(BaseModel):
    """What a checkpoint holds beside weights and the state of the data."""

    model_config = STRICT
    epoch: Count
    global_step: Count
    loops: Annotated[dict[str, Any], AfterValidator(_only_counts)]
    optimizer_states: One[OptimizerState]
    lr_schedulers: One[dict[str, Number | bool | One[Number | None]]]
    callbacks: Callbacks
    MixedPrecision: dict[str, Number] = {}


class UnfitError(ValueError):
    """A checkpoint does not fit; the message names what."""


def check_weights(state: Any, module: nn.Module) -> None:
    """Check names, shapes and types of all weights, and that the numbers are finite.

    Args:
        state: state dict.
        module: the module that is to load it.

    Raises:
        UnfitError: naming the first weight that does not fit.
    """
    wanted = module.state_dict()
    if not isinstance(state, dict) or state.keys() != wanted.keys():
        raise UnfitError("its weights are those of another architecture")
    parameters = dict(module.named_parameters())
    for name, tensor in wanted.items():
        check_tensor(name, state[name], tensor)
        # a buffer may be infinite, such as the radius of a ball that holds all points
        value = state[name]
        if value.is_floating_point() and not finite(value, allow_inf=name not in parameters):
            raise UnfitError(f"{name} holds NaN or infinity")


def check_tensor(name: str, value: Any, like: Tensor, same_type: bool = False) -> None:
    """Check that a value is a dense tensor of the shape and kind of another one.

    Args:
        name: its name in the message.
        value: value in the checkpoint, of any type.
        like: tensor that it replaces.
        same_type: the types must be equal; else any two floating-point types are.

    Raises:
        UnfitError: it is not.
    """
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
        raise UnfitError(f"{name} is not a tensor")
    if value.shape != like.shape:
        raise UnfitError(
            f"{name} has the shape {tuple(value.shape)}, not {tuple(like.shape)}: it is of another "
            "architecture"
        )
    both_float = value.is_floating_point() and like.is_floating_point()
    if value.dtype != like.dtype and (same_type or not both_float):
        raise UnfitError(f"{name} is of type {value.dtype}, not {like.dtype}")


def finite(value: Tensor, allow_inf: bool = False) -> bool:
    """Whether a tensor holds no NaN and, unless allowed, no infinity."""
    bad = value.isnan() if allow_inf else ~value.isfinite()
    return not bool(bad.any())


def training_state(checkpoint: dict[str, Any], module: nn.Module) -> dict[str, Any]:
    """The parts of a checkpoint that Lightning needs to resume, all of them checked.

    Args:
        checkpoint: content of the file.
        module: Lightning module that resumes, before its optimizer is made.

    Raises:
        UnfitError: naming what is missing or does not fit.
    """
    check_weights(checkpoint.get("state_dict"), module)
    state = parse_state(checkpoint)
    try:
        done = state.loops["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (KeyError, TypeError):
        raise UnfitError("its loops are incomplete") from None
    if done != state.epoch + 1:
        raise UnfitError("its loops are at another epoch than its weights")
    trained = trained_parameters(module)
    return {
        "state_dict": checkpoint["state_dict"],
        **state.model_dump(include={"epoch", "global_step", "loops", "callbacks"}),
        "optimizer_states": [_fitting_optimizer(state.optimizer_states[0], trained)],
        "lr_schedulers": [_fitting_schedule(state.lr_schedulers[0])],
        **({"MixedPrecision": state.MixedPrecision} if state.MixedPrecision else {}),
    }


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """What an optimizer gets: the parameters that are trained, or an empty one where there are
    none, as in mean pooling of outputs.
    """
    return [p for p in module.parameters() if p.requires_grad] or [nn.Parameter(torch.empty(0))]


def parse_state(checkpoint: dict[str, Any]) -> TrainingState:
    """The state of a training in a checkpoint.

    Raises:
        UnfitError: naming what is missing, or of another kind.
    """
    try:
        state = TrainingState.model_validate(checkpoint)
    except ValidationError as error:
        raise UnfitError(first_problem(error)) from None
    except RecursionError:
        raise UnfitError("it is nested too deeply") from None
    rows = state.callbacks.History.rows
    if [row.get("epoch") for row in rows] != list(range(state.epoch + 1)):
        raise UnfitError("its history has other epochs than its weights")
    if any(row.keys() != rows[0].keys() for row in rows):
        raise UnfitError("its history is incomplete")
    return state


def _fitting_optimizer(state: OptimizerState, parameters: list[nn.Parameter]) -> dict[str, Any]:
    """The state of Adam, each tensor checked against its parameter."""
    (wanted,) = torch.optim.Adam(parameters, fused=True).state_dict()["param_groups"]
    given = state.param_groups[0]
    rates = {name: getattr(given, name) for name in ("lr", "initial_lr")}
    settings = json.loads(json.dumps({k: v for k, v in wanted.items() if k not in rates}))
    if given.model_extra != settings:
        raise UnfitError("its optimizer is another one")
    for index, moments in state.state.items():
        if not 0 <= index < len(parameters):
            raise UnfitError(f"its optimizer has a parameter {str(index)[:50]}")
        likes = {"step": torch.zeros(())}
        for name, value in moments:
            full = f"{name} of parameter {index} of its optimizer"
            check_tensor(full, value, likes.get(name, parameters[index]), same_type=True)
            if not finite(value):
                raise UnfitError(f"{full} holds NaN or infinity")
    states = {index: dict(moments) for index, moments in state.state.items()}
    return {"state": states, "param_groups": [wanted | rates]}


def _fitting_schedule(state: dict[str, Any]) -> dict[str, Any]:
    """The state of the schedule of the learning rate, which PyTorch copies key by key."""
    parameter = nn.Parameter(torch.zeros(1))
    schedule = torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD([parameter], 1.0), lambda _: 1.0)
    wanted = schedule.state_dict()
    alike = all(isinstance(state.get(key), list) == isinstance(wanted[key], list) for key in wanted)
    if state.keys() != wanted.keys() or not alike:
        raise UnfitError("the state of its learning rate's schedule is another one")
    return state | {"lr_lambdas": wanted["lr_lambdas"]}
