"""A conda channel on this disk, of the Python and the packages that run the tests: the very same versions.

`python local_channel.py FOLDER NAME...` packs the named conda packages and whatever they require. A package
holds links to the installed files, so that gigabytes are neither packed nor unpacked; only the interpreter is
copied, since it finds its packages by where it lies.
"""

import hashlib
import importlib.metadata
import io
import json
import site
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
# Where the interpreter looks for them: Debian's own keeps to a folder of its own.
SITE_PACKAGES = (
    "lib/python3/dist-packages"
    if "dist-packages" in Path(site.__file__).read_text()
    else f"lib/{PYTHON}/site-packages"
)
# Packages that conda-forge calls otherwise than PyPI.
PYPI_NAMES = {"matplotlib-base": "matplotlib", "opencv": "opencv-python", "pytorch": "torch"}
CONDA_NAMES = {pypi: conda for conda, pypi in PYPI_NAMES.items()}


def main(folder: Path, names: Iterable[str]) -> None:
    """Write the channel."""
    for platform in ("noarch", "linux-64"):
        (folder / platform).mkdir(parents=True)
    packed = dict([pack(folder / "linux-64", "python", sys.version.split()[0], [], dict(interpreter()))])
    for name in with_requirements(names):
        distribution = importlib.metadata.distribution(PYPI_NAMES.get(name, name))
        version = distribution.version.split("+")[0]
        requires = [f"python {sys.version_info.major}.{sys.version_info.minor}.*"]
        requires += sorted(set(requirements(distribution)))
        file, entry = pack(folder / "linux-64", name, version, requires, dict(files_of(distribution)))
        packed[file] = entry
    for platform, packages in {"noarch": {}, "linux-64": packed}.items():
        table = {
            "info": {"subdir": platform},
            "packages": packages,
            "packages.conda": {},
            "repodata_version": 1,
        }
        (folder / platform / "repodata.json").write_text(json.dumps(table))


def interpreter() -> Iterator[tuple[str, Path]]:
    """The interpreter, its library and its standard library, by their places in an environment."""
    base = Path(sys.base_prefix)
    yield f"bin/{PYTHON}", base / "bin" / PYTHON
    for library in (base / "lib").glob("libpython*.so*"):
        yield f"lib/{library.name}", library.resolve()
    for file in (base / "lib" / PYTHON).rglob("*"):
        if file.is_file() and not {"site-packages", "test"} & set(file.parts):
            yield str(file.relative_to(base)), file


def files_of(distribution: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    for file in distribution.files or []:
        installed = Path(str(distribution.locate_file(file)))
        if ".." not in file.parts and installed.is_file():
            yield f"{SITE_PACKAGES}/{file}", installed


def requirements(
    distribution: importlib.metadata.Distribution, extras: Iterable[str] = ("",)
) -> Iterator[str]:
    """Conda names of what an installed package requires here and what is installed.

    Conda knows no extras: what `other[extra]` adds is required by the package itself.
    """
    for requirement in map(Requirement, distribution.requires or []):
        marker, name = requirement.marker, canonicalize_name(requirement.name)
        applies = marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
        for installed in importlib.metadata.distributions(name=name) if applies else ():
            yield CONDA_NAMES.get(name, name)
            if requirement.extras:
                yield from requirements(installed, requirement.extras)


def with_requirements(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.append(name)
            waiting += requirements(importlib.metadata.distribution(PYPI_NAMES.get(name, name)))
    return found


def pack(
    folder: Path, name: str, version: str, requires: list[str], files: Mapping[str, Path]
) -> tuple[str, dict[str, Any]]:
    """Write a package of links to `files`, and copies of what lies in `bin`; its name and index entry."""
    copies = {place: file.resolve() for place, file in files.items() if place.startswith("bin/")}
    links = {place: str(file) for place, file in files.items() if place not in copies}
    if name == "python":
        links |= {"bin/python3": PYTHON, "bin/python": PYTHON}
    kinds = dict.fromkeys(copies, "hardlink") | dict.fromkeys(links, "softlink")
    paths = [{"_path": place, "path_type": kind} for place, kind in sorted(kinds.items())]
    index = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": requires}
    index |= {"subdir": "linux-64", "platform": "linux", "arch": "x86_64"}
    package = folder / f"{name}-{version}-0.tar.bz2"
    with tarfile.open(package, "w:bz2", compresslevel=1) as archive:
        for place, file in copies.items():
            archive.add(file, place)
        for place, target in links.items():
            link = tarfile.TarInfo(place)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for title, table in {"index": index, "paths": {"paths": paths, "paths_version": 1}}.items():
            text = json.dumps(table).encode()
            member = tarfile.TarInfo(f"info/{title}.json")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    content = package.read_bytes()
    index |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return package.name, index


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
