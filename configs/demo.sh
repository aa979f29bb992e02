#!/bin/sh
# demo.sh shows the main job on one machine: a cluster of three daemons, a database
# of three members, and what happens to its data when things go wrong.
#
#   sh configs/demo.sh [--keep] [--dir DIR]     (make demo builds first)
#
# --keep leaves the cluster running. Needs nothing but the three binaries in bin/ and
# a shell; works with and without root.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
bin=${SUPD_BIN:-$here/bin}
PATH=$bin:$PATH
keep=
dir=
while [ $# -gt 0 ]; do
  case $1 in
    --keep) keep=yes ;;
    --dir) shift; dir=$1 ;;
    *) echo "usage: demo.sh [--keep] [--dir DIR]" >&2; exit 2 ;;
  esac
  shift
done

made=
if [ -z "$dir" ]; then
  dir=$(mktemp -d "${TMPDIR:-/tmp}/supd-demo.XXXXXX")
  made=yes
fi
mkdir -p "$dir"
log=$dir/dev.log
dev=

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then b=$(printf '\033[1m'); d=$(printf '\033[2m'); o=$(printf '\033[0m'); else b= d= o=; fi
say() { printf '\n%s%s%s\n' "$b" "$*" "$o"; }
run() { printf '%s$ %s%s\n' "$d" "$*" "$o"; "$@"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# refused runs a command that must be refused with exit status 4.
refused() {
  printf '%s$ %s%s\n' "$d" "$*" "$o"
  status=0
  "$@" || status=$?
  [ "$status" = 4 ] || die "exit status $status, wanted 4: $*"
  printf '(exit status 4: refused, nothing changed)\n'
}

# until_ok waits for a command to succeed, 30 seconds at the most.
until_ok() {
  n=0
  until "$@" >/dev/null 2>&1; do
    n=$((n + 1))
    [ "$n" -lt 150 ] || die "waited in vain for: $*"
    sleep 0.2
  done
}

end() {
  status=$?
  trap - EXIT INT TERM
  if [ -n "$dev" ] && { [ -z "$keep" ] || [ "$status" != 0 ]; }; then
    say "Stopping: members first, then daemons, then keepers"
    kill -TERM "$dev" 2>/dev/null || true
    wait "$dev" 2>/dev/null || true
    [ "$status" = 0 ] || { echo "--- $log"; tail -n 40 "$log"; } >&2
    if [ -n "$made" ] && [ "$status" = 0 ]; then rm -rf "$dir"; fi
  fi
  exit "$status"
}
trap end EXIT
trap 'exit 130' INT TERM

say "A cluster of three daemons on this machine"
printf '%s$ supd dev --nodes 3 --dir %s &%s\n' "$d" "$dir" "$o"
if [ -n "$keep" ] && command -v setsid >/dev/null 2>&1; then
  setsid supd dev --nodes 3 --dir "$dir" >"$log" 2>&1 </dev/null &
else
  supd dev --nodes 3 --dir "$dir" >"$log" 2>&1 </dev/null &
fi
dev=$!
n=0
until grep -q '^ready: ' "$log"; do
  kill -0 "$dev" 2>/dev/null || { cat "$log" >&2; die "supd dev ended"; }
  n=$((n + 1)); [ "$n" -lt 300 ] || die "the cluster did not form within 60 seconds"
  sleep 0.2
done
SUPCTL_ADDR=$(sed -n 's/^ready: export SUPCTL_ADDR=//p' "$log" | head -n 1)
export SUPCTL_ADDR
echo "export SUPCTL_ADDR=$SUPCTL_ADDR"
run supctl get nodes

say "A database of three members, brought up in order: web-0, then web-1, then web-2"
run supctl apply -f "$here/configs/examples/web/web.hcl" --wait --timeout 60s
run supctl get members -o wide

path() { supctl get vol "$1" -o 'jsonpath={.status.path}'; }
zero=$(path data-web-0) one=$(path data-web-1) two=$(path data-web-2)
say "Each has its own directory, and wrote when it started"
for p in "$zero" "$one" "$two"; do cat "$p/starts"; done
sort -k 2 "$zero/starts" "$one/starts" "$two/starts" | awk '{print $1}' | tr '\n' ' ' | grep -q '^web-0 web-1 web-2 $' || die "they did not start in order"

say "A member is killed; its keeper restarts it at once, with its name, address and directory"
pid=$(supctl get m web-1 -o 'jsonpath={.status.processes[0].pid}')
run kill -9 "$pid"
until_ok sh -c "[ \"\$(supctl get m web-1 -o 'jsonpath={.status.processes[0].pid}')\" != $pid ]"
until_ok sh -c "[ \"\$(supctl get m web-1 -o 'jsonpath={.status.healthy}')\" = true ]"
run supctl get members
run cat "$one/starts"

say "A daemon is killed; its members do not notice"
node=$(supctl get m web-2 -o 'jsonpath={.spec.node}')
pid=$(supctl get m web-2 -o 'jsonpath={.status.processes[0].pid}')
run kill -9 "$(cat "$dir/$node/supd.pid")"
kill -0 "$pid" && echo "web-2 runs on as pid $pid"
printf '%s$ supd run --config %s &%s\n' "$d" "$dir/$node/supd.yaml" "$o"
if command -v setsid >/dev/null 2>&1; then
  setsid supd run --config "$dir/$node/supd.yaml" >>"$log" 2>&1 </dev/null &
else
  supd run --config "$dir/$node/supd.yaml" >>"$log" 2>&1 </dev/null &
fi
until_ok sh -c "[ \"\$(supctl get m web-2 -o 'jsonpath={.status.healthy}')\" = true ] && [ \"\$(supctl get node $node -o 'jsonpath={.status.alive}')\" = true ]"
[ "$(supctl get m web-2 -o 'jsonpath={.status.processes[0].pid}')" = "$pid" ] || die "web-2 was restarted"
echo "the daemon is back and has found web-2 running, still pid $pid"

say "web-1 falls sick; now nobody may be taken away, for that would cost a second member"
run rm "$one/ready"
until_ok sh -c "[ \"\$(supctl get m web-1 -o 'jsonpath={.status.ready}')\" = false ]"
run supctl get members
refused supctl scale web --replicas 2
run supctl explain web-1
run touch "$one/ready"
run supctl wait sts/web --for=ready --timeout 60s

say "Healthy again: scale down. web-2 goes, its directory stays"
until_ok sh -c "[ \"\$(supctl get m web-1 -o 'jsonpath={.status.healthy}')\" = true ]"
echo "precious" >"$two/row"
run supctl scale web --replicas 2 --wait --timeout 60s
run supctl volume list
refused supctl volume release data-web-0

say "Scale up: web-2 comes back, with its own address and its own data"
run supctl scale web --replicas 3 --wait --timeout 60s
[ "$(path data-web-2)" = "$two" ] || die "web-2 has another directory"
run cat "$two/row" "$two/starts"

say "Only an explicit release deletes a directory, and only one that nobody uses"
run supctl scale web --replicas 2 --wait --timeout 60s
run supctl volume release data-web-2 --now --confirm data-web-2
until_ok sh -c "! supctl get vol data-web-2"
[ ! -e "$two" ] || die "the directory is still there"
run supctl volume list

if [ -n "$keep" ]; then
  say "The cluster is yours:"
  echo "  export PATH=$bin:\$PATH SUPCTL_ADDR=$SUPCTL_ADDR"
  echo "  supctl get members      supctl explain web      kill $dev   (stops it; the data is in $dir)"
else
  run supctl delete sts web --wait --timeout 60s
  run supctl volume list
fi
say "That is the main job."
