"""Checks of the content of a checkpoint, which may come from anyone.

Reading one executes nothing (`checkpoints.load_checkpoint`). What it holds is compared here with
what the model and its optimizer have, before anything is copied: PyTorch's fused Adam writes to
memory at the shapes of its state without a look at those of the parameters.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

MOST_EPOCHS = 10**6
MOST_COUNT = 2**53
DEEPEST = 10  # of the counters of Lightning's loops, which are nested 6 deep


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
    epoch: Any = checkpoint.get("epoch")
    step: Any = checkpoint.get("global_step")
    for name, value in (("epoch", epoch), ("global_step", step)):
        if not _is_count(value):
            raise UnfitError(f"its {name} is {str(value)[:50]!r}")
    _check_loops(checkpoint.get("loops"), epoch)
    trained = [p for p in module.parameters() if p.requires_grad]
    _check_optimizer(checkpoint.get("optimizer_states"), trained)
    _check_schedule(checkpoint.get("lr_schedulers"))
    scaler = checkpoint.get("MixedPrecision", {})  # of 16-mixed
    if not isinstance(scaler, dict) or not all(map(_is_number, scaler.values())):
        raise UnfitError("the state of its precision is not made of numbers")
    kept = ("state_dict", "epoch", "global_step", "loops", "optimizer_states", "lr_schedulers")
    rows = _checked_rows(checkpoint.get("callbacks"), epoch)
    state = {key: checkpoint[key] for key in kept} | {"callbacks": {"History": {"rows": rows}}}
    return state | ({"MixedPrecision": scaler} if scaler else {})


def _check_optimizer(states: Any, parameters: list[nn.Parameter]) -> None:
    """Check the state of Adam, each tensor against its parameter."""
    optimizer = torch.optim.Adam(parameters, fused=True)
    wanted = optimizer.state_dict()["param_groups"][0]
    try:
        ((state, group),) = ((s["state"], *s["param_groups"]) for s in states)
        members = [(index, state[index]) for index in state]
    except (TypeError, KeyError, ValueError):
        raise UnfitError("its optimizer's state is incomplete") from None
    rates = ("lr", "initial_lr")
    if any(not _is_number(group.get(rate)) for rate in rates):
        raise UnfitError("its learning rate is not a number")
    if {k: group[k] for k in group.keys() - set(rates)} != {
        k: wanted[k] for k in wanted.keys() - {"lr"}
    }:
        raise UnfitError("its optimizer is another one")
    for index, member in members:
        if not isinstance(index, int) or not 0 <= index < len(parameters):
            raise UnfitError(f"its optimizer has a parameter {str(index)[:50]!r}")
        if not isinstance(member, dict) or member.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise UnfitError(f"the state of parameter {index} of its optimizer is incomplete")
        likes = {"step": torch.zeros(()), "exp_avg": parameters[index]}
        for name, value in member.items():
            full = f"{name} of parameter {index} of its optimizer"
            check_tensor(full, value, likes.get(name, parameters[index]), same_type=True)
            if not finite(value):
                raise UnfitError(f"{full} holds NaN or infinity")


def _check_schedule(states: Any) -> None:
    """Check the state of the schedule of the learning rate, which PyTorch copies key by key."""
    parameter = nn.Parameter(torch.zeros(1))
    schedule = torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD([parameter], 1.0), lambda _: 1.0)
    wanted = schedule.state_dict()
    (state,) = states if isinstance(states, list) and len(states) == 1 else (None,)
    if not isinstance(state, dict) or state.keys() != wanted.keys():
        raise UnfitError("the state of its learning rate's schedule is incomplete")
    for key, like in wanted.items():
        numbers = state[key] if isinstance(like, list) else [state[key]]
        if key == "lr_lambdas":
            fits = numbers == [None]
        else:
            fits = isinstance(numbers, list) and len(numbers) == 1 and _is_number(numbers[0])
        if not fits:
            raise UnfitError(f"{key} of its learning rate's schedule is not a number")


def _checked_rows(callbacks: Any, epoch: int) -> list[dict[str, float]]:
    """The rows of the history, one for every epoch until this one."""
    try:
        rows = callbacks["History"]["rows"]
        epochs = [row["epoch"] for row in rows[:MOST_EPOCHS]]
        same_keys = all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows)
    except (TypeError, KeyError, IndexError):
        raise UnfitError("its history is incomplete") from None
    if not same_keys or epochs != list(range(epoch + 1)):
        raise UnfitError("its history has other epochs than its weights")
    for row in rows:
        for key, value in row.items():
            if not isinstance(key, str) or not _is_number(value):
                raise UnfitError(f"its history holds {str(value)[:50]!r}, which is not a number")
    return rows


def _check_loops(loops: Any, epoch: int) -> None:
    """Check the counters of Lightning's loops, and that their epoch is that of the weights."""
    _check_counts("loops", loops)
    try:
        done = loops["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (TypeError, KeyError):
        raise UnfitError("its loops are incomplete") from None
    if done != epoch + 1:
        raise UnfitError("its loops are at another epoch than its weights")


def _check_counts(name: str, node: Any, depth: int = 0) -> None:
    """Check that nested dictionaries hold counts and flags only."""
    if depth > DEEPEST or not isinstance(node, dict):
        raise UnfitError(f"{name} is not a dictionary of counts")
    for key, value in node.items():
        if isinstance(value, dict):
            _check_counts(f"{name}.{str(key)[:50]}", value, depth + 1)
        elif not isinstance(value, bool) and not _is_count(value):
            raise UnfitError(f"{name}.{str(key)[:50]} is {str(value)[:50]!r}, which is not a count")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_COUNT


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float) and math.isfinite(value)
