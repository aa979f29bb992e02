# An etcd that grows and shrinks, on Debian's etcd 3.4 (apt-get install etcd-server etcd-client).
# etcd keeps a list of its members and counts the quorum by it: who joins is added to it before
# its first start, who leaves is removed from it before its last stop.
statefulset "etcd" {
  replicas = 3
  # etcd-0 is healthy only with a quorum, so the next member must not wait for its readiness.
  pod_management_policy = "OrderedStarted"

  volume "data" { size = "1Gi" }
  scratch "bin" {}

  process "etcd" {
    # As root, run it as Debian's own user (without root, members are the daemon's user):
    # user = "etcd"

    command = ["/bin/sh", "-euc", <<-EOT
      start=$('${volume.bin}/membership' start)
      exec /usr/bin/etcd $start --name=${member.name} --data-dir='${volume.data}' --initial-cluster-token=${set.name} \
        --listen-client-urls=http://${member.ip}:${port.client} --advertise-client-urls=http://${member.ip}:${port.client} \
        --listen-peer-urls=http://${member.ip}:${port.peer} --initial-advertise-peer-urls=http://${member.ip}:${port.peer} \
        --strict-reconfig-check=true
    EOT
    ]

    # For etcdctl in this member's environment.
    env = {
      ETCDCTL_API       = "3"
      ETCDCTL_ENDPOINTS = "http://${member.ip}:${port.client}"
    }

    files = [{
      path    = "${volume.bin}/membership"
      mode    = "0755"
      content = <<-EOT
        #!/bin/sh
        # membership start | join | leave NAME PEER-URL: etcd's own list of its members. All of it may be
        # done twice, and etcd itself refuses a change that would cost the quorum.
        set -eu
        data='${volume.data}/member' name=${member.name} url=http://${member.ip}:${port.peer}
        export ETCDCTL_ENDPOINTS=${join(",", [for m in members : "http://${m.ip}:${m.port.client}" if m.name != member.name || length(members) == 1])}
        # Only a set that has never been whole begins anew. With data etcd knows the others.
        if [ "$1" = start ] && { [ -d "$data/wal" ] || ! ${set.formed}; }; then
          echo --initial-cluster-state=new --initial-cluster=${join(",", [for m in members : "${m.name}=http://${m.ip}:${m.port.peer}"])}
          exit
        fi
        [ "$1" != leave ] || name=$2 url=$3
        list=$(etcdctl member list) # lines of ID, started, NAME, PEER-URL, ...; unstarted and no name before it has run once
        find() { echo "$list" | awk -F', ' -v name=$name -v url=$url -v state=$1 '$2 == state && ($3 == name || $4 == url) { print $1 }'; }
        started=$(find started) added=$(find unstarted)
        if [ "$1" = leave ]; then
          for id in $started $added; do etcdctl member remove $id; done
          exit
        fi
        # It was removed without leaving, and is back with its data: it is a member still.
        if [ -n "$started" ] && [ -d "$data/wal" ]; then exit; fi
        # Its data is lost, and with it what it has promised to the others: another member takes its place.
        [ -z "$started" ] || etcdctl member remove "$started" >&2
        try=0 # for five seconds after a change etcd refuses the next
        until [ -n "$added" ] || etcdctl member add $name --peer-urls=$url >&2; do
          try=$((try + 1)); [ $try -lt 20 ] || exit 1
          sleep 0.5
        done
        # etcd ends at once on what is left of a member that was removed.
        rm -rf "$data"
        [ "$1" = join ] || etcdctl member list |
          awk -F', ' -v name=$name -v url=$url '{ m = m "," ($4 == url ? name : $3 == "" ? $1 : $3) "=" $4 }
            END { print "--initial-cluster-state=existing --initial-cluster=" substr(m, 2) }'
      EOT
    }]

    port "client" { port = 2379 }
    port "peer" { port = 2380 }

    # Without a quorum /health doesn't answer: the timeout counts.
    readiness {
      http {
        port = "client"
        path = "/health"
      }
      expect  = "\"health\":\"true\""
      period  = "500ms"
      timeout = "1s"
    }

    # A scale-down is held while etcd refuses. after_leave is for who was removed without leaving.
    hook "on_join" { command = ["${volume.bin}/membership", "join"] }
    hook "on_leave" {
      command = ["${volume.bin}/membership", "leave", member.name, "http://${member.ip}:${port.peer}"]
      retries = 5
    }
    hook "after_leave" {
      command = ["${volume.bin}/membership", "leave", leaver.name, "http://${leaver.ip}:${leaver.port.peer}"]
      retries = 5
    }

    stop { timeout = "30s" }
  }
}
