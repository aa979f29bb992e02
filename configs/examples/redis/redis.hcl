# A primary with replicas on Debian's Redis 7 (apt-get install redis-server). The lowest
# ordinal is the primary, for good: nobody is promoted by itself.
statefulset "redis" {
  replicas = 3

  volume "data" { size = "1Gi" }

  process "redis" {
    # As root, run it as Debian's own user (without root, members are the daemon's user):
    # user = "redis"

    command = [
      "/usr/bin/redis-server",
      "--bind", member.ip,
      "--port", "${port.redis}",
      "--protected-mode", "no",
      "--dir", volume.data,
      # A primary that forgets at a restart would empty its replicas.
      "--appendonly", "yes",
      "--appendfsync", "always",
      "--replica-announce-ip", member.ip,
      "--replicaof", "%{ if member.ordinal == members[0].ordinal }no one%{ else }${members[0].ip} ${members[0].port.redis}%{ endif }",
      "--maxmemory-policy", "noeviction",
    ]

    port "redis" { port = 6379 }

    # PING answers LOADING with exit status 0 while data is read; and a replica that has
    # lost its primary is not ready.
    readiness {
      exec = ["/bin/sh", "-c", <<-EOT
        redis-cli -h ${member.ip} -p ${port.redis} PING
        redis-cli -h ${member.ip} -p ${port.redis} INFO replication
      EOT
      ]
      expect  = "(?s)^PONG\\s.*(role:master|master_link_status:up)"
      period  = "500ms"
      timeout = "2s"
    }

    stop { timeout = "60s" }
  }
}
