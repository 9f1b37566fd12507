"""What Snakemake asks of conda, answered by py-rattler, for tests: makes an environment out of a yaml file.

`python conda_stand_in.py FOLDER ARGUMENT...`: FOLDER holds `bin/activate`, and `channel`, which takes the
place of every channel that a file names.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

import rattler
import yaml


async def create(file: Path, prefix: Path, channel: Path) -> None:
    """Solve the file's dependencies and link them into `prefix`."""
    records = await rattler.solve(
        [rattler.Channel(channel.as_uri())],
        [rattler.MatchSpec(spec, strict=True) for spec in yaml.safe_load(file.read_text())["dependencies"]],
        platforms=[rattler.Platform("linux-64"), rattler.Platform("noarch")],
        virtual_packages=rattler.VirtualPackage.detect(),
    )
    await rattler.install(
        records, target_prefix=prefix, cache_dir=channel.with_name("cache"), show_progress=False
    )


def main(folder: Path, asked: list[str]) -> None:
    """Answer one call."""
    answers = {
        "--version": "conda 24.9.0",
        "info": json.dumps({"conda_prefix": str(folder), "platform": "linux-64"}),
        "config": json.dumps({"get": {"channel_priority": "strict"}}),
    }
    if asked[0] in answers:
        sys.stdout.write(answers[asked[0]])
    elif asked[0] == "clean":
        pass  # the cache goes with the folder
    elif asked[:2] == ["env", "create"]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--file", type=Path)
        parser.add_argument("--prefix", type=Path)
        known, _ = parser.parse_known_args(asked[2:])
        asyncio.run(create(known.file, known.prefix, folder / "channel"))
        os._exit(0)  # py-rattler's threads may crash an interpreter that takes its time to end
    else:
        sys.exit(f"this stand-in for conda does not know {asked}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
