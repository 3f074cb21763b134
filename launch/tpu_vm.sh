#!/usr/bin/env bash
# bash launch/tpu_vm.sh ACTION NAME [OPTIONS] [-- ARGUMENTS]        training on Cloud TPU VMs, by queued resources
#
#   up      asks for the TPU called NAME, or takes the one that is there, and waits until it is ours
#   train   up; this commit on every machine; `vglamm train ARGUMENTS --distributed` on all of them; shows what the
#           first one prints. A TPU that is taken away is asked for again and a run that dies is started again: both
#           go on from the last checkpoint. Ctrl-C ends the watching only; the same command watches again.
#   status  the state of the TPU and of the run        logs   what the first machine prints (--worker W --node N)
#   ssh     a shell on a machine, or ARGUMENTS on all  stop   saves a checkpoint and ends the run; the TPU stays
#   down    deletes the TPU, which is when it stops to cost money
#
#   --type T              v5litepod-16, v5litepod-256 (chips) or v5p-128 (cores: 64 chips)       (up, train)
#   --num-slices N        so many TPUs of this type, joined by the data-centre network           (up, train)
#   --zone Z --project P  default: those of `gcloud config`
#   --spot                cheaper, and taken away at any time                                    (up, train)
#   --copy GS=LOCAL       a folder of a bucket on every machine's disk, may be repeated          (train)
#   --setup COMMAND       on every machine before the run, e.g. to mount a disk, may be repeated  (train)
#   --env KEY=VALUE       for the run on every machine, may be repeated                          (train)
#   --max-restarts N      of a run that dies by itself, default 10                               (train)
#   --runtime-version V   default: the one for the type; --network N, --subnetwork N             (up, train)
#   --create-flag FLAG    one more flag of `gcloud compute tpus queued-resources create`, may be repeated
#   --connect-flag FLAG   one more flag of `... ssh` and `scp`: --internal-ip, --tunnel-through-iap
#   --dry-run             prints every gcloud command instead of running it
#
# The projectors, and then, from what that run has left in the bucket, LoRA:
#
# bash launch/tpu_vm.sh train small --type v5litepod-16 --zone us-west4-a --spot \
#     --copy gs://BUCKET/built=data/built --copy gs://BUCKET/start=weights/start \
#     -- --config train_adapters --config.workdir=gs://BUCKET/runs/adapters --config.accumulate=16
# bash launch/tpu_vm.sh train pod --type v5litepod-256 --zone us-west4-a --spot \
#     --copy gs://BUCKET/built=data/built --copy gs://BUCKET/start=weights/start \
#     --copy gs://BUCKET/runs/adapters/model=runs/adapters/model \
#     -- --config train_lora --config.workdir=gs://BUCKET/runs/lora
#
# launch/README.md walks through runs on v5e-16, v5e-256 and v5p-128. POLL=30 seconds lie between two looks.
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
say() { echo "tpu_vm: $*" >&2; }
die() { say "error: $*"; exit 2; }
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$ROOT/launch/pods.sh"
POLL=${POLL:-30}
ACTION=${1:-} NAME=${2:-}
case $ACTION in
  --help | -h) usage; exit ;;
  up | train | status | logs | ssh | stop | down) ;;
  *) usage >&2; exit 2 ;;
esac
[[ $NAME =~ ^[a-z]([-a-z0-9]{0,60}[a-z0-9])?$ ]] || die "a NAME comes after $ACTION, of small letters, digits and dashes: $ACTION pod"
shift 2
type="" slices=1 zone="" project="" runtime="" restarts=10 worker=0 node=0 dry=0
create_flags=() connect_flags=() copies=() setups=() environment=() arguments=() watcher="" verdict=""
exec 3>&1 # for what a dry run prints

read_options() {
  while (($#)); do
    case $1 in
      --) shift; arguments=("$@"); return ;;
      --dry-run) dry=1; shift; continue ;;
      --spot) create_flags+=(--spot); shift; continue ;;
      --help | -h) usage; exit ;;
    esac
    local value=${1#*=} width=1
    [[ $1 == --*=* ]] || { [[ $# -gt 1 ]] || die "$1: needs a value, see --help"; value=$2 width=2; }
    case ${1%%=*} in
      --type) type=$value ;;
      --num-slices) slices=$value ;;
      --zone) zone=$value ;;
      --project) project=$value ;;
      --runtime-version) runtime=$value ;;
      --network | --subnetwork) create_flags+=("${1%%=*}=$value") ;;
      --create-flag) create_flags+=("$value") ;;
      --connect-flag) connect_flags+=("$value") ;;
      --copy) copies+=("$value") ;;
      --setup) setups+=("$value") ;;
      --env) environment+=("$value") ;;
      --max-restarts) restarts=$value ;;
      --worker) worker=$value ;;
      --node) node=$value ;;
      *) die "$1: no such option, see --help; what follows -- goes to vglamm train" ;;
    esac
    shift "$width"
  done
}

check_options() {
  if ! command -v gcloud >/dev/null; then
    ((dry)) || die "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
  else
    project=${project:-$(gcloud config get-value project 2>/dev/null)}
    zone=${zone:-$(gcloud config get-value compute/zone 2>/dev/null)}
  fi
  [[ -n $project ]] || die "no project: give --project, or gcloud config set project PROJECT"
  [[ -n $zone ]] || die "no zone: give --zone, or gcloud config set compute/zone ZONE"
  [[ $slices =~ ^[1-9][0-9]*$ ]] || die "--num-slices $slices: 1 or more"
  [[ $restarts =~ ^[0-9]+$ ]] || die "--max-restarts $restarts: 0 or more"
  [[ $ACTION == up || $ACTION == train ]] || return 0
  [[ -n $type ]] || die "which TPU? --type v5litepod-16, v5litepod-256, v5p-128 ..."
  [[ -n $runtime ]] || case $type in
    v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
    v5p-*) runtime=v2-alpha-tpuv5 ;;
    v6e-*) runtime=v2-alpha-tpuv6e ;;
    v4-*) runtime=tpu-ubuntu2204-base ;;
    *) die "--type $type: give its --runtime-version, too: https://cloud.google.com/tpu/docs/runtimes" ;;
  esac
  [[ $ACTION != train ]] || check_training
}

check_training() {
  local text=" ${arguments[*]-} " pair
  [[ $text == *" --config "* || $text == *" --config="* ]] || die "what is trained? ... -- --config train_lora"
  for pair in "${copies[@]}"; do
    [[ $pair == gs://*=?* ]] || die "--copy $pair: write gs://BUCKET/FOLDER=LOCAL"
  done
  for pair in "${environment[@]}"; do
    [[ $pair =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || die "--env $pair: write KEY=VALUE"
  done
  [[ $text == *" --config.workdir=gs://"* ]] ||
    say "warning: --config.workdir is no gs:// folder: checkpoints on the TPU's disks end with it, and cannot be restored on several machines"
  across_slices "$text"
}

# ------------------------------------------------------------------------------------------------ gcloud

tpus() {
  local command=(gcloud compute tpus "$@" "--zone=$zone" "--project=$project" --quiet)
  if ((dry)); then shown "${command[@]}" >&3; else "${command[@]}"; fi
}

qr() { tpus queued-resources "$@"; }

everywhere() { qr ssh "$NAME" --node=all --worker=all "${connect_flags[@]}" "--command=$1"; }

# The state of the queued resource, nothing where there is none.
state() {
  local found
  if ((dry)); then
    qr describe "$NAME" "--format=value(state.state)"
    echo "$pretended"
  elif found=$(qr describe "$NAME" "--format=value(state.state)" 2>&1); then
    tail -n 1 <<<"$found"
  elif [[ $found != *NOT_FOUND* && $found != *"not found"* ]]; then
    die "$(head -n 3 <<<"$found" | tr '\n' ' ')"
  fi
}
pretended="" # by a dry run

create() {
  local nodes=("--node-id=$NAME")
  ((slices == 1)) || nodes=("--node-count=$slices" "--node-prefix=$NAME")
  say "asking for $slices x $type"
  qr create "$NAME" "--accelerator-type=$type" "--runtime-version=$runtime" "${nodes[@]}" "${create_flags[@]}"
  pretended=ACTIVE
}

delete() { qr delete "$NAME" --force; }

# Whether machines are gone although the queued resource has not noticed yet.
taken() { [[ $(tpus tpu-vm list "--filter=name~(^|/)$NAME(-[0-9]+)?\$" "--format=value(state)") =~ PREEMPTED|TERMINATED ]]; }

# Until the TPU is ours. A request that fails three times has something wrong that asking again does not mend.
up() {
  local now="" before="" failed=0
  while true; do
    now=$(state) || exit 2
    [[ $now == "$before" ]] || say "$NAME: ${now:-not there}"
    before=$now
    case $now in
      ACTIVE) taken || return 0; say "$NAME: taken away"; delete; continue ;;
      "") create; continue ;;
      SUSPENDED) delete; continue ;;
      FAILED)
        qr describe "$NAME" "--format=value(state)" >&2
        ((++failed < 3)) || die "$NAME failed $failed times, see above; 'down' removes it"
        delete
        continue
        ;;
    esac
    sleep "$POLL" # CREATING, ACCEPTED, WAITING_FOR_RESOURCES, PROVISIONING, SUSPENDING, DELETING
  done
}

# ---------------------------------------------------------------------------------------------- the run

WORKER="bash vglamm/code/launch/worker.sh"

install() {
  local commit archive setup
  commit=$(git -C "$ROOT" rev-parse --short=12 HEAD) || die "$ROOT is no git checkout: what is installed is a commit"
  git -C "$ROOT" diff --quiet HEAD || say "warning: what is not committed stays here; $commit is installed"
  archive=${TMPDIR:-/tmp}/vglamm-$commit.tar.gz
  git -C "$ROOT" archive --format=tar.gz -o "$archive" HEAD &&
    qr scp "$archive" "$NAME:vglamm.tar.gz" --node=all --worker=all "${connect_flags[@]}" &&
    everywhere "rm -rf vglamm/code && mkdir -p vglamm/code && tar -xzf vglamm.tar.gz -C vglamm/code && $WORKER install" &&
    { ((${#copies[@]} == 0)) || everywhere "$WORKER fetch$(quoted "${copies[@]}")"; } || return
  for setup in "${setups[@]}"; do everywhere "$setup" || return; done
}

quoted() { (($# == 0)) || printf ' %q' "$@"; }

start() {
  local with=""
  ((${#environment[@]} == 0)) || with="env$(quoted "${environment[@]}") "
  everywhere "$with$WORKER start$(quoted "${arguments[@]}" --distributed)"
}

watch() {
  [[ -n $watcher ]] && kill -0 "$watcher" 2>/dev/null && return
  local lines=20
  [[ -n $watcher ]] || lines=+1
  qr ssh "$NAME" --node=0 --worker=0 "${connect_flags[@]}" "--command=LINES_BEFORE=$lines $WORKER log" 2>/dev/null &
  watcher=$!
  ((dry == 0)) || wait "$watcher"
}

unwatch() { [[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true; }
trap unwatch EXIT

# One word for all machines: lost, broken (the config cannot work), failed, running, stopped (it was told to end),
# ended (by `stop`) or finished.
outcome() {
  local said
  if ((dry)); then
    everywhere "$WORKER status"
    echo finished
    return
  fi
  said=$(everywhere "$WORKER status" 2>/dev/null) || { echo lost; return; }
  case $said in
    *"vglamm is failed 2"$'\n'* | *"vglamm is failed 2") echo broken ;;
    *"vglamm is failed"* | *"vglamm is none"*) echo failed ;;
    *"vglamm is running"*) echo running ;;
    *"vglamm is stopped"*) echo stopped ;;
    *"vglamm is ended"*) echo ended ;;
    *"vglamm is finished"*) echo finished ;;
    *) echo lost ;;
  esac
}

# Until the run needs something; `verdict` says what. A machine that does not answer five times is lost.
attend() {
  local silent=0
  while true; do
    watch
    verdict=$(outcome)
    case $verdict in
      running) silent=0 ;;
      lost) if [[ $(state) != ACTIVE ]] || ((++silent == 5)); then return; fi ;;
      *) return ;;
    esac
    sleep "$POLL"
  done
}

train() {
  local died=0
  while true; do
    up
    if ((!dry)) && [[ $(outcome) == running ]]; then
      say "a run is going on; this is what it prints ('stop' ends it)"
    elif ! { install && start; }; then
      [[ $(state) != ACTIVE ]] || ((died++ < restarts)) || die "cannot reach or set up the machines, see above"
      sleep "$POLL"
      continue
    fi
    attend
    case $verdict in
      finished) say "the run is finished; 'down' gives the TPU back"; return ;;
      ended) say "ended by 'stop'; 'train' goes on from its checkpoint, 'down' gives the TPU back"; return ;;
      broken) everywhere "$WORKER stop" || true; die "the config cannot work, see above; the TPU is still there" ;;
      failed) ((died++ < restarts)) || die "died $died times; 'logs' and 'ssh' show more, the TPU is still there" ;;
    esac
    say "$verdict: starting again from the last checkpoint ($died of $restarts restarts after a failure)"
    sleep "$POLL"
    [[ $(state) != ACTIVE ]] || everywhere "GRACE=0 $WORKER stop" || true
  done
}

# --------------------------------------------------------------------------------------------------------

read_options "$@"
check_options
case $ACTION in
  up) up ;;
  train) train ;;
  status) qr describe "$NAME" "--format=value(state.state)"; everywhere "$WORKER status" ;;
  logs) qr ssh "$NAME" "--node=$node" "--worker=$worker" "${connect_flags[@]}" "--command=$WORKER log" ;;
  stop) everywhere "$WORKER stop" ;;
  down) delete ;;
  ssh)
    if ((${#arguments[@]})); then everywhere "${arguments[*]}"; else
      qr ssh "$NAME" "--node=$node" "--worker=$worker" "${connect_flags[@]}"
    fi
    ;;
esac
