"""Every typing mistake ends in one sentence with the name, the value, what is allowed, and what
was meant.
"""

import pytest
from hydra.errors import ConfigCompositionException, OverrideParseException

from gigp.errors import InputError
from gigp.lab.config.command_line import format_hydra_error, options_first
from gigp.lab.config.validate import check_settings
from gigp.lab.training.run import run
from tests.conftest import tiny

ORBITS = ("dataset=orbits", *tiny(epochs=1, train=60, val=20, test=20))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "poool=gigp",
            "poool is not a setting. Did you mean pool? There are: backbone, batch_norm_clouds, "
            "compile, dataset, experiment, ",
        ),
        ("epochs=3", "epochs is not a setting. Did you mean trainer.max_epochs? There are: "),
        ("width=8", "width is not a setting. Did you mean backbone.width? There are: backbone, "),
        (
            "trainer.batch_size=8",
            "trainer.batch_size is not a setting. Did you mean dataset.batch_size? trainer has: ",
        ),
        ("pool.lr=1", "pool.lr is not a setting. Did you mean lr? pool has: "),
        ("zzz=1", "zzz is not a setting. There are: backbone, "),
        (
            "target=homo,lumo",
            "target=homo,lumo has several values: add -m to run each of them; a list for one run "
            "is written target=[homo,lumo].",
        ),
        ("datset.train_size=3", "datset is not a setting. Did you mean dataset?"),
        (
            "pool.orbitz=3",
            "pool.orbitz is not a setting. Did you mean orbits? pool has: activation, ",
        ),
        (
            "dataset.train_sise=3",
            "dataset.train_sise is not a setting. Did you mean train_size? dataset has: augment, ",
        ),
        (
            "pool=gigpp",
            "pool=gigpp is unknown. Did you mean gigp? Choose from attentional, deepsets, gigp, ",
        ),
        ("group=SE33", "group=SE33 is unknown. Did you mean SE3? Choose from E3, "),
        ("logger=wanb", "logger=wanb is unknown. Did you mean wandb? Choose from csv, wandb."),
        ("experiment=orbits_pool", "experiment=orbits_pool is unknown. Did you mean orbits_pools?"),
        ("pool", "'pool' is not of the form KEY=VALUE"),
        ("pool=[gigp", "'pool=[gigp' is not of the form KEY=VALUE"),
        ("+lr=3", "Could not append to config. An item is already at 'lr'."),
    ],
)
def test_what_cannot_be_composed(configure, override, message):
    with pytest.raises((ConfigCompositionException, OverrideParseException)) as error:
        configure(override)
    assert format_hydra_error(error.value).startswith(message)
    assert "\n" not in format_hydra_error(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=fast", "lr=fast: it must be a number."),
        ("lr=", "lr=: it must be a number."),
        ("lr=true", "lr=True: it must be a number."),
        ("warmup=null", "warmup=None: it must be a number."),
        ("batch_norm_clouds=-1", "batch_norm_clouds=-1: it must be a whole number, 0 or larger."),
        ("batch_norm_clouds=1.5", "batch_norm_clouds=1.5: it must be a whole number"),
        ("compile=yess", "compile=yess: it must be true or false."),
        (
            "matmul_precision=tf32",
            "matmul_precision='tf32' is unknown; choose one of highest, high, medium.",
        ),
        ("freeze_backbone=2", "freeze_backbone=2: it must be true or false."),
        ("seed=1.0", "seed=1.0: it must be a whole number, 0 or larger."),
        ("seed=one", "seed=one: it must be a whole number, 0 or larger."),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: it must be a whole number, 1 or larger."),
        ("freeze_backbone=true", "freeze_backbone=true without init_from would freeze"),
        ("pool.orbits=many", "pool.orbits=many: it must be a whole number."),
        (
            "pool.hidden_channels=wide",
            "pool.hidden_channels=wide: it must be a whole number or null.",
        ),
        ("pool.normalize=3", "pool.normalize=3: it must be true or false."),
        ("pool.delta=[1]", "delta=[1]: the radius of a ball, pool.delta, must be positive, or"),
        ("dataset.batch_size=2.5", "dataset.batch_size=2.5: it must be a whole number."),
        (
            "+dataset.colour=red",
            "dataset.colour is not a setting of OrbitClouds. It has: augment, ",
        ),
        (
            "+pool.orbitz=3",
            "pool.orbitz is not a setting of GIGP. Did you mean orbits? It has: activation, ",
        ),
        ("+poool=gigp", "+poool=gigp adds a setting that nothing reads. Did you mean pool?"),
        ("+logger.mode=offline", "+logger.mode=offline adds a setting that nothing reads."),
        ("+trainer.callbacks=[]", "trainer.callbacks cannot be set: every run sets it itself."),
        ("+trainer.plugins=[]", "trainer.plugins cannot be set: every run sets it itself."),
        ("+trainer.logger=false", "trainer.logger cannot be set: every run sets it itself; use "),
        ("~lr", "~lr removes a setting that every run needs; leave ~lr out."),
        ("~logger.name", "~logger.name removes a setting that every run needs"),
        ("trainer.accelerator=quantum", "Lightning refuses these settings of trainer: "),
        ("+trainer.max_epoch=3", "Lightning refuses these settings of trainer: "),
    ],
)
def test_what_does_not_fit(configure, override, message):
    with pytest.raises(InputError) as error:
        run(configure(*ORBITS, override), [override])
    assert str(error.value).startswith(message)


def test_settings_of_another_backbone_are_refused(configure):
    overrides = ["backbone=schnet", "backbone.width=32"]
    with pytest.raises(InputError, match=r"backbone\.width is not a setting of this"):
        check_settings(configure(*overrides), overrides)


@pytest.mark.parametrize(
    "override",
    [
        "lr=1",
        "lr=1e-3",
        "pool.delta=2",
        "pool.hidden_channels=null",
        "pool.hidden_channels=64",
        "orbits.center=origin",
        "+trainer.num_nodes=1",
        "++lr=0.1",
    ],
)
def test_what_fits(configure, override):
    assert check_settings(configure(*ORBITS, override), [override]) is None


@pytest.mark.parametrize("dataset", ["qm9", "rotmnist"])
@pytest.mark.parametrize("backbone", ["lieconv", "schnet", "visnet", "dimenet", "identity"])
def test_our_own_configurations_fit(configure, dataset, backbone):
    assert check_settings(configure(f"dataset={dataset}", f"backbone={backbone}")) is None


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("logger=null", "logger=null: logger needs a choice out of csv, wandb."),
        ("~logger", "~logger: logger needs a choice out of csv, wandb."),
        ("~pool=gigp", "~pool=gigp: pool needs a choice out of attentional, "),
        ("experiment=null", "experiment=null: experiment needs a choice out of .* Leave it out"),
    ],
)
def test_a_choice_cannot_be_left_empty(argument, message):
    with pytest.raises(InputError, match=message):
        options_first(["seed=0", argument])


@pytest.mark.parametrize("option", ["--info", "-i"])
def test_info_takes_no_setting_for_its_value(option):
    for arguments in ([option, "pool=gigp"], ["pool=gigp", option]):
        assert options_first(arguments) == [option, "all", "pool=gigp"]
    assert options_first(["pool=gigp", option, "config"]) == [option, "config", "pool=gigp"]


def test_options_may_stand_anywhere():
    assert options_first(["pool=gigp", "--cfg", "job", "seed=0"]) == [
        "--cfg",
        "job",
        "pool=gigp",
        "seed=0",
    ]
    assert options_first(["pool=gigp", "-m", "seed=0,1"]) == ["-m", "pool=gigp", "seed=0,1"]
    assert options_first(["-m", "seed=0,1"]) == ["-m", "seed=0,1"]
    for wrong in ("--pool", "--pool=gigp", "-x"):
        with pytest.raises(
            InputError, match=f"{wrong} is not an option; settings are written KEY=VALUE"
        ):
            options_first(["seed=0", wrong])
    with pytest.raises(InputError, match="--multirun and --cfg ask for different things"):
        options_first(["-m", "--cfg", "job"])
