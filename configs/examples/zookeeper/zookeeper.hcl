# An ensemble of three ZooKeeper servers on Debian's ZooKeeper 3.8 (apt-get install zookeeper).
# Nobody is ready without a quorum, so the next member must not wait for readiness:
# OrderedStarted. Needs root, for the user and the mount.
statefulset "zookeeper" {
  replicas              = 3
  pod_management_policy = "OrderedStarted"

  volume "data" {
    size       = "1Gi"
    mount_path = "/var/lib/zookeeper"
  }

  process "zookeeper" {
    user = "zookeeper"
    command = [
      "/usr/bin/java", "-Xmx128m", "-XX:TieredStopAtLevel=1",
      # Java would remember names for ever.
      "-Dsun.net.inetaddr.ttl=5", "-Dsun.net.inetaddr.negative.ttl=0",
      "-cp", "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar",
      "org.apache.zookeeper.server.quorum.QuorumPeerMain", "/var/lib/zookeeper/zoo.cfg",
    ]

    # Rendered at each start: who is in the ensemble, and the server's own number in it.
    file "/var/lib/zookeeper/zoo.cfg" {
      content = <<-EOT
        tickTime=1000
        initLimit=10
        syncLimit=5
        dataDir=/var/lib/zookeeper
        admin.enableServer=false
        4lw.commands.whitelist=srvr
        %{ for m in members ~}
        server.${m.ordinal + 1}=${m.fqdn}:${m.port.peer}:${m.port.election}:participant;${m.ip}:${m.port.client}
        %{ endfor ~}
      EOT
    }
    file "/var/lib/zookeeper/myid" { content = "${member.ordinal + 1}\n" }

    port "client" { port = 2181 }
    port "peer" { port = 2888 }
    port "election" { port = 3888 }

    # "ruok" is answered without a quorum too; this is not.
    readiness {
      exec    = ["/bin/bash", "-c", "exec 3<>/dev/tcp/${member.ip}/${port.client} && echo srvr >&3 && cat <&3"]
      expect  = "(?m)^Mode: (leader|follower|standalone)"
      period  = "500ms"
      timeout = "2s"
    }

    stop { timeout = "30s" }
  }
}
