#!/usr/bin/env bash
# bash launch/gke_xpk.sh ACTION [OPTIONS] [-- ARGUMENTS]            training on GKE clusters of TPUs, by xpk
#
#   cluster CLUSTER   a cluster with node pools of --type, --num-slices of them (once; many runs share it)
#   image IMAGE       this commit with all it needs as an image, by docker: pods start minutes sooner with it
#   train NAME        `vglamm train ARGUMENTS --distributed` on every host of --num-slices TPUs of --type. Pods that are
#                     taken away or die are started again by the cluster and go on from the last checkpoint.
#   list              the runs of a cluster        wait NAME   until it has ended; the exit code says how
#   stop NAME         deletes a run                down        deletes the cluster
#
#   --cluster C           which cluster                                                  (train, list, wait, stop, down)
#   --type T              v5litepod-16, v5litepod-256 (chips) or v5p-128 (cores: 64 chips)            (cluster, train)
#   --num-slices N        so many TPUs of this type, joined by the data-centre network                (cluster, train)
#   --zone Z --project P  default: those of `gcloud config`
#   --spot, --on-demand, --flex, --reservation R    what the cluster is made of: one of them          (cluster)
#   --priority P          very-low, low, medium, high, very-high; higher ones push lower ones out     (train)
#   --max-restarts N      default 50                                                                  (train)
#   --image IMAGE         of `image`; without, xpk puts this commit onto --base-docker-image (python:3.12), and each
#                         pod installs the rest when it starts                                        (train)
#   --storage S           of `xpk storage attach`: a bucket as a folder of every pod, may be repeated (train)
#   --env KEY=VALUE       may be repeated                                                             (train)
#   --xpk-flag FLAG       one more flag for xpk, may be repeated: --xpk-flag=--enable-gcsfuse-csi-driver
#   --dry-run             prints every command instead of running it; xpk's own: xpk ... --dry-run
#
# bash launch/gke_xpk.sh cluster pods --type v5litepod-256 --num-slices 2 --spot
# xpk storage attach data --type=gcsfuse --cluster=pods --bucket=BUCKET --mount-point=/data ...
# bash launch/gke_xpk.sh train lora --cluster pods --type v5litepod-256 --num-slices 2 --storage data \
#     -- --config train_lora --config.batch_size=512 --config.workdir=gs://BUCKET/runs/lora \
#     --config.built=/data/built --config.start.checkpoint=/data/start --config.start.parts=/data/runs/adapters/model
#
# xpk: pip install xpk (1.16 is known to work); it needs gcloud, kubectl, and docker for images. See launch/README.md.
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
say() { echo "gke_xpk: $*" >&2; }
die() { say "error: $*"; exit 2; }
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$ROOT/launch/pods.sh"
ACTION=${1:-}
case $ACTION in
  --help | -h) usage; exit ;;
  cluster | image | train | list | wait | stop | down) shift ;;
  *) usage >&2; exit 2 ;;
esac
name="" cluster="" type="" slices=1 zone="" project="" priority=medium restarts=50 image="" base=python:3.12 dry=0
capacity=() storages=() environment=() arguments=() flags=() folder=""
[[ $# -eq 0 || $1 == -* ]] || { name=$1; shift; }

read_options() {
  while (($#)); do
    case $1 in
      --) shift; arguments=("$@"); return ;;
      --dry-run) dry=1; shift; continue ;;
      --spot | --on-demand | --flex) capacity+=("$1"); shift; continue ;;
      --help | -h) usage; exit ;;
    esac
    local value=${1#*=} width=1
    [[ $1 == --*=* ]] || { [[ $# -gt 1 ]] || die "$1: needs a value, see --help"; value=$2 width=2; }
    case ${1%%=*} in
      --cluster) cluster=$value ;;
      --type) type=$value ;;
      --num-slices) slices=$value ;;
      --zone) zone=$value ;;
      --project) project=$value ;;
      --reservation) capacity+=("--reservation=$value") ;;
      --priority) priority=$value ;;
      --max-restarts) restarts=$value ;;
      --image) image=$value ;;
      --base-docker-image) base=$value ;;
      --storage) storages+=("--storage=$value") ;;
      --env) environment+=("--env=$value") ;;
      --xpk-flag) flags+=("$value") ;;
      *) die "$1: no such option, see --help; what follows -- goes to vglamm train" ;;
    esac
    shift "$width"
  done
}

needs() { ((dry)) || command -v "$1" >/dev/null || die "$1 is not installed: $2"; }

check_options() {
  [[ $ACTION == image ]] || needs xpk "pip install xpk, and see https://github.com/AI-Hypercomputer/xpk"
  needs gcloud https://cloud.google.com/sdk/docs/install
  if command -v gcloud >/dev/null; then
    project=${project:-$(gcloud config get-value project 2>/dev/null)}
    zone=${zone:-$(gcloud config get-value compute/zone 2>/dev/null)}
  fi
  [[ -n $project ]] || die "no project: give --project, or gcloud config set project PROJECT"
  [[ -n $zone || $ACTION == image ]] || die "no zone: give --zone, or gcloud config set compute/zone ZONE"
  case $ACTION in
    list | down) ;;
    image) [[ -n $name ]] || die "image IMAGE: which name? e.g. REGION-docker.pkg.dev/$project/REPOSITORY/vglamm" ;;
    *) [[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
      die "a name comes after $ACTION, of at most 40 small letters, digits and dashes: $ACTION lora" ;;
  esac
  [[ -n $cluster || $ACTION == cluster || $ACTION == image ]] || die "which cluster? --cluster CLUSTER"
  [[ $slices =~ ^[1-9][0-9]*$ ]] || die "--num-slices $slices: 1 or more"
  [[ -n $type || ($ACTION != cluster && $ACTION != train) ]] ||
    die "which TPU? --type v5litepod-16, v5litepod-256, v5p-128 ..."
  [[ $ACTION != cluster || ${#capacity[@]} == 1 ]] ||
    die "what is the cluster made of? one of --spot, --on-demand, --flex, --reservation R"
  [[ $ACTION != train ]] || check_training
}

check_training() {
  local text=" ${arguments[*]-} " workdir
  [[ $text == *" --config "* || $text == *" --config="* ]] || die "what is trained? ... -- --config train_lora"
  workdir=${text##*" --config.workdir="}
  case $workdir in
    gs://*) ;;
    /*) ((${#storages[@]})) ||
      die "--config.workdir=${workdir%% *} is on the pod's own disk, gone when it ends: gs://BUCKET/..., or a folder of --storage"
      say "--config.workdir=${workdir%% *} must lie in a --storage that can be written to: a pod's own disk is gone when it ends" ;;
    *) die "--config.workdir=gs://BUCKET/...: what a pod writes to its own disk is gone when it ends" ;;
  esac
  across_slices "$text"
}

call() { if ((dry)); then shown "$@"; else "$@"; fi; }

xpk_here() { call xpk "$@" "${flags[@]}" "--project=$project" "--zone=$zone"; }

# The files of this commit alone: no data, no runs, no environment of this machine.
export_commit() {
  local commit
  commit=$(git -C "$ROOT" rev-parse --short=12 HEAD) || die "$ROOT is no git checkout: what is installed is a commit"
  git -C "$ROOT" diff --quiet HEAD || say "warning: what is not committed stays here; $commit is installed"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  git -C "$ROOT" archive HEAD | tar -x -C "$folder"
}

build_image() {
  needs docker https://docs.docker.com/engine/install/
  export_commit
  printf '%s\n' "FROM $base" "WORKDIR /app" "ENV HERE=/app/here" "COPY . ." "RUN bash launch/worker.sh install" \
    >"$folder/Dockerfile"
  call docker build --platform=linux/amd64 -t "$name" "$folder"
  call docker push "$name"
  say "use it: train NAME --image $name"
}

train() {
  local from=("--docker-image=$image") command="" part
  if [[ -z $image ]]; then
    export_commit
    from=("--base-docker-image=$base" "--script-dir=$folder")
    command="bash launch/worker.sh install && "
  fi
  # `exec`, as xpk sends SIGTERM to the first process of the command alone.
  command+="exec bash launch/worker.sh run"
  for part in "${arguments[@]}" --distributed; do command+=" $(printf %q "$part")"; done
  xpk_here workload create "--workload=$name" "--cluster=$cluster" "--tpu-type=$type" "--num-slices=$slices" \
    "--priority=$priority" "--max-restarts=$restarts" --termination-grace-period-seconds=300 \
    "${from[@]}" "${storages[@]}" --env=HERE=/app/here "${environment[@]}" "--command=$command"
}

read_options "$@"
check_options
case $ACTION in
  cluster) xpk_here cluster create "--cluster=$name" "--tpu-type=$type" "--num-slices=$slices" "${capacity[@]}" ;;
  image) build_image ;;
  train) train ;;
  list) xpk_here workload list "--cluster=$cluster" ;;
  wait) xpk_here workload list "--cluster=$cluster" "--wait-for-job-completion=$name" ;;
  stop) xpk_here workload delete "--cluster=$cluster" "--workload=$name" --force ;;
  down) xpk_here cluster delete "--cluster=$cluster" ;;
esac
