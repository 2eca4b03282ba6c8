"""Every file under configs/ composes, and every experiment takes a step."""

import pytest
from omegaconf import OmegaConf

from gigp.errors import InputError
from gigp.lab.config.instantiate import instantiate
from gigp.lab.training.run import run
from tests.conftest import ROOT, tiny

CONFIGS = ROOT / "configs"
ONE_STEP = tiny(epochs=1, train=75, val=20, test=20)
# one experiment of each kind: a backbone, pools on outputs, heads on features
QUICK = ("orbits_pools", "qm9_e3_outputs")


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


@pytest.fixture(autouse=True)
def _data(qm9, digits):
    """The caches are there."""


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Folders of finished runs with mean pooling by target (`error`: on digits), for what starts
    from one; each is made once.
    """
    return {"results": tmp_path_factory.mktemp("starts")}


@pytest.fixture
def start(configure, starts):
    def folder(target: str) -> str:
        if target not in starts:
            where = [f"name={target}", f"results_dir={starts['results']}"]
            what = ["dataset=rotmnist"] if target == "error" else [f"target={target}"]
            run(configure("pool=mean", *what, *ONE_STEP, *where))
            starts[target] = f"{starts['results']}/{target}/seed0"
        return starts[target]

    return folder


@pytest.mark.parametrize(
    "group",
    [
        name if name in ("E3", "SE3", "SO2", "T3") else pytest.param(name, marks=pytest.mark.slow)
        for name in names("group")
    ],
)
def test_every_group_takes_a_step(configure, group):
    dim = instantiate(OmegaConf.load(CONFIGS / "group" / f"{group}.yaml").group).dim
    dataset = "qm9" if dim == 3 else "rotmnist"
    summary = run(configure(f"dataset={dataset}", f"group={group}", *ONE_STEP))
    assert summary.steps >= 1
    assert summary.choices["group"] == group


def cells() -> list[tuple[str, str]]:
    """Every pool on the cheapest data set, and GIGP on the others; some have tests of their own."""
    elsewhere = {"outputs", "image_features", "molecules", "images", "orbits"}
    others = [(dataset, "gigp") for dataset in names("dataset") if dataset not in elsewhere]
    return [*(("orbits", pool) for pool in names("pool")), *others]


@pytest.mark.parametrize(("dataset", "pool"), cells())
def test_every_pool_takes_a_step(configure, dataset, pool, start, tmp_path):
    of = (
        [f"dataset.run={start('homo')}", f"dataset.cache={tmp_path}"]
        if dataset == "features"
        else []
    )
    cfg = configure(f"dataset={dataset}", f"pool={pool}", "pool_on=features", *ONE_STEP, *of)
    summary = run(cfg)
    assert summary.choices["pool"] == pool
    assert (summary.pool_group is not None) == ("group" in cfg.pool)


@pytest.mark.parametrize("pool", ["set2set", "quantiles", "multi"])
def test_pools_that_widen_need_the_head_after_them(configure, pool):
    with pytest.raises(InputError, match="use pool_on=features"):
        run(configure("dataset=orbits", f"pool={pool}", "pool_on=outputs", *ONE_STEP))


@pytest.mark.parametrize(
    "experiment",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in names("experiment")
    ],
)
def test_every_experiment_takes_a_step(configure, experiment, start, tmp_path):
    of, text = [], (CONFIGS / "experiment" / f"{experiment}.yaml").read_text()
    if "freeze_backbone: true" in text:
        # of the debug scale, as the run that it starts from has it
        of = [f"init_from={start('homo')}", "backbone.width=16", "backbone.blocks=2"]
    elif "  run: ${trained:${results_dir},rotmnist" in text:
        of = [f"dataset.run={start('error')}", f"dataset.cache={tmp_path}"]
    elif "  run: ${trained:" in text:
        of = [f"dataset.run={start('all')}", f"dataset.cache={tmp_path}"]
    # compilation takes a minute and has tests of its own
    cfg = configure(f"experiment={experiment}", *of, *ONE_STEP, "name=it", "compile=false")
    assert run(cfg).steps >= 1


def test_several_targets(configure):
    summary = run(configure("target=all", *ONE_STEP))
    assert len(summary.metrics) == 12
    assert summary.metrics["zpve"].unit == "meV"
    assert summary.metrics["r2"].unit == "bohr^2"


def test_defaults_follow_the_data_set_and_the_command_line_wins(configure):
    assert configure("dataset=rotmnist").choices.group == "SO2"
    assert configure("dataset=rotmnist", "group=SE2").group.alpha == 0.05
    assert configure().choices.group == "E3"
    cfg = configure("group=SE3")
    assert (cfg.backbone.fill, cfg.backbone.max_neighbors, cfg.backbone.num_lifts) == (0.5, 25, 4)
    assert cfg.dataset.recenter is cfg.dataset.scale_positions is True
    assert (
        configure(
            "group=SE3", "backbone.max_neighbors=7", "dataset.recenter=false"
        ).backbone.max_neighbors
        == 7
    )


def test_paper_scale_is_as_published(configure):
    qm9 = configure("scale=paper")
    assert (
        qm9.backbone.width,
        qm9.backbone.blocks,
        qm9.backbone.max_neighbors,
        qm9.backbone.fill,
    ) == (
        1536,
        6,
        100,
        1,
    )
    assert (qm9.dataset.batch_size, qm9.lr, qm9.warmup, qm9.trainer.max_epochs) == (
        75,
        3e-3,
        0.01,
        500,
    )
    assert (qm9.dataset.train_size, qm9.dataset.val_size, qm9.dataset.test_size) == (
        100_000,
        17_748,
        13_083,
    )
    digits = configure("scale=paper", "dataset=rotmnist")
    assert (digits.backbone.width, digits.backbone.blocks, digits.backbone.max_neighbors) == (
        128,
        6,
        25,
    )
    assert (digits.backbone.fill, digits.backbone.keep_fraction, digits.group.alpha) == (
        0.1,
        0.1,
        0.2,
    )
    assert (digits.dataset.batch_size, digits.warmup, digits.trainer.max_epochs) == (25, 0, 500)
    assert (digits.dataset.train_size, digits.dataset.val_size, digits.dataset.test_size) == (
        10_000,
        2_000,
        50_000,
    )
    assert (digits.pool.orbits, digits.pool.delta, digits.pool.aggregation) == (50, 0.5, "weighted")


@pytest.mark.parametrize(
    "options",
    [
        ["trainer.precision=bf16-mixed"],
        ["trainer.gradient_clip_val=1.0"],
        ["backbone.kernel_norm=none"],
        ["batch_norm_clouds=0"],
    ],
)
def test_options_take_a_step(configure, options):
    assert run(configure(*ONE_STEP, *options)).steps >= 1


@pytest.mark.slow
def test_compile_gives_the_same(configure, tmp_path):
    a = run(configure(*ONE_STEP, "name=plain"))
    b = run(configure(*ONE_STEP, "name=compiled", "compile=true"))
    assert b.metrics["homo"].test == pytest.approx(a.metrics["homo"].test, rel=1e-3)


@pytest.mark.parametrize("dataset", ["qm9", "features"])
def test_any_pool_takes_the_center_of_mass(configure, dataset, start, tmp_path):
    """From scratch, and on cached features, which keep the masses."""
    of = [f"dataset.run={start('homo')}", f"dataset.cache={tmp_path}"]
    options = ["pool.center=mass", "pool.divisor=constant", *(of if dataset == "features" else [])]
    record = run(configure(f"dataset={dataset}", "pool=moments", *options, *ONE_STEP))
    assert record.pool["center"] == "mass"
    with pytest.raises(InputError, match="center=mass needs the masses"):
        run(configure("dataset=orbits", "pool=gigp", "pool.center=mass", *ONE_STEP))
