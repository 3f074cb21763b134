#!/usr/bin/env bash
# bash launch/worker.sh ACTION [ARGUMENTS]        what tpu_vm.sh and gke_xpk.sh do on every machine of a pod
#
#   install             a virtual environment with this checkout in it; quick when nothing has changed
#   fetch GS=LOCAL ...  copies folders of a bucket here: gs://bucket/built=data/built
#   start ARGUMENTS     `vglamm train ARGUMENTS` in the background, unless it runs already
#   run ARGUMENTS       the same in the foreground, with the exit codes that xpk starts again (42) or does not (0, 2)
#   status              "vglamm is": running, finished, stopped (told to end), ended (by `stop`), failed CODE, or none
#   log                 what it prints, from the beginning, and what it will print
#   stop                tells it to save a checkpoint and to end; waits until it has, at most GRACE seconds (300)
#
# Everything is under HERE (default ~/vglamm), which is also where relative folders of a config begin.
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
CODE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SELF=$CODE/launch/worker.sh
HERE=${HERE:-$HOME/vglamm}
STATE=$HERE/run
VENV=$HERE/.venv
read -ra TRAIN <<<"${COMMAND:-$VENV/bin/vglamm train}"

make_environment() {
  local name
  for name in python3.12 python3.11 python3.13 python3; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$name" -m venv "$VENV"
      return
    fi
  done
  # The images of TPU VMs have an older Python: uv brings a newer one.
  python3 -m pip install --quiet --user uv || python3 -m pip install --quiet --user --break-system-packages uv
  python3 -m uv venv --quiet --seed --python 3.12 "$VENV"
}

install() {
  local stamp
  stamp="$CODE $(cksum <"$CODE/setup.py")"
  [[ -f $VENV/installed && $(<"$VENV/installed") == "$stamp" ]] && return
  mkdir -p "$HERE"
  [[ -x $VENV/bin/python ]] || make_environment
  "$VENV/bin/python" -m pip install --quiet -e "${CODE}[tpu,train]"
  echo "$stamp" >"$VENV/installed"
}

fetch() {
  local pair
  for pair in "$@"; do
    mkdir -p "$HERE/${pair#*=}"
    gcloud storage rsync --recursive "${pair%%=*}" "$HERE/${pair#*=}"
  done
}

# A number of before a reboot may be another program's.
running() { [[ -f $STATE/pid && $(ps -o args= -p "$(<"$STATE/pid")") == *"$SELF"* ]]; }

start() {
  mkdir -p "$STATE"
  # gcloud tries again when a connection breaks: a second start must not make a second run.
  exec 9>"$STATE/lock"
  flock 9
  running && return
  rm -f "$STATE/code" "$STATE/asked"
  setsid bash "$SELF" supervise "$@" >>"$STATE/log" 2>&1 </dev/null 9>&- &
  echo $! >"$STATE/pid"
}

# Runs it and passes SIGTERM on. Returns its exit code, but 75 where it was told to end before the last step.
attended() {
  local code=0
  cd "$HERE"
  rm -f "$STATE/done"
  "${TRAIN[@]}" "$@" --done "$STATE/done" &
  trap 'kill -TERM '"$!"' 2>/dev/null || true' TERM INT
  # A signal ends `wait`, not what it waits for.
  wait $! || code=$?
  while kill -0 $! 2>/dev/null; do
    code=0
    wait $! || code=$?
  done
  [[ $code != 0 || -f $STATE/done ]] || code=75
  return "$code"
}

supervise() {
  local code=0
  attended "$@" || code=$?
  echo "$code" >"$STATE/code"
}

run() {
  local code=0
  mkdir -p "$STATE"
  attended "$@" || code=$?
  [[ $code == 0 || $code == 2 ]] && exit "$code"
  echo "worker.sh: vglamm train ended with $code; asking for a restart" >&2
  exit 42
}

status() {
  local code=
  [[ ! -f $STATE/code ]] || code=$(<"$STATE/code")
  if running; then
    code=running
  elif [[ ! -f $STATE/pid ]]; then
    code=none
  elif [[ -f $STATE/asked ]]; then
    code=ended
  else
    case $code in
      0) code=finished ;;
      75) code=stopped ;;
      *) code="failed ${code:-killed}" ;;
    esac
  fi
  echo "vglamm is $code"
}

log() { exec tail -n "${LINES_BEFORE:-+1}" -F "$STATE/log"; }

stop() {
  local waited=0
  running || return 0
  touch "$STATE/asked"
  kill -TERM "$(<"$STATE/pid")"
  while running && ((waited++ < ${GRACE:-300})); do sleep 1; done
  running || return 0
  # The process group that setsid made.
  kill -KILL -- "-$(<"$STATE/pid")"
}

case ${1:-} in
  install | fetch | start | run | supervise | status | log | stop) "$@" ;;
  --help | -h) usage ;;
  *) usage >&2; exit 2 ;;
esac
