"""launch/tpu_vm.sh: what it asks gcloud for, and what it does when TPUs and runs end as they should not."""

import pytest

TPU = ("--type", "v5litepod-16", "--spot")
RUN = ("--", "--config", "train_lora", "--config.workdir=gs://bucket/runs/lora")


def train(cloud, states, statuses, *options):
    cloud.script(states, statuses)
    return cloud.run("tpu_vm.sh", "train", "pod", *TPU, *options, *RUN)


def test_waits_until_the_tpu_is_there_and_trains_on_all_machines(cloud):
    states = ["none", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    done = train(cloud, states, ["lost", "running|running", "running|finished", "finished|finished"])
    assert done.returncode == 0, done.stderr
    (create,) = cloud.calls("queued-resources create")
    for flag in ("--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--node-id=pod", "--spot"):
        assert flag in create
    assert "--zone=a-zone" in create and "--project=a-project" in create
    (copy,) = cloud.calls("queued-resources scp", "--node=all --worker=all")
    assert "vglamm-" in copy and "pod:vglamm.tar.gz" in copy
    (start,) = cloud.calls("worker.sh start", "--node=all --worker=all")
    assert "start --config train_lora --config.workdir=gs://bucket/runs/lora --distributed" in start
    assert "step 1/2" in done.stdout  # what the first machine prints
    assert not cloud.calls("delete")


def test_watches_a_run_that_is_there(cloud):
    done = train(cloud, ["ACTIVE"], ["running", "running", "finished"])
    assert done.returncode == 0, done.stderr
    assert not cloud.calls("create") and not cloud.calls("scp") and not cloud.calls("worker.sh start")


def test_a_tpu_that_is_taken_away_is_asked_for_again(cloud):
    states = ["ACTIVE", "SUSPENDING", "SUSPENDING", "SUSPENDED", "none", "ACTIVE"]
    done = train(cloud, states, ["none", "running", "lost", "lost", "finished"])
    assert done.returncode == 0, done.stderr
    assert len(cloud.calls("queued-resources delete", "--force")) == 1
    assert len(cloud.calls("queued-resources create")) == 1
    assert len(cloud.calls("scp")) == len(cloud.calls("worker.sh start")) == 2


def test_machines_that_are_gone_before_the_queue_notices_are_asked_for_again(cloud):
    cloud.script(["ACTIVE", "none", "ACTIVE"], [], ("PREEMPTED", "READY"))
    assert cloud.run("tpu_vm.sh", "up", "pod", *TPU).returncode == 0
    assert len(cloud.calls("queued-resources delete")) == len(cloud.calls("queued-resources create")) == 1


def test_a_machine_that_is_silent_for_a_moment_is_asked_again(cloud):
    done = train(cloud, ["ACTIVE"], ["none", "running", "lost", "running", "finished"])
    assert done.returncode == 0, done.stderr
    assert len(cloud.calls("worker.sh start")) == 1


def test_a_run_that_dies_is_started_again_up_to_a_limit(cloud):
    died = train(cloud, ["ACTIVE"], ["none", "running|failed 1"], "--max-restarts", "2")
    assert died.returncode == 2
    assert "died 3 times" in died.stderr
    assert len(cloud.calls("worker.sh start")) == 3
    assert len(cloud.calls("GRACE=0", "worker.sh stop", "--worker=all")) == 2  # the others, that wait for it
    assert not cloud.calls("delete")


def test_a_config_that_cannot_work_is_not_started_again(cloud):
    broken = train(cloud, ["ACTIVE"], ["none", "failed 2|running"])
    assert broken.returncode == 2
    assert "the config cannot work" in broken.stderr
    assert len(cloud.calls("worker.sh start")) == 1


def test_a_run_that_was_told_to_end_goes_on_unless_it_was_by_hand(cloud):
    assert train(cloud, ["ACTIVE"], ["none", "stopped|stopped", "none", "finished"]).returncode == 0
    assert len(cloud.calls("worker.sh start")) == 2
    assert train(cloud, ["ACTIVE"], ["none", "ended|ended"]).returncode == 0
    assert len(cloud.calls("worker.sh start")) == 1


def test_a_request_that_always_fails_ends(cloud):
    failed = train(cloud, ["FAILED", "FAILED", "FAILED"], ["lost"])
    assert failed.returncode == 2
    assert "failed 3 times" in failed.stderr
    assert not cloud.calls("worker.sh start")


def test_slices_data_and_environment(cloud):
    more = ("--num-slices", "2", "--copy", "gs://bucket/built=data/built", "--env", "A=b c", "--network=wide")
    more += ("--setup", "mkdir -p /mnt/disk")
    done = train(cloud, ["none", "ACTIVE"], ["lost", "finished"], *more)
    assert done.returncode == 0, done.stderr
    assert cloud.calls("create", "--node-count=2 --node-prefix=pod", "--network=wide")
    assert cloud.calls("worker.sh fetch gs://bucket/built=data/built", "--node=all --worker=all")
    assert cloud.calls("--command=mkdir -p /mnt/disk", "--node=all --worker=all")
    assert cloud.calls(r"env A=b\ c ", "--config.mesh.slices=2 --distributed")


def test_dry_run_needs_no_gcloud_and_prints_every_command(cloud):
    dry = cloud.run("tpu_vm.sh", "train", "pod", *TPU, "--zone=z", "--project=p", "--dry-run", *RUN, installed=False)
    assert dry.returncode == 0, dry.stderr
    lines = dry.stdout.splitlines()
    assert all(line.startswith("gcloud compute tpus ") for line in lines)
    verbs = [line.split()[4] for line in lines]
    assert verbs == ["describe", "create", "describe", "list", "scp", "ssh", "ssh", "ssh", "ssh"]
    assert cloud.calls() == []


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        ("status", "describe pod"),
        ("logs", "ssh pod --node=0 --worker=3"),
        ("ssh", "ssh pod --node=0 --worker=3"),
        ("stop", "ssh pod --node=all --worker=all --command=bash vglamm/code/launch/worker.sh stop"),
        ("down", "delete pod --force"),
    ],
)
def test_other_actions(cloud, action, asked):
    cloud.script(["ACTIVE"], ["running"])
    assert cloud.run("tpu_vm.sh", action, "pod", "--worker=3").returncode == 0
    assert cloud.calls(asked)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("train",), "a NAME comes after train"),
        (("up", "Pod"), "a NAME comes after up"),
        (("up", "pod"), "which TPU? --type"),
        (("up", "pod", "--type", "v9-8"), "--runtime-version"),
        (("up", "pod", "--tpye=v5p-128"), "--tpye=v5p-128: no such option"),
        (("up", "pod", "--type"), "--type: needs a value"),
        (("train", "pod", *TPU), "what is trained?"),
        (("train", "pod", *TPU, "--copy", "data", *RUN), "--copy data: write gs://"),
        (("train", "pod", *TPU, "--num-slices", "0", *RUN), "--num-slices 0: 1 or more"),
    ],
)
def test_mistakes_are_told_in_one_line(cloud, args, message):
    wrong = cloud.run("tpu_vm.sh", *args)
    assert wrong.returncode == 2
    assert message in wrong.stderr and wrong.stderr.count("\n") == 1
    assert not cloud.calls("queued-resources")


def test_what_gcloud_refuses_is_passed_on(cloud):
    cloud.script(["forbidden"], [])
    wrong = cloud.run("tpu_vm.sh", "up", "pod", *TPU)
    assert wrong.returncode == 2 and "PERMISSION_DENIED" in wrong.stderr


def test_missing_gcloud_is_told(cloud):
    wrong = cloud.run("tpu_vm.sh", "down", "pod", "--zone=z", "--project=p", installed=False)
    assert wrong.returncode == 2 and "gcloud is not installed" in wrong.stderr
