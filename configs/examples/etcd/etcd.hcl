# A cluster of three etcd members on Debian's etcd 3.4 (apt-get install etcd-server).
# etcd-0 is healthy only with a quorum, so the next member must not wait for its
# readiness: OrderedStarted.
statefulset "etcd" {
  replicas              = 3
  pod_management_policy = "OrderedStarted"

  volume "data" { size = "1Gi" }

  process "etcd" {
    # As root, run it as Debian's own user (without root, members are the daemon's user):
    # user = "etcd"

    command = [
      "/usr/bin/etcd",
      "--name=${member.name}",
      "--data-dir=${volume.data}",
      "--listen-client-urls=http://${member.ip}:${port.client}",
      "--advertise-client-urls=http://${member.ip}:${port.client}",
      "--listen-peer-urls=http://${member.ip}:${port.peer}",
      "--initial-advertise-peer-urls=http://${member.ip}:${port.peer}",
      "--initial-cluster=${join(",", [for m in members : "${m.name}=http://${m.ip}:${m.port.peer}"])}",
      "--initial-cluster-token=${set.name}",
      "--initial-cluster-state=new",
      "--strict-reconfig-check=true",
    ]

    # For etcdctl in this member's environment.
    env = { ETCDCTL_API = "3" }

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

    stop { timeout = "30s" }
  }
}
