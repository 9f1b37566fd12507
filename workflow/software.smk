# With or without --use-conda: a results folder is made one way, and a run of the other way repeats every job.
import json
from hashlib import md5
from pathlib import Path

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod


def made_with_conda():
    """Whether what is here was made with --use-conda, by Snakemake's own record of one file; None without any."""
    for file in Path(".snakemake/metadata").glob("*"):
        try:
            made_in = json.loads(file.read_text()).get("software_stack_hash")
        except (
            IsADirectoryError,
            ValueError,
        ):  # of a long name; cut short when Snakemake was killed
            continue
        if made_in:
            return made_in != md5(b"").hexdigest()
    return None


with_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
if workflow.is_main_process and made_with_conda() is (not with_conda):
    logger.warning(
        f"What is here was made {'without' if with_conda else 'with'} --use-conda and this run is "
        f"{'with' if with_conda else 'without'} it: every job runs again. To keep what is there, stop and "
        f"{'leave out' if with_conda else 'add'} --use-conda."
    )
