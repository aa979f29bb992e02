# A Redis Cluster on Debian's Redis 7 (apt-get install redis-server): keys are spread over shards
# of two members each, 0 and 1, 2 and 3, ..., one of which leads and the other copies it.
statefulset "shards" {
  replicas = 6 # three shards, the least; an even number

  # Who copies is updated first, and then leads.
  update_strategy { role_last = "master" }

  volume "data" { size = "1Gi" }
  scratch "bin" {}

  process "redis" {
    # As root, run it as Debian's own user (without root, members are the daemon's user):
    # user = "redis"

    command = [
      "/usr/bin/redis-server",
      "--bind", member.ip,
      "--port", "${port.redis}",
      "--protected-mode", "no",
      "--dir", volume.data,
      "--appendonly", "yes",
      "--appendfsync", "always",
      "--maxmemory-policy", "noeviction",
      "--repl-diskless-sync-delay", "0",
      "--cluster-enabled", "yes",
      "--cluster-config-file", "nodes.conf",
      "--cluster-port", "${port.bus}",
      "--cluster-node-timeout", "5000",
      "--cluster-announce-ip", member.ip,
      # Who copies whom follows from the ordinals.
      "--cluster-allow-replica-migration", "no",
    ]

    port "redis" { port = 6379 }
    port "bus" { port = 16379 }

    # shard WHAT ADDRESS...: a step on the way in or out of the cluster, of which any may have been
    # done before. Addresses are all members' by ordinal.
    files = [{
      path    = "${volume.bin}/shard"
      content = <<-EOT
        what=$1 me=${member.ip}:${port.redis}
        shift
        cli() { at=$1; shift; timeout 10 redis-cli -e --raw -h "$${at%:*}" -p "$${at#*:}" "$@" | tr -d '\r'; }
        info() { cli "$1" CLUSTER INFO | sed -n "s/^cluster_$2://p"; }
        role() { cli "$1" ROLE | head -n 1; }
        slots() { cli "$1" CLUSTER NODES | awk '/myself/ { print NF - 8 }'; }
        within() { n=$1; shift; until "$@"; do n=$((n - 1)); [ $n -gt 0 ] || return 1; sleep 0.2; done; }
        knows() { cli "$1" CLUSTER NODES | grep -q "^$(cli "$2" CLUSTER MYID) "; }
        copies() { [ "$(role "$1")" = slave ]; }
        linked() { cli "$1" INFO replication | grep -q '^master_link_status:up'; }
        follow() { # MEMBER LEADER
          copies "$1" && return
          cli "$1" CLUSTER MEET "$${2%:*}" "$${2#*:}" ${port.bus} >/dev/null
          within 100 knows "$1" "$2"
          cli "$1" CLUSTER REPLICATE "$(cli "$2" CLUSTER MYID)"
        }
        # A move of slots that was broken off is finished first.
        move() {
          for try in 1 2 3 4 5; do
            redis-cli --cluster rebalance "$friend" "$@" && return
            echo yes | timeout 600 redis-cli --cluster fix "$friend" || true
            sleep 1
          done
          return 1
        }
        # The other one of the shard, and anybody else who is in the cluster.
        ordinal=0 partner='' friend=''
        for at in "$@"; do
          [ $ordinal != $((${member.ordinal} ^ 1)) ] || partner=$at
          ordinal=$((ordinal + 1))
        done
        for at in "$@"; do
          [ "$at" = "$me" ] || [ "$(info "$at" known_nodes)" = 1 ] || [ "$(info "$at" state)" != ok ] || { friend=$at; break; }
        done
        [ -n "$friend" ] && cli "$friend" CLUSTER NODES | grep -qF " $partner@" || partner=''

        case $what in
        form)
          leaders=$(printf '%s\n' "$@" | sed -n 'p;n')
          formed() { for at in $leaders; do [ "$(info "$at" state)" = ok ] || return 1; done; }
          if [ "$(info "$me" known_nodes)" = 1 ] || ! within 50 formed; then
            for at in $leaders; do cli "$at" CLUSTER RESET; done # refused where there are keys
            redis-cli --cluster create $leaders --cluster-yes
            within 100 formed
          fi
          leader=''
          for at in "$@"; do
            [ -z "$leader" ] || { follow "$at" "$leader"; leader=''; continue; }
            leader=$at
          done
          for at in "$@"; do ! copies "$at" || within 100 linked "$at"; done
          ;;
        join)
          within 100 cli "$me" PING >/dev/null
          ${set.formed} || exit 0
          if [ "$(info "$me" known_nodes)" != 1 ]; then
            copies "$me" || [ "$(slots "$me")" != 0 ] && exit 0
          fi
          [ -n "$friend" ] || { echo 'nobody is there to join' >&2; exit 1; }
          # Who was here before, with a directory that is lost.
          for id in $(cli "$friend" CLUSTER NODES | awk -v me="$me" -v id="$(cli "$me" CLUSTER MYID)" 'index($2, me "@") == 1 && $1 != id { print $1 }'); do
            for at in "$@"; do [ "$at" = "$me" ] || cli "$at" CLUSTER FORGET "$id" || true; done
          done
          if [ -n "$partner" ]; then
            leads() { [ "$(role "$partner")" = master ] && [ "$(slots "$partner")" != 0 ]; }
            within 100 leads
            follow "$me" "$partner"
          else # a new shard
            [ "$(info "$me" known_nodes)" != 1 ] || redis-cli --cluster add-node "$me" "$friend"
            agreed() { redis-cli --cluster check "$friend" | grep -q 'All nodes agree' && knows "$friend" "$me"; }
            within 100 agreed
            move --cluster-use-empty-masters
          fi
          ;;
        yield) # somebody else leads the shard from now on
          copies "$me" && exit 0
          [ -n "$partner" ] && copies "$partner" || exit 0
          cli "$partner" CLUSTER FAILOVER
          within 50 copies "$me"
          ;;
        leave)
          [ "$(info "$me" known_nodes)" != 1 ] || exit 0
          id=$(cli "$me" CLUSTER MYID)
          if [ -n "$partner" ]; then
            sh -eu "$0" yield "$@"
          elif [ "$(slots "$me")" != 0 ]; then
            move --cluster-weight "$id=0"
          fi
          redis-cli --cluster del-node "$friend" "$id"
          ;;
        esac
      EOT
    }]

    # Once, when all of the new set run.
    hook "on_formed" {
      command = ["/bin/sh", "-c", "exec /bin/sh -eu ${volume.bin}/shard form ${join(" ", [for m in members : "${m.ip}:${m.port.redis}"])}"]
    }
    # After each start: a member that is new gets its part of the keys, or a copy of its partner's.
    hook "post_start" {
      command  = ["/bin/sh", "-c", "exec /bin/sh -eu ${volume.bin}/shard join ${join(" ", [for m in members : "${m.ip}:${m.port.redis}"])}"]
      timeout = "1h"
    }
    # Its partner takes over, without a gap.
    hook "pre_stop" {
      command = ["/bin/sh", "-c", "exec /bin/sh -eu ${volume.bin}/shard yield ${join(" ", [for m in members : "${m.ip}:${m.port.redis}"])}"]
    }
    # Its keys go to other shards first: until they have, it stays.
    hook "on_leave" {
      command  = ["/bin/sh", "-c", "exec /bin/sh -eu ${volume.bin}/shard leave ${join(" ", [for m in members : "${m.ip}:${m.port.redis}"])}"]
      timeout = "1h"
    }

    # Before the cluster is made nobody knows another.
    readiness {
      exec = ["/bin/sh", "-c", <<-EOT
        redis-cli -h ${member.ip} -p ${port.redis} CLUSTER INFO
        redis-cli -h ${member.ip} -p ${port.redis} INFO replication
      EOT
      ]
      expect  = "(?s)(cluster_state:ok|cluster_known_nodes:1\\s).*(role:master|master_link_status:up)"
      period  = "500ms"
      timeout = "2s"
    }
    role {
      exec   = ["/bin/sh", "-c", "redis-cli -e -h ${member.ip} -p ${port.redis} ROLE | head -n 1"]
      period = "1s"
    }

    stop { timeout = "60s" }
  }
}
