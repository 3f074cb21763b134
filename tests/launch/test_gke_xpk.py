"""launch/gke_xpk.sh: what it asks xpk for."""

import pytest

PODS = ("--cluster", "pods", "--type", "v5litepod-256")
RUN = ("--", "--config", "train_lora", "--config.workdir=gs://bucket/runs/lora")


def test_trains_this_commit_on_every_slice(cloud):
    options = ("--num-slices=2", "--priority=high", "--storage=built", "--env=A=b", "--spot")
    done = cloud.run("gke_xpk.sh", "train", "lora", *PODS, *options, *RUN)
    assert done.returncode == 0, done.stderr
    (asked,) = cloud.calls("xpk workload create")
    for flag in (
        "--workload=lora --cluster=pods --tpu-type=v5litepod-256 --num-slices=2 --priority=high --max-restarts=50",
        "--storage=built --env=HERE=/app/here --env=A=b",
        "--command=bash launch/worker.sh install && exec bash launch/worker.sh run --config train_lora",
        "--config.mesh.slices=2 --distributed",
        "--project=a-project --zone=a-zone",
    ):
        assert flag in asked
    assert f"--script-dir={cloud.folder}/" in asked and "--base-docker-image=python:3.12" in asked


def test_an_image_of_its_own(cloud):
    assert cloud.run("gke_xpk.sh", "image", "gcr.io/a-project/vglamm").returncode == 0
    assert cloud.calls("docker build", "-t gcr.io/a-project/vglamm") and cloud.calls("docker push")
    done = cloud.run("gke_xpk.sh", "train", "lora", *PODS, "--image=gcr.io/a-project/vglamm", *RUN)
    assert done.returncode == 0, done.stderr
    (asked,) = cloud.calls("xpk workload create")
    assert "--docker-image=gcr.io/a-project/vglamm" in asked and "--command=exec bash launch/worker.sh run" in asked
    assert "script-dir" not in asked


@pytest.mark.parametrize(
    ("args", "asked"),
    [
        (("cluster", "pods", "--type=v5p-128", "--spot"), "cluster create --cluster=pods --tpu-type=v5p-128"),
        (("list", "--cluster=pods"), "workload list --cluster=pods"),
        (("wait", "lora", "--cluster=pods"), "workload list --cluster=pods --wait-for-job-completion=lora"),
        (("stop", "lora", "--cluster=pods"), "workload delete --cluster=pods --workload=lora --force"),
        (("down", "--cluster=pods"), "cluster delete --cluster=pods"),
    ],
)
def test_other_actions(cloud, args, asked):
    assert cloud.run("gke_xpk.sh", *args).returncode == 0
    assert cloud.calls("xpk", asked)


def test_a_run_may_write_to_a_folder_that_is_mounted(cloud):
    mounted = ("--storage=data", "--", "--config=train_lora", "--config.workdir=/data/runs/lora")
    done = cloud.run("gke_xpk.sh", "train", "lora", *PODS, *mounted)
    assert done.returncode == 0, done.stderr
    assert cloud.calls("xpk workload create", "--config.workdir=/data/runs/lora")
    assert "--config.workdir=/data/runs/lora must lie in a --storage" in done.stderr


def test_dry_run_needs_nothing_installed(cloud):
    options = ("--zone=z", "--project=p", "--dry-run")
    dry = cloud.run("gke_xpk.sh", "train", "lora", *PODS, *options, *RUN, installed=False)
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.startswith("xpk workload create ") and dry.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("train", "lora", *PODS), "what is trained?"),
        (("train", "lora", *PODS, "--", "--config=train_lora"), "--config.workdir=gs://"),
        (("train", "lora", *PODS, "--storage=data", "--", "--config=train_lora"), "--config.workdir=gs://"),
        (("train", "lora", *PODS, "--storage=data", *RUN, "--config.workdir=runs/lora"), "--config.workdir=gs://"),
        (("train", "lora", *PODS, *RUN, "--config.workdir=/data/runs"), "--config.workdir=/data/runs is on the pod"),
        (("train", "lora", "--type=v5p-128", *RUN), "which cluster?"),
        (("train", "Lora", *PODS, *RUN), "a name comes after train"),
        (("cluster", "pods", "--type=v5p-128"), "what is the cluster made of?"),
        (("cluster", "pods", "--spot"), "which TPU?"),
        (("list", "--cluster=pods", "--all"), "--all: needs a value"),
    ],
)
def test_mistakes_are_told_in_one_line(cloud, args, message):
    wrong = cloud.run("gke_xpk.sh", *args)
    assert wrong.returncode == 2
    assert message in wrong.stderr and wrong.stderr.count("\n") == 1
    assert not cloud.calls("xpk")


def test_missing_xpk_is_told(cloud):
    wrong = cloud.run("gke_xpk.sh", "list", "--cluster=pods", installed=False)
    assert wrong.returncode == 2 and "xpk is not installed" in wrong.stderr
