"""The profiles, and the shipped one for Slurm against a real Slurm (`python -m pytest -m slurm`)."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yte
from test_workflow import wait_for
from workflow_runs import LIMITS, ROOT, TARGETS, TINY, run, snakemake_in

PROFILES = ROOT / "workflow" / "profiles"
SLURM = PROFILES / "slurm"
SITE = {
    "FASTAED_SLURM_PARTITION": "cpu",
    "FASTAED_SLURM_GPU_PARTITION": "gpu",
    "FASTAED_SLURM_GPU_MODEL": "fake",
}
# On a cluster without accounting; looks more often than one should with hundreds of jobs.
QUICKLY = (
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
    *("--seconds-between-status-checks", "1", "--latency-wait", "5"),
)
AUTOENCODER = "results/demo/pretrain/autoencoder.safetensors"
PRETRAIN_LOG = "logs/demo/pretrain.log"
DETECTED = "results/demo/detect/test/000.json"
STAGES = {"decode", "detect", "teach", "label", "pretrain", "distill", "score_student", "evaluate", "report"}
# Each kind of job, and no more of them than that takes.
SMALL = {**TINY, "clips_per_batch": 4, "teach": {**TINY["teach"], "teachers": ["density"]}}
CONFIG = ("--config", *(f"{key}={json.dumps(value)}" for key, value in SMALL.items()))
UNFINISHED = {"RUNNING", "PENDING", "COMPLETING"}
PATIENCE = 1200


def rules() -> dict[str, str]:
    """The text of every rule by its name; of one made from another the other's, which has its resources."""
    texts = "\n".join(file.read_text() for file in (ROOT / "workflow").glob("*.smk"))
    written = dict(re.findall(r"^rule (\w+):\n((?:    .*\n|\n)*)", texts, re.MULTILINE))
    derived = re.findall(r"^use rule (\w+) as (\w+) with:", texts, re.MULTILINE)
    return {**written, **{name: written[origin] for origin, name in derived}}


def gpu_rules() -> set[str]:
    return {name for name, text in rules().items() if "gpu=1" in text}


def profile(name: str) -> dict[str, Any]:
    with (PROFILES / name / "config.yaml").open() as stream:
        return dict(yte.process_yaml(stream, require_use_yte=True))


@pytest.fixture(autouse=True)
def no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FASTAED_SLURM_")]:
        monkeypatch.delenv(name)


def set_site(monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
    for name, value in {**SITE, **others}.items():
        monkeypatch.setenv(name, value)


def test_profiles_name_rules_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake passes over a misspelt one in silence."""
    set_site(monkeypatch)
    for folder in PROFILES.iterdir():
        settings = profile(folder.name)
        named = settings.get("set-resources", {}).keys() | settings.get("set-threads", {}).keys()
        assert named <= rules().keys(), folder.name


def test_slurm_profile_sends_exactly_the_rules_with_a_gpu_to_the_gpu_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_site(monkeypatch)
    asked = profile("slurm")["set-resources"]
    assert asked == {rule: {"slurm_partition": "gpu", "gpu_model": "fake"} for rule in gpu_rules()}


def test_slurm_profile_without_a_site_asks_for_nothing_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert profile("slurm")["default-resources"] == {"gpu": 0}
    assert "set-resources" not in profile("slurm")
    monkeypatch.setenv("FASTAED_SLURM_ACCOUNT", "lab")
    assert profile("slurm")["default-resources"] == {"gpu": 0, "slurm_account": "lab"}


@pytest.mark.parametrize("site", [{}, SITE])
def test_slurm_profile_gives_distill_as_many_gpus_of_one_node_as_asked_for(
    monkeypatch: pytest.MonkeyPatch, site: dict[str, str]
) -> None:
    for name, value in site.items():
        monkeypatch.setenv(name, value)
    before = profile("slurm").get("set-resources", {})
    monkeypatch.setenv("FASTAED_SLURM_DISTILL_GPUS", "4")
    asked = profile("slurm")["set-resources"]
    assert asked.pop("distill") == {**before.pop("distill", {}), "gpu": 4, "nodes": 1}
    assert asked == before


def test_slurm_profile_without_a_site_is_a_profile(tmp_path: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="needs pip install 'fastaed[slurm]'")
    planned = run([*snakemake_in(tmp_path), "--workflow-profile", str(SLURM), "-n", *TARGETS, *CONFIG])
    assert "rule distill:" in planned


def test_profiles_agree_on_what_has_nothing_to_do_with_the_machine() -> None:
    for key in ("scheduler", "rerun-incomplete", "show-failed-logs"):
        assert profile("default")[key] == profile("slurm")[key]


def test_default_profile_lets_one_job_at_a_time_have_the_gpu() -> None:
    assert profile("default")["resources"] == {"gpu": 1}


def test_distill_gets_a_process_for_each_gpu_that_it_is_given(tmp_path: Path) -> None:
    two = ("--resources", "gpu=2", "--set-resources", "distill:gpu=2")
    for options, number in (((), 1), (two, 2), (two[2:], 1)):  # of the last, the default profile has but one
        said = run([*snakemake_in(tmp_path), "--dry-run", "--printshellcmds", *options, "--", *TARGETS])
        assert re.findall(r"--gpus (\d+)", said) == [str(number)]


def test_every_job_asks_for_memory_and_time_and_for_more_at_each_attempt() -> None:
    for name, text in rules().items():
        for resource in ("mem_mb", "runtime"):
            assert re.search(rf"^        {resource}=growing\(\d+\),$", text, re.MULTILINE), name


def test_dry_run_with_the_slurm_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm")
    set_site(monkeypatch, FASTAED_SLURM_ACCOUNT="lab")
    said = run([*snakemake_in(tmp_path), "--dry-run", "--workflow-profile", str(SLURM), *TARGETS])
    asked = dict(re.findall(r"^ *rule (\w+):$.*?^ *resources: (.*?)$", said, re.MULTILINE | re.DOTALL))
    assert asked.keys() >= STAGES
    for rule, resources in asked.items():
        has = dict(item.split("=", 1) for item in resources.split(", "))
        needs = rule in gpu_rules()
        assert (has["gpu"], has["slurm_partition"]) == (("1", "gpu") if needs else ("0", "cpu"))
        assert has.get("gpu_model") == ("fake" if needs else None)
        assert has["slurm_account"] == "lab"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Slurm of one node with two GPUs that are nothing but allocated."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="needs pip install 'fastaed[slurm]'")
    if missing := [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name)]:
        pytest.skip(f"no {', '.join(missing)}: apt-get install --no-install-recommends slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("only root can start a Slurm")
    if any(path.exists() for path in (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm/gres.conf"))):
        pytest.skip("this machine has a Slurm of its own, configured in /etc/slurm")
    folder = tmp_path_factory.mktemp("slurm")
    script = str(ROOT / "tests" / "mini_slurm.sh")
    try:
        subprocess.run([script, "start", str(folder)], check=True)
        yield
    finally:
        subprocess.run([script, "stop", str(folder)], check=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole tiny workflow has run, without any cluster."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run([*snakemake_in(folder), *LIMITS, *TARGETS, *CONFIG])
    return folder


@pytest.fixture
def before_pretrain(undisturbed: Path, tmp_path: Path) -> Path:
    """A folder in which a single job is wanting."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder, symlinks=True)
    (folder / AUTOENCODER).unlink()
    (folder / PRETRAIN_LOG).unlink()
    return folder


@pytest.fixture
def site(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody who works on that cluster."""
    set_site(monkeypatch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@contextmanager
def snakemake_on_slurm(
    folder: Path, *targets: str, profile: Path = SLURM, options: Sequence[str] = QUICKLY
) -> Iterator[subprocess.Popen[bytes]]:
    """A run with a profile, few and thin jobs at once; interrupted when the test is done."""
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(
            [
                *snakemake_in(folder),
                *("--workflow-profile", str(profile), *options, "--jobs", "3", "--max-threads", "1"),
                *targets,
                *CONFIG,
            ],
            start_new_session=True,
            stdout=said,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # a background job inherits it ignored
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            interrupt(process)


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=PATIENCE) != 0


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    assert process.wait(timeout=PATIENCE) == 0, (folder / "said").read_text()[-6000:]


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def jobs(folder: Path) -> list[dict[str, str]]:
    """What Slurm knows of each job submitted from a folder, in order; of a running one also its cards."""
    lines = slurm("scontrol", "show", "job", "--details", "--oneliner").splitlines()
    every = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
    return sorted(
        (job for job in every if job.get("WorkDir") == str(folder)), key=lambda job: int(job["JobId"])
    )


def rule_of(job: dict[str, str]) -> str:
    return re.sub("_wildcards_.*", "", job["Comment"]).removeprefix("rule_")


def cards(job: dict[str, str]) -> set[str]:
    """The numbers of the GPUs that a running job has."""
    return set(re.findall(r"IDX:(\d+)", job["GRES"]))


def wait_for_state(folder: Path, rule: str, state: str) -> dict[str, str]:
    """The first job of a rule that is in a state, as soon as there is one."""

    def found() -> list[dict[str, str]]:
        return [job for job in jobs(folder) if rule_of(job) == rule and job["JobState"] == state]

    wait_for(found, seconds=PATIENCE)
    return found()[0]


@pytest.mark.slurm
@pytest.mark.timeout(3000)
def test_demo_on_slurm_interrupted_once(site: None, undisturbed: Path, tmp_path: Path) -> None:
    """Ctrl-C cancels all jobs; then the same command ends with the table of a run on one machine."""
    with snakemake_on_slurm(tmp_path, *TARGETS) as process:
        wait_for_state(tmp_path, "decode", "RUNNING")
        interrupt(process)
    wait_for(lambda: not {job["JobState"] for job in jobs(tmp_path)} & UNFINISHED)
    cancelled = len(jobs(tmp_path))
    assert "CANCELLED" in {job["JobState"] for job in jobs(tmp_path)}

    at_work = []
    with snakemake_on_slurm(tmp_path, *TARGETS) as process:
        while process.poll() is None:
            running = [job for job in jobs(tmp_path) if job["JobState"] == "RUNNING"]
            at_work.append([cards(job) for job in running if rule_of(job) in gpu_rules()])
            time.sleep(0.5)
        finish(process, tmp_path)
    for together in at_work:
        assert all(len(card) == 1 for card in together)
        assert len(set().union(*together)) == len(together), "two jobs had the same card"
    assert max(map(len, at_work)) == 2, "two GPU jobs were never at work at once"

    done = jobs(tmp_path)[cancelled:]
    assert {job["JobState"] for job in done} == {"COMPLETED"}
    assert {rule_of(job) for job in done} >= STAGES
    decoded = [job for job in done if rule_of(job) == "decode"]
    assert len(decoded) == 2, "a batch of training clips, one of test clips"
    for job in done:
        has_gpu = rule_of(job) in gpu_rules()
        assert job["Partition"] == ("gpu" if has_gpu else "cpu")
        assert job.get("TresPerJob") == ("gres:gpu:fake:1" if has_gpu else None)
    table = "results/demo/auc.csv"
    assert (tmp_path / table).read_bytes() == (undisturbed / table).read_bytes()


@pytest.mark.slurm
@pytest.mark.timeout(1800)
def test_job_over_its_time_is_killed_and_gets_more(site: None, before_pretrain: Path) -> None:
    with snakemake_on_slurm(before_pretrain, AUTOENCODER) as process:
        job = wait_for_state(before_pretrain, "pretrain", "RUNNING")
        wait_for((before_pretrain / PRETRAIN_LOG).exists, seconds=PATIENCE)  # it is at work
        slurm("scancel", "--signal=STOP", "--full", job["JobId"])  # a job that hangs,
        slurm("scontrol", "update", f"JobId={job['JobId']}", "TimeLimit=1")  # in a minute instead of a day
        finish(process, before_pretrain)
    first, second = jobs(before_pretrain)
    assert first["JobState"] == "TIMEOUT"
    assert second["JobState"] == "COMPLETED"
    assert (job["TimeLimit"], second["TimeLimit"]) == ("1-00:00:00", "2-00:00:00")
    assert [job["MinMemoryNode"] for job in (first, second)] == ["12000M", "24000M"]


@pytest.mark.slurm
@pytest.mark.timeout(1800)
def test_drained_node_and_cancelled_job(site: None, undisturbed: Path, before_pretrain: Path) -> None:
    """A job waits until its node is resumed, and one that somebody cancels is submitted again."""
    node = slurm("hostname", "-s").strip()
    slurm("scontrol", "update", f"NodeName={node}", "State=drain", "Reason=test")
    with snakemake_on_slurm(before_pretrain, AUTOENCODER) as process:
        try:
            wait_for_state(before_pretrain, "pretrain", "PENDING")
        finally:
            slurm("scontrol", "update", f"NodeName={node}", "State=resume")
        slurm("scancel", wait_for_state(before_pretrain, "pretrain", "RUNNING")["JobId"])
        finish(process, before_pretrain)
    assert [job["JobState"] for job in jobs(before_pretrain)] == ["CANCELLED", "COMPLETED"]
    assert (before_pretrain / AUTOENCODER).read_bytes() == (undisturbed / AUTOENCODER).read_bytes()


@pytest.mark.slurm
@pytest.mark.timeout(1800)
def test_the_generic_profile_of_the_documentation(site: None, tmp_path: Path) -> None:
    pytest.importorskip(
        "snakemake_executor_plugin_cluster_generic", reason="needs pip install 'fastaed[cluster]'"
    )
    files = dict(re.findall(r"```(yaml|bash)\n(.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL))
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "config.yaml").write_text(files["yaml"])
    (tmp_path / "ours" / "status.sh").write_text(files["bash"])
    (tmp_path / "ours" / "status.sh").chmod(0o755)
    with snakemake_on_slurm(tmp_path, DETECTED, profile=tmp_path / "ours", options=[]) as process:
        finish(process, tmp_path)
    assert {(job["JobName"], job["Partition"], job["JobState"]) for job in jobs(tmp_path)} == {
        ("demo", "cpu", "COMPLETED"),
        ("decode", "cpu", "COMPLETED"),
        ("detect", "gpu", "COMPLETED"),
    }
