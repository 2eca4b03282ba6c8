"""When a faster path may read the weights of modules instead of calling them.

Tools that work on modules act on their call: hooks, adapters (LoRA), pruning, weight norm,
offloading, sharding, quantization. Faster paths are for modules that none of them has touched.
"""

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook


def are_untouched(*modules: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether the call of each module is the `forward` of its class on weights that it holds.

    Args:
        modules: the modules.
        kinds: their classes; a subclass, as parametrizations and sharding make it, is another one.
    """
    if _has_any_global_hook():
        return False
    return all(type(module) in kinds and _is_untouched(module) for module in modules)


def _is_untouched(module: nn.Module) -> bool:
    hooked = (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )
    replaced = "forward" in module.__dict__  # as accelerate does
    return not (hooked or replaced) and all(map(_is_plain, module._parameters.values()))


def _is_plain(parameter: Tensor | None) -> bool:
    """No subclass, as sharded and quantized tensors are."""
    return parameter is None or type(parameter) in (nn.Parameter, Tensor)
