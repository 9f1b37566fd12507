"""The command line: every stage by its word, then what stands beside the pipeline.

Each stage takes paths and its own section of the configuration; nothing here computes. Stages are imported
when they are called, so `fastaed evaluate` never loads torch.
"""

import argparse
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from fastaed import config
from fastaed.codehash import code_hash
from fastaed.errors import ConfigError, FastaedError, MissingDataError
from fastaed.files import content_digest

EXIT_STALE = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_READER_LEFT = 141
RUN = "FASTAED_RUN"  # the process that started this one as a job
_LAST_SECONDS = 30
_GO_ON = ("decode", "detect", "teach", "label", "pretrain", "distill")  # after an interruption


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; a user's mistake is one line on standard error and exit code 2."""
    parsed = _parser().parse_args(arguments)
    parsed.arguments = sys.argv[1:] if arguments is None else arguments
    # When one of Zarr's tasks meets a full disk, others go on for a moment in a folder that is gone by then;
    # asyncio would print a traceback of each beside the sentence that says what happened.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        if RUN in os.environ:
            _end_with(int(os.environ[RUN]))
        parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_left():
            raise
        sys.exit(EXIT_READER_LEFT)
    except FastaedError as error:
        sys.exit(_complain(parsed.command, str(error), EXIT_USER_ERROR))
    except KeyboardInterrupt:
        how = "goes on from here" if parsed.goes_on else "begins anew"
        sys.exit(_complain(parsed.command, f"interrupted; the same command again {how}", EXIT_INTERRUPTED))


def _reader_left() -> bool:
    """Whether nobody reads standard output any more, as of `fastaed show ... | head`; then it is let go."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes there when Python ends
    return True


def _end_with(run: int) -> None:
    """See to it that this process ends when `run` does, as by Ctrl-C.

    A Snakemake that is killed leaves its jobs behind. They would go on beside those of the next run, which
    makes the same files.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also what a scheduler sends when time is up
    try:
        handle = os.pidfd_open(run)
    except ProcessLookupError:
        raise KeyboardInterrupt from None
    except (AttributeError, OSError):
        return  # no Linux, or one that cannot tell

    def follow() -> None:
        select.select([handle], [], [])  # readable once the process has ended
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LAST_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, daemon=True).start()


def _complain(command: str, message: str, code: int) -> int:
    print(f"fastaed {command}: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastaed", description="Video anomaly detection by distilled teachers."
    )
    parser.set_defaults(goes_on=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="stage")
    for add in (
        _decode,
        _detect,
        _teach,
        _label,
        _pretrain,
        _distill,
        _score,
        _evaluate,
        _report,
        _demo,
        _detector,
        _weights,
        _trial,
        _ablation,
        _bench,
        _export,
        _show,
        _cost,
        _speed,
        _status,
    ):
        add(commands)
    for command in commands.choices.values():
        command.allow_abbrev = False  # or a new option would change what an old command line means
    return parser


Commands = Any  # argparse's subparsers have no public type


def _stage(
    commands: Commands, word: str, what: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """A subcommand that has a section of settings."""
    command: argparse.ArgumentParser = commands.add_parser(word, help=what, description=what)
    command.add_argument("--settings", help="this stage's section: JSON text, or a YAML file")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting")

    def run_as_hashed(parsed: argparse.Namespace) -> None:
        code_hash(f"fastaed.{word}")  # kept: a result names the code that was loaded, not what it is by then
        run(parsed)

    command.set_defaults(run=run_as_hashed, goes_on=word in _GO_ON)
    return command


def _paths(command: argparse.ArgumentParser, name: str, what: str) -> None:
    must: dict[str, Any] = {"required": True} if name.startswith("-") else {}
    command.add_argument(name, type=Path, nargs="+", help=what, **must)


def _path(command: argparse.ArgumentParser, name: str, what: str, required: bool = True) -> None:
    command.add_argument(name, type=Path, required=required, help=what)


def _count(text: str) -> int:
    """An argument's type: 1, 2 ..."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' should be a number from 1 on")
    return int(text)


def _layout(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--layout",
        choices=["folder", "avenue", "shanghaitech", "ped2"],
        default="folder",
        help="how labels are kept",
    )


def _named(command: argparse.ArgumentParser, name: str, what: str, nargs: str = "+") -> None:
    command.add_argument(name, nargs=nargs, default=[], metavar="NAME=PATH", help=what)


def _by_name(pairs: Sequence[str]) -> dict[str, list[Path]]:
    """`["a=x", "a=y", "b=z"]` -> {"a": [x, y], "b": [z]}."""
    named: dict[str, list[Path]] = {}
    for pair in pairs:
        name, sign, path = pair.partition("=")
        if not sign or not name or not path:
            given = pair.strip("=") or "scores.parquet"
            raise ConfigError(f"'{pair}' should be NAME=PATH, e.g. {Path(given).stem}={given}")
        named.setdefault(name, []).append(Path(path))
    return named


def _one_by_name(pairs: Sequence[str]) -> dict[str, Path]:
    named = _by_name(pairs)
    for name, paths in named.items():
        if len(paths) > 1:
            raise ConfigError(f"{name} is given {len(paths)} times: {', '.join(map(str, paths))}")
    return {name: paths[0] for name, paths in named.items()}


def _settings(section: type[config.Section], parsed: argparse.Namespace) -> config.Section:
    return config.read_settings(section, parsed.settings, _assignments(parsed.set))


def _assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`a.b=1` -> {"a": {"b": 1}}, the value read as YAML."""
    nested: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise ConfigError(f"--set {pair}: expected KEY=VALUE, e.g. --set confidence=0.3")
        level = nested
        *parents, last = key.split(".")
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = yaml.safe_load(value)
    return nested


def _decode(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import decode

        decode.run(
            _one_by_name(parsed.sources),
            parsed.out,
            parsed.list,
            _one_by_name(parsed.labels),
            parsed.layout,
            _settings(config.DecodeSettings, parsed),
            parsed.at_once,
        )

    command = _stage(commands, "decode", "videos, or folders of frames, to frame stores", run)
    _named(command, "sources", "clip and its video file or folder of frames")
    _path(command, "--out", "folder of the frame stores to write, <clip>.zarr, and their manifests")
    _path(command, "--list", "list of what was decoded, to write last (.json)", required=False)
    _named(command, "--labels", "clip and its ground truth, to check the count of frames", nargs="*")
    _layout(command)
    command.add_argument("--at-once", type=_count, default=1, help="clips to decode side by side")


def _detect(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import detect

        detect.run(parsed.stores, parsed.out, parsed.manifest, _settings(config.DetectSettings, parsed))

    command = _stage(commands, "detect", "objects in every frame of some clips", run)
    _paths(command, "stores", "frame stores")
    _path(command, "--out", "folder to write, one table a clip")
    _path(command, "--manifest", "manifest to write (.json)")


def _teach(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import teach

        settings = _settings(config.TeachSettings, parsed)
        teach.run(
            parsed.stores,
            parsed.detections,
            parsed.out,
            parsed.losses,
            parsed.teacher,
            parsed.fold,
            settings,
            parsed.detector,
        )

    command = _stage(commands, "teach", "fit one teacher on all training clips but those of one fold", run)
    command.add_argument("teacher", choices=["ssmtl", "baf", "density"])
    command.add_argument("--fold", type=int, required=True, help="clips of this fold are held out")
    _paths(command, "--stores", "frame stores of the training split")
    _paths(command, "--detections", "folders of detections")
    command.add_argument("--detector", help="the detector's weights, for density with its eyes")
    _path(command, "--out", "weights to write (.safetensors)")
    _path(command, "--losses", "table of losses to write (.csv)")


def _label(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import label

        settings = _settings(config.LabelSettings, parsed)
        label.run(parsed.stores, parsed.detections, parsed.teachers, parsed.out, parsed.manifest, settings)

    command = _stage(commands, "label", "a teacher's anomaly maps of some clips", run)
    _paths(command, "stores", "frame stores")
    _paths(command, "--detections", "folders of detections")
    _paths(command, "--teachers", "one teacher's weights, all folds")
    _path(command, "--out", "store of maps to write (.zarr)")
    _path(command, "--manifest", "manifest to write (.json)")


def _pretrain(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import pretrain

        pretrain.run(parsed.stores, parsed.out, parsed.losses, _settings(config.PretrainSettings, parsed))

    command = _stage(commands, "pretrain", "phase 1: the student's encoder learns to reproduce frames", run)
    _paths(command, "stores", "frame stores of the training split")
    _path(command, "--out", "weights to write (.safetensors)")
    _path(command, "--losses", "table of losses to write (.csv)")


def _distill(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        settings = _settings(config.DistillSettings, parsed)
        maps = _by_name(parsed.maps)
        from fastaed import distill, parallel

        if parsed.gpus > 1 and not parallel.launched():
            parallel.launch(parsed.gpus, parsed.arguments)
            return
        with parallel.joined():
            distill.run(
                parsed.stores,
                parsed.detections,
                maps,
                parsed.pretrained,
                parsed.out,
                parsed.losses,
                parsed.curves,
                parsed.positives,
                settings,
                parsed.detector,
            )

    command = _stage(commands, "distill", "phase 2: the student learns the teachers' maps", run)
    _paths(command, "stores", "frame stores of the training split")
    _paths(command, "--detections", "folders of detections")
    _named(command, "--maps", "teacher and store of its maps, any number of both")
    _path(command, "--pretrained", "weights of phase 1")
    command.add_argument("--detector", help="the detector's weights, for a student with its eyes")
    _path(command, "--out", "student to write (.safetensors)")
    _path(command, "--losses", "table of losses to write (.csv)")
    _path(command, "--curves", "picture of the losses to write (.png)")
    _path(command, "--positives", "contact sheet of synthetic anomalies to write (.png)")
    command.add_argument(
        "--gpus", type=int, default=1, help="train on so many at once (without any: in so many processes)"
    )


def _score(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        if parsed.student is not None and any(path.suffix != ".zarr" for path in parsed.stores):
            _watch(parsed)
            return
        if parsed.out is None:
            raise ConfigError("score of stores needs --out, the table to write")
        if parsed.hardware:
            raise ConfigError("--hardware decodes videos; leave it out for frame stores")
        from fastaed import score

        if parsed.student is None:
            score.run_teacher(parsed.stores, parsed.clips, parsed.out, parsed.manifest)
        elif parsed.maps is None or parsed.manifest is None:
            raise ConfigError("score --student also needs --maps and --manifest")
        else:
            settings = _settings(config.ScoreSettings, parsed)
            score.run_student(
                parsed.student, parsed.stores, parsed.out, parsed.maps, parsed.manifest, settings
            )

    command = _stage(
        commands, "score", "per-frame anomaly scores, by a student or from a teacher's maps", run
    )
    _paths(
        command, "stores", "with --student: videos, folders of frames or frame stores; else a teacher's maps"
    )
    _path(command, "--student", "student's weights; of videos also what export wrote", required=False)
    command.add_argument("--clips", nargs="+", default=[], help="without --student: only these clips")
    _path(command, "--out", "table of scores to write (.parquet; of videos .csv, or none: print it)", False)
    _path(command, "--maps", "with --student and stores: store of maps to write (.zarr)", required=False)
    _path(command, "--manifest", "of stores: manifest to write (.json)", required=False)
    _path(command, "--curve", "of videos: picture of the scores to write (.png)", required=False)
    _path(command, "--overlay", "of one video: it with the map over it, to write (.mp4)", required=False)
    command.add_argument(
        "--size", type=_size, metavar="WxH", help="of videos: what the student sees; default: as in training"
    )
    _hardware(command, "of videos: ")


def _hardware(command: argparse.ArgumentParser, prefix: str) -> None:
    command.add_argument(
        "--hardware",
        action="store_true",
        help=f"{prefix}decode on the student's card (extra `hardware`); colours may differ by a level or two",
    )


def _watch(parsed: argparse.Namespace) -> None:
    from fastaed import decode, decode_on_card, export, watch

    if parsed.maps or parsed.manifest:
        raise ConfigError("--maps and --manifest belong to frame stores; leave them out for videos")
    settings = _settings(config.ScoreSettings, parsed)
    network = export.open_network(parsed.student, settings.device, settings.precision)
    width, height = parsed.size or (network.facts["width"], network.facts["height"])
    size = config.read_settings(config.DecodeSettings, None, {"width": width, "height": height})

    card = _card_of(network) if parsed.hardware else None

    facts = {}
    for path in parsed.stores:  # one that cannot be read is told of before hours of others
        footage = decode.open_footage(path)
        facts[path] = footage.rate, footage.promised

    def opened(path: Path) -> watch.Source:
        if card is None:
            return watch.Source(path.stem, decode.open_frames(path, size), *facts[path])
        chunks = decode_on_card.open_chunks(path, width, height, card, settings.batch_size)
        return watch.Source(path.stem, iter(()), *facts[path], chunks)

    weights = parsed.student, parsed.student.with_suffix(".bin")  # the latter of OpenVINO
    keep = {
        "student": [content_digest(path) for path in weights if path.is_file()],
        "settings": config.settings_json(settings),
        "frames": (width, height, parsed.hardware),
        "code": code_hash("fastaed.watch"),
    }
    parsed.goes_on = bool(parsed.out and not parsed.overlay)
    results = parsed.out, parsed.curve, parsed.overlay
    watch.run(network, parsed.stores, opened, *results, settings.batch_size, keep)


def _card_of(network: Any) -> Any:
    """The card that decodes, which is the student's."""
    if network.card is None:
        raise ConfigError(
            f"--hardware decodes on the card that the student runs on, but it runs by {network.backend}; "
            f"leave it out, or use weights (.safetensors) where a CUDA device is"
        )
    return network.card


def _size(text: str) -> tuple[int, int]:
    """`640x360` -> (640, 360)."""
    width, _, height = text.partition("x")
    return int(width), int(height)


def _evaluate(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import evaluate
        from fastaed.data.benchmarks import track_paths
        from fastaed.evaluation.truth import GroundTruth

        labels = _labels(parsed.labels)
        tracks = _one_by_name(parsed.tracks)
        if isinstance(labels, Path) and not tracks:
            tracks = track_paths(parsed.layout, labels)
        evidence = evaluate.Evidence(
            _by_name(parsed.scores),
            _by_name(parsed.normal),
            _by_name(parsed.repeats),
            _by_name(parsed.against),
            _by_name(parsed.maps),
            _by_name(parsed.detections),
            parsed.stores,
        )
        ground_truth = GroundTruth(parsed.dataset, parsed.layout, labels, tracks, parsed.without_events)
        settings = _settings(config.EvaluateSettings, parsed)
        evaluate.run(evidence, ground_truth, parsed.out, parsed.table, settings)

    command = _stage(
        commands,
        "evaluate",
        "tables and a page of any models' scores: .npy, .npz, .csv or .parquet, a file a clip or one for all",
        run,
    )
    _named(command, "scores", "model and a file or folder of its scores")
    command.add_argument(
        "--labels",
        nargs="*",
        default=[],
        metavar="PATH | CLIP=PATH",
        help="folder with the ground truth of all test clips, or one .npz; or each clip's own",
    )
    _layout(command)
    _named(command, "--normal", "model and its scores of normal footage, for a threshold", nargs="*")
    _named(command, "--repeats", "MODEL/SEED and the scores of that model trained with it", nargs="*")
    _named(command, "--against", "model and its scores, to measure differences to", nargs="*")
    _named(command, "--maps", "model and its anomaly maps, for RBDC and TBDC", nargs="*")
    _named(command, "--detections", "model and its scored boxes, for RBDC and TBDC", nargs="*")
    command.add_argument(
        "--tracks", nargs="*", default=[], metavar="CLIP=PATH", help="track files, where not in `tracks/`"
    )
    command.add_argument("--stores", type=Path, nargs="*", default=[], help="frame stores, for pictures")
    command.add_argument(
        "--without-events",
        type=Path,
        nargs="*",
        default=[],
        metavar="STORE",
        help="frame stores of further clips, in which nothing happens, whose scores are there too",
    )
    command.add_argument("--dataset", default="mine", help="name written into the tables")
    _path(command, "--out", "folder to write")
    _path(command, "--table", "where to write auc.csv, if not into the folder", required=False)


def _labels(given: Sequence[str]) -> dict[str, Path] | Path:
    if len(given) == 1 and "=" not in given[0]:
        return Path(given[0])
    return _one_by_name(given)


def _report(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import report

        settings = _settings(config.ReportSettings, parsed)
        report.run(
            _by_name(parsed.scores),
            _one_by_name(parsed.labels),
            parsed.layout,
            parsed.maps,
            parsed.stores,
            _one_by_name(parsed.losses),
            parsed.out,
            settings,
        )

    command = _stage(commands, "report", "curves and contact sheets", run)
    _named(command, "scores", "model and table of its scores")
    _named(command, "--labels", "test clip and its ground truth, if there is any", nargs="*")
    _layout(command)
    _paths(command, "--maps", "stores of the student's maps")
    _paths(command, "--stores", "frame stores of the test split")
    _named(command, "--losses", "title and table of losses")
    _path(command, "--out", "folder to write")


def _demo(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import demo

        settings = _settings(config.DemoSettings, parsed)
        if parsed.layout:
            demo.write_as(parsed.layout, parsed.out, settings)
        else:
            demo.run(parsed.out, settings)
        if parsed.pictures:
            demo.write_detector_pictures(parsed.pictures, settings)

    command = _stage(commands, "demo", "generate the demo data set", run)
    command.add_argument("out", type=Path, help="folder to write")
    command.add_argument(
        "--layout",
        choices=["avenue", "shanghaitech", "ped2"],
        help="an official layout instead of the plain one",
    )
    _path(command, "--pictures", "also write pictures to train the demo's detector on", required=False)


def _detector(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import detect

        settings = _settings(config.DemoSettings, parsed)
        detect.train_detector(parsed.pictures, parsed.out, settings.detector_epochs, settings.seed)

    command = _stage(commands, "detector", "train the demo's small YOLO on generated pictures", run)
    command.add_argument("pictures", type=Path, help="folder written by `fastaed demo --pictures`")
    _path(command, "--out", "weights to write (.pt)")


def _weights(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed.yolo import find_weights

        find_weights(parsed.weights)

    command: argparse.ArgumentParser = commands.add_parser(
        "weights", help="have the detector's weights, downloaded to weights/ where they are not there"
    )
    command.add_argument("weights", help="name or path, as detect.weights")
    command.set_defaults(run=run)


def _trial(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import trial

        if parsed.contact:
            trial.draw_contact_sheet(parsed.stores, parsed.labels, parsed.tracks, parsed.contact)
        elif len(parsed.stores) > 1 or None in (parsed.number, parsed.out, parsed.manifest):
            raise ConfigError("trial makes one clip of one store and needs --number, --out and --manifest")
        else:
            settings = _settings(config.TrialSettings, parsed)
            (store,), (labels,), (tracks,) = parsed.stores, parsed.labels, parsed.tracks
            trial.run(store, parsed.number, parsed.out, parsed.manifest, labels, tracks, settings)

    command = _stage(commands, "trial", "a validation clip with synthetic anomalies in it", run)
    _paths(command, "stores", "frame store of a validation clip; with --contact, of trial clips")
    command.add_argument("--number", type=int, help="of the trial clip among all, from 0")
    _path(command, "--out", "frame store to write (.zarr)", required=False)
    _path(command, "--manifest", "manifest to write (.json)", required=False)
    _paths(command, "--labels", "labels to write (.csv); with --contact, of each clip")
    _paths(command, "--tracks", "tracks to write (.csv); with --contact, of each clip")
    _path(command, "--contact", "contact sheet of all events to write (.png)", required=False)


def _ablation(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import ablation
        from fastaed.evaluation.truth import GroundTruth

        of_trial = GroundTruth(parsed.dataset, "folder", _one_by_name(parsed.trial_labels))
        trial_settings = config.read_settings(config.EvaluateSettings, parsed.trial_settings)
        trial = ablation.Clips(_by_name(parsed.trial), of_trial, trial_settings)
        test = None
        if parsed.test:
            of_test = GroundTruth(parsed.dataset, parsed.layout, _labels(parsed.labels))
            settings = _settings(config.EvaluateSettings, parsed)
            test = ablation.Clips(_by_name(parsed.test), of_test, settings)
        ablation.run(trial, test, parsed.benchmarks, parsed.out, parsed.facts, parsed.picture)

    command = _stage(
        commands, "ablation", "variants of a student on trial and test clips; settings: evaluate's", run
    )
    command.add_argument(
        "trial", nargs="+", metavar="VARIANT/SEED=PATH", help="student and its scores of the trial clips"
    )
    _named(command, "--trial-labels", "trial clip and its labels")
    command.add_argument("--trial-settings", help="evaluate's settings as they hold for the trial clips")
    command.add_argument(
        "--test",
        nargs="*",
        default=[],
        metavar="VARIANT/SEED=PATH",
        help="student and its scores of the test clips",
    )
    command.add_argument(
        "--labels", nargs="*", default=[], metavar="PATH | CLIP=PATH", help="ground truth of the test clips"
    )
    _layout(command)
    _path(command, "--benchmarks", "what the workflow recorded, for the seconds", required=False)
    command.add_argument("--dataset", default="mine", help="name written into the table")
    _path(command, "--out", "table to write (.csv)")
    _path(command, "--facts", "protocols and rank correlation to write (.json)")
    _path(command, "--picture", "picture to write (.png)")


def _bench(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import bench

        if parsed.what == "evaluate":
            if parsed.sources or parsed.settings or parsed.set:
                raise ConfigError("bench evaluate invents what it measures; give it --out only")
            bench.evaluation(parsed.out)
            return
        of_networks = {"student": _bench_student, "watch": _bench_watch, "compute": _bench_compute}
        if parsed.what in of_networks:
            of_networks[parsed.what](parsed)
            return
        from fastaed import decode

        if not parsed.sources:
            raise ConfigError("bench store needs clips to store, e.g. street=street.mp4")
        settings = _settings(config.DecodeSettings, parsed)
        clips = {
            name: decode.open_frames(path, settings) for name, path in _one_by_name(parsed.sources).items()
        }
        bench.store(clips, parsed.out)

    command = _stage(commands, "bench", "measure on this machine; settings are those of decode", run)
    command.add_argument(
        "what",
        choices=["store", "evaluate", "student", "watch", "compute"],
        help="store: size, write and read cost of ways to store frames; evaluate: time of all measures; "
        "student: speed of a student by each runtime, in the size of the settings; "
        "watch: from a video file to scores; compute: FLOP and size of trained networks, a table (.csv)",
    )
    _named(command, "sources", "store, student, watch: title and video or folder of frames", nargs="*")
    _path(command, "--out", "measurements to write (.json)")
    _path(
        command,
        "--student",
        "student: its weights; default: untrained, of the published size; watch: also what export wrote",
        False,
    )
    command.add_argument(
        "--stores", type=Path, nargs="*", default=[], help="student: stores of test clips; compute: of one"
    )
    command.add_argument(
        "--weights", type=Path, nargs="*", default=[], help="compute: files of teachers and students"
    )
    _path(command, "--detections", "compute: table of the clip, or a folder that holds it", False)
    command.add_argument(
        "--labels", nargs="*", default=[], metavar="PATH | CLIP=PATH", help="student: their ground truth"
    )
    _layout(command)
    command.add_argument(
        "--minutes", type=float, nargs="+", default=[1.0, 10.0], help="watch: of footage, rising"
    )
    command.add_argument("--batch-size", type=int, default=16, help="watch: frames at once")
    _hardware(command, "watch: ")
    command.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=[1, 4, 16],
        help="student: numbers of inputs at once, 1 first",
    )


def _bench_student(parsed: argparse.Namespace) -> None:
    import json

    from fastaed import bench_student, speed
    from fastaed.evaluation.truth import GroundTruth

    if not parsed.sources:
        raise ConfigError("bench student needs footage to look at, e.g. street=street.mp4")
    if bool(parsed.stores) != bool(parsed.labels):
        raise ConfigError("bench student needs both --stores and --labels for AUCs, or neither")
    settings = _settings(config.DecodeSettings, parsed)
    inputs = _inputs(list(_one_by_name(parsed.sources).values()), settings, 16)
    labelled = None
    if parsed.stores:
        truth = GroundTruth("these clips", parsed.layout, _labels(parsed.labels))
        labelled = bench_student.Labelled(parsed.stores, truth)
    bench_student.run(parsed.student, inputs, parsed.out, parsed.batches, labelled)
    print(speed.rows_table(json.loads(parsed.out.read_text())))


def _bench_compute(parsed: argparse.Namespace) -> None:
    from fastaed import bench_compute

    if not parsed.weights or len(parsed.stores) != 1 or parsed.detections is None:
        raise ConfigError("bench compute needs --weights, one clip's --stores and its --detections")
    bench_compute.run(parsed.weights, parsed.stores[0], parsed.detections, parsed.out)


def _bench_watch(parsed: argparse.Namespace) -> None:
    import json

    from fastaed import bench_watch, decode, decode_on_card, export, speed

    if len(parsed.sources) != 1 or parsed.student is None:
        raise ConfigError("bench watch needs one video and --student, e.g. street=street.mp4")
    ((_, path),) = _one_by_name(parsed.sources).items()
    network = export.open_network(parsed.student)
    size = {} if parsed.settings else {name: network.facts[name] for name in ("width", "height")}
    settings = config.read_settings(
        config.DecodeSettings, parsed.settings, {**size, **_assignments(parsed.set)}
    )
    width, height, count = settings.width, settings.height, parsed.batch_size
    card = _card_of(network) if parsed.hardware else None
    video = bench_watch.Video(
        path,
        decode.open_footage(path).rate,
        lambda: decode.open_footage(path).frames,
        lambda frames: decode.resized(frames, width, height),
        (lambda: decode_on_card.open_chunks(path, width, height, card, count)) if card else None,
    )
    bench_watch.run(network, video, parsed.out, parsed.minutes, parsed.batch_size)
    print(speed.watch_table({"": json.loads(parsed.out.read_text())}))


def _inputs(paths: Sequence[Path], settings: config.DecodeSettings, count: int) -> list[Any]:
    """Student inputs of `count` frames of each source, a second apart; fewer where it is shorter."""
    from itertools import islice

    from fastaed import decode
    from fastaed.data.stream import streamed_inputs

    apart = 25
    inputs = []
    for path in paths:
        frames = decode.open_frames(path, settings)
        inputs += [clip for _, clip in islice(streamed_inputs(frames), 0, apart * count, apart)]
    return inputs


def _export(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import export
        from fastaed.weights import load_weights

        _, facts = load_weights(parsed.student)
        if not {"height", "width"} <= set(facts):
            raise ConfigError(
                f"{parsed.student} holds no student: it names no size of frames; export what distill wrote"
            )
        size = {"width": facts["width"], "height": facts["height"]}
        settings = config.read_settings(config.DecodeSettings, None, size)
        inputs = _inputs(parsed.frames, settings, parsed.count)
        difference = export.run(parsed.student, parsed.to, parsed.out, inputs, parsed.int8)
        print(f"{parsed.out}: {len(inputs)} frames compared, largest difference of a map {difference:.2g}")

    command: argparse.ArgumentParser = commands.add_parser("export", help="a student for another runtime")
    command.add_argument("student", type=Path, help="weights that distill wrote (.safetensors)")
    command.add_argument("--to", required=True, choices=["onnx", "openvino", "torch"], help="runtime")
    _path(command, "--out", "file to write: .onnx, .xml (with .bin beside it) or .pt2")
    _paths(command, "--frames", "footage to compare maps on; for --int8 of ordinary training footage")
    command.add_argument("--count", type=int, default=16, help="frames taken of each, a second apart")
    command.add_argument("--int8", action="store_true", help="in eight-bit integers")
    command.set_defaults(run=run)


def _show(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import report

        print(report.show(parsed.results))

    command: argparse.ArgumentParser = commands.add_parser("show", help="print a data set's table of AUCs")
    command.add_argument("results", type=Path, help="e.g. results/demo")
    command.set_defaults(run=run)


def _cost(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import cost

        cost.run(parsed.results, parsed.benchmarks, parsed.out)

    command: argparse.ArgumentParser = commands.add_parser("cost", help="time, memory and disk of each stage")
    command.add_argument("results", type=Path, help="e.g. results/ped2")
    _path(command, "--benchmarks", "what the workflow recorded, e.g. benchmarks/ped2")
    _path(command, "--out", "table to write (.csv)")
    command.set_defaults(run=run)


def _speed(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import speed

        for page in parsed.into:
            speed.run(parsed.measured, page)

    command: argparse.ArgumentParser = commands.add_parser(
        "speed", help="what `fastaed bench student` and `bench watch` measured, as tables of a page"
    )
    command.add_argument("measured", type=Path, help="folder of measurements, e.g. docs/speed")
    _paths(command, "--into", "pages (.md) whose tables are written anew, between `<!-- speed: ... -->`")
    command.set_defaults(run=run)


def _status(commands: Commands) -> None:
    def run(parsed: argparse.Namespace) -> None:
        from fastaed import plan, status

        name = parsed.results.resolve().name
        overrides = _assignments(parsed.set)
        try:
            planned = plan.plan(name, parsed.config, overrides)
        except MissingDataError as error:
            print(f"footage is not compared: {error}", file=sys.stderr)
            planned = status.remembered(config.load_config(name, parsed.config, overrides), parsed.results)
        rows = status.status(planned, parsed.results, parsed.benchmarks / name, parsed.digests)
        print(status.table(rows))
        if any(row.reasons for row in rows):
            sys.exit(EXIT_STALE)

    command: argparse.ArgumentParser = commands.add_parser(
        "status",
        help="what of a data set's results is stale, why, and what a rerun costs; exits with 1 if any",
    )
    command.add_argument("results", type=Path, help="e.g. results/avenue")
    command.add_argument("--config", type=Path, default=Path("config"), help="folder of configurations")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting")
    command.add_argument(
        "--benchmarks", type=Path, default=Path("benchmarks"), help="folder of what the workflow recorded"
    )
    command.add_argument("--digests", action="store_true", help="also read all stores, to find damage")
    command.set_defaults(run=run)


if __name__ == "__main__":
    main()
