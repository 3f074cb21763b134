#!/usr/bin/env bash
# bash launch/demo.sh [VIDEO] [PROMPT] [--checkpoint DIR] [--out DIR]
# Answers about a video and writes its masks, with all set-up. Without arguments it makes a clip and a tiny
# random model, whose answers mean nothing, to show that everything works on this machine.
caller=$PWD
# PyTorch only reads the .bin and .pt files of a checkpoint of the original.
case " $* " in *" --checkpoint"*) EXTRAS=torch ;; *) EXTRAS=core ;; esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$caller"
exec vglamm demo "$@"
