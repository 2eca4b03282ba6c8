"""A readout that depends on the frame or the order of atoms is found."""

from gigp.lab.study.readout_checks import warnings_of

TOYS = "tests.lab.study.toy_readouts"


def test_what_should_not_change_the_output_is_measured():
    assert warnings_of(f"{TOYS}:Weighted", {}) == []
    assert warnings_of("torch_geometric.nn.aggr:SoftmaxAggregation", {"learn": True}) == []
    assert warnings_of("gigp.pools:MeanMLP", {}) == []
    slanted = warnings_of(f"{TOYS}:Slanted", {})
    assert len(slanted) == 3  # rotation, shift, and the order of atoms
    assert slanted[0].startswith(f"the output of {TOYS}:Slanted changes by ")
    assert "rotated" in slanted[0]
    (padding,) = warnings_of(f"{TOYS}:Careless", {})
    assert "padding" in padding
