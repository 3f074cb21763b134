#!/usr/bin/env bash
# bash launch/local_multiprocess.sh N --config configs/train_x.py [--config.key=value ...]
# Trains with N processes on this machine, as a pod does with its hosts. When one of them dies, the others are ended
# and all start again from the last checkpoint, at most RESTARTS times (default 10). Ctrl-C or SIGTERM lets them save.
#
#   PORT=N           where the first process listens; without, a free port at each start, so that runs side by side
#                    do not meet
#   DEVICES=1        CPU devices of each process
#   COMMAND="..."    instead of "vglamm train"
set -u
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
[[ ${1:-} != --help && ${1:-} != -h ]] || { usage; exit; }
[[ "${1:-}" =~ ^[1-9][0-9]*$ && $# -ge 3 ]] || { usage >&2; exit 2; }
COUNT=$1
shift
read -ra RUN <<<"${COMMAND:-vglamm train}"
export JAX_NUM_CPU_DEVICES="${DEVICES:-1}"
# A thread for each device and no more: with several, two processes may begin the collectives of a program in different
# orders, and gloo then takes one's data for the other's.
export NPROC="${DEVICES:-1}"
told=0
pids=()
trap 'told=1; kill -TERM "${pids[@]}" 2>/dev/null' TERM INT

# Until all have ended; the first that fails takes the others with it, and its code is returned.
wait_for_all() {
  local failed=0 left=("${pids[@]}") running pid code
  while ((${#left[@]})); do
    running=()
    for pid in "${left[@]}"; do
      if kill -0 "$pid" 2>/dev/null; then
        running+=("$pid")
      else
        wait "$pid"
        code=$?
        if [[ $code != 0 && $failed == 0 ]]; then
          failed=$code
          kill -KILL "${pids[@]}" 2>/dev/null
        fi
      fi
    done
    left=("${running[@]}")
    sleep 0.2
  done
  return "$failed"
}

in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# PORT, which nobody else may listen at, or one that is free, below those that Linux gives to outgoing connections.
choose_port() {
  if [[ -n ${PORT:-} ]]; then
    port=$PORT
    ! in_use "$port" && return
    echo "local_multiprocess: error: port $port is in use; choose another, PORT=$((port + 1)), or none" >&2
    exit 2
  fi
  port=$((16384 + RANDOM % 16384))
  while in_use "$port"; do port=$((16384 + RANDOM % 16384)); done
}

for attempt in $(seq 0 "${RESTARTS:-10}"); do
  choose_port
  pids=()
  for ((process = 0; process < COUNT; process++)); do
    "${RUN[@]}" "$@" --coordinator "127.0.0.1:$port" --processes "$COUNT" --process "$process" &
    pids+=($!)
  done
  wait_for_all && exit 0
  code=$?
  [[ $told == 1 || $code == 2 ]] && exit "$code" # 2: the config cannot work
  echo "local_multiprocess: a process ended with code $code; starting again (${attempt} restarts so far)" >&2
done
exit "$code"
