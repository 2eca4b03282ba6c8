"""The Lie group convolution of Finzi et al. 2020 (arXiv 2002.12880), section 4 and appendix A."""

from typing import Literal

from torch import Tensor, nn

from gigp.backbones.lieconv.convolution import convolution
from gigp.backbones.lieconv.kernel import KernelMLP
from gigp.backbones.lieconv.neighborhood import Neighborhood
from gigp.errors import check_choice
from gigp.nn.untouched import are_untouched

KernelNorm = Literal["batch", "none"]


class LieConv(nn.Module):
    """Average of kernel x feature over a neighborhood of group elements (equation 7 and appendix
    A.1).

        y_i = W sum_j k(a_ij) (x) f_j / |N(i)|,   a_ij = [log(v_j^-1 u_i), q_i, q_j]

    The kernel, a c_in x c_out matrix for every pair, is factored: an MLP k gives 16 numbers for a
    pair, and the linear layer W, shared by all pairs, follows the sum.

    Args:
        in_channels, out_channels: c_in and c_out.
        pair_channels: length of a_ij, the dimension of the Lie algebra and twice that of the orbit
            coordinate.
        kernel_channels: numbers per pair.
        kernel_width: width of the two hidden layers of the kernel MLP.
        kernel_norm: `batch`, as published, or `none`: no batch norm within the kernel MLP, which is
            faster.
        same_pairs: all processes of a run have the same pairs, as those of a grid.

    Examples:
        >>> from gigp.groups import SE3
        >>> LieConv(8, 4, SE3().pair_channels).linear  # 16 kernel numbers for each of 8 channels
        Linear(in_features=128, out_features=4, bias=True)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        pair_channels: int,
        *,
        kernel_channels: int = 16,
        kernel_width: int = 32,
        kernel_norm: KernelNorm = "batch",
        same_pairs: bool = False,
    ) -> None:
        super().__init__()
        check_choice("kernel_norm", kernel_norm, KernelNorm)
        sizes = [pair_channels, kernel_width, kernel_width, kernel_channels]
        self.kernel = KernelMLP(sizes, norm=kernel_norm == "batch", same_rows=same_pairs)
        self.linear = nn.Linear(kernel_channels * in_channels, out_channels)

    def forward(
        self, feat: Tensor, neighborhood: Neighborhood, kernel: Tensor | None = None
    ) -> Tensor:
        """Convolve S feature maps on the same points.

        Args:
            feat: features of all points, (R, S, c_in).
            neighborhood: the neighbors of the Q queries among the R points.
            kernel: kernel numbers of its pairs, (E, k); None: evaluate the kernel MLP here.

        Returns:
            (Q, S, c_out).
        """
        if kernel is None:
            kernel = self.kernel(neighborhood.pairs, neighborhood.weights)  # (E, k)
        if are_untouched(self.linear, kinds=(nn.Linear,)):
            weight, bias = self.linear.weight, self.linear.bias
            out = convolution(kernel, feat, weight, bias, neighborhood)
        else:
            out = self.linear(neighborhood.sum(kernel, feat))
        return out / neighborhood.count
