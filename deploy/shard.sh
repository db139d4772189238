#!/bin/sh
# Measures one part of a sweep: shard.sh NUMBER OF GRID FOLDER, with NUMBER from 1 to OF. The part is FOLDER/NUMBER.json, which is there only if
# all of it was measured. More arguments go to tcplab sweep.
set -eu
number=$1 of=$2 grid=$3 folder=$4
shift 4
mkdir -p "$folder"
partial=$folder/.$number.json.$$
trap 'rm -f "$partial"' EXIT
tcplab sweep -f "$grid" --shard "$number/$of" --json "$@" >"$partial"
mv "$partial" "$folder/$number.json"
