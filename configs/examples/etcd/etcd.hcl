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
      state=new cluster=${join(",", [for m in members : "${m.name}=http://${m.ip}:${m.port.peer}"])}
      # Only a set that has never been whole begins anew. All this is ignored once there is data.
      if ${set.formed} && [ ! -d '${volume.data}/member/wal' ]; then
        '${volume.bin}/membership' join
        state=existing cluster=$('${volume.bin}/membership' list)
      fi
      exec /usr/bin/etcd --name=${member.name} --data-dir='${volume.data}' \
        --listen-client-urls=http://${member.ip}:${port.client} --advertise-client-urls=http://${member.ip}:${port.client} \
        --listen-peer-urls=http://${member.ip}:${port.peer} --initial-advertise-peer-urls=http://${member.ip}:${port.peer} \
        --initial-cluster="$cluster" --initial-cluster-state=$state --initial-cluster-token=${set.name} --strict-reconfig-check=true
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
        # membership join | list | leave NAME PEER-URL: etcd's own list of its members. All of it may be
        # done twice, and etcd itself refuses a change that would cost the quorum.
        set -eu
        export ETCDCTL_ENDPOINTS=${join(",", [for m in members : "http://${m.ip}:${m.port.client}" if m.name != member.name || length(members) == 1])}
        do=$1
        [ "$do" = leave ] || set -- "$do" ${member.name} http://${member.ip}:${port.peer}
        # Each line: ID, started, NAME, PEER-URL, ...; unstarted, and no name, until it has run once.
        all=$(etcdctl member list)
        find() { echo "$all" | awk -F', ' -v state="$1" -v name="$2" -v url="$3" '$2 == state && ($3 == name || $4 == url) { print $1 }'; }
        started=$(find started "$2" "$3") added=$(find unstarted "$2" "$3")
        case $do in
        join)
          # Removed without leaving, and back with its directory: that is still the member's.
          if [ -n "$started" ] && [ -d '${volume.data}/member/wal' ]; then exit 0; fi
          # A member whose directory is lost has lost its votes too, so it is another one that comes back.
          [ -z "$started" ] || etcdctl member remove "$started"
          [ -n "$added" ] || etcdctl member add "$2" --peer-urls="$3"
          # etcd ends at once on what is left of a member that was removed.
          rm -rf '${volume.data}/member'
          ;;
        list) echo "$all" | awk -F', ' -v name="$2" -v url="$3" '{ print ($4 == url ? name : $3 == "" ? $1 : $3) "=" $4 }' | paste -sd, ;;
        leave) [ -z "$started$added" ] || etcdctl member remove "$started$added" ;;
        esac
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

    # For five seconds after a change etcd refuses the next, hence the retries. A scale-down is
    # held while it refuses. after_leave is for those that were removed without leaving.
    hook "on_join" {
      command = ["${volume.bin}/membership", "join"]
      retries = 8
    }
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
