"""The reports of runs that are finished, from their folders."""

from pathlib import Path

from gigp.errors import InputError
from gigp.lab.config.instantiate import instantiate, load_config
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.report.page import Report, Samples, compare_runs, make_report
from gigp.lab.report.results import tested_data
from gigp.lab.runs.compare import read_runs
from gigp.lab.runs.record import Record
from gigp.lab.runs.samples import read_samples


def report_of(folder: Path) -> Report:
    """The report of a finished run. Where its data or the results of its test samples are gone, the
    page says so, and lacks what needs them.

    Args:
        folder: folder of the run, .../NAME/seedK.

    Raises:
        InputError: it holds no finished run, or a damaged record.
    """
    (record,) = read_runs([folder])
    try:
        samples: Samples = read_samples(folder / "test_samples.npz")
        return make_report(record, _data_of(folder, record), samples)
    except (InputError, OSError) as error:
        lacking = f"Predictions, errors by kind and the worst are left out: {error}"
        return make_report(record, None, None, lacking)


def comparison_of(folders: list[Path]) -> str:
    """A page with finished runs side by side.

    Raises:
        InputError: see `report_of`; or one is given twice.
    """
    names = [f"{folder.resolve().parent.name}/{folder.resolve().name}" for folder in folders]
    records = dict(zip(names, read_runs(folders), strict=True))
    if len(records) < len(folders):
        raise InputError("a run is given twice; give each once.")
    return compare_runs(records)


def _data_of(folder: Path, record: Record) -> PointCloudDataModule:
    """The data set of a run, set up, of whose features or outputs only the source is read.

    Raises:
        InputError: they are gone, or other ones.
    """
    data = tested_data(instantiate(load_config(folder).dataset))
    data.setup()
    then, now = record.data.get("split_hash"), data.description.get("split_hash")
    if then != now:
        raise InputError(f"the data are split otherwise than in the run ({then} then, {now} now).")
    return data
