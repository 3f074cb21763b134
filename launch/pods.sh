#!/usr/bin/env bash
# Sourced by tpu_vm.sh and gke_xpk.sh: what both say of a command and of a run on several slices.

# A command as one could type it.
shown() {
  local part
  for part in "$@"; do
    [[ $part =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || part=${part@Q}
    printf '%s ' "$part"
  done
  echo
}

# What a run on $slices slices needs besides what $1, its arguments, already says.
across_slices() {
  local text=$1
  ((slices == 1)) && return
  [[ $text == *" --config.mesh.slices="* ]] || arguments+=("--config.mesh.slices=$slices")
}
