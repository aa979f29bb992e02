# Redis that changes its leader by itself, on Debian's Redis 7 (apt-get install redis-server):
# each member is a Redis and, as a second process, a Sentinel that watches all of them.
statefulset "store" {
  replicas = 3

  volume "data" { size = "1Gi" }
  scratch "bin" {}

  process "redis" {
    # As root, run both processes as Debian's own user (without root, members are the daemon's user):
    # user = "redis"

    # A former leader that came back as one would take writes that are lost when it is told
    # otherwise. So it asks the others' sentinels before each start.
    files = [{
      path    = "${volume.bin}/leader"
      mode    = "0755"
      content = <<-EOT
        #!/bin/sh
        # leader FILE: prints the leader's address, or nothing when no sentinel of another member
        # answers. FILE is what whoever asks has had since its own first start.
        for at in ${join(" ", [for m in peers : m.ip])}; do
          timeout 2 redis-cli -h "$at" -p ${port.sentinel} --raw SENTINEL get-master-addr-by-name store 2>/dev/null |
            head -n 1 | grep -xE '[0-9]+(\.[0-9]+){3}' && exit 0
        done
        %{ if member.ordinal == members[0].ordinal && !set.formed ~}
        [ -e "$1" ] || echo ${member.ip} # the very first
        %{ endif ~}
        exit 0
      EOT
    }]
    command = ["/bin/sh", "-euc", <<-EOT
      cd '${volume.data}'
      leader=$('${volume.bin}/leader' redis.conf)
      if [ ! -e redis.conf ] && [ -z "$leader" ]; then
        echo "no sentinel says who leads: an empty directory cannot begin by itself" >&2
        exit 1
      fi
      # Sentinels have Redis write its role into this file. Without an answer it stays what it was.
      if [ -n "$leader" ]; then
        { grep -v '^replicaof ' redis.conf 2>/dev/null || true; } > redis.conf.new
        [ "$leader" = ${member.ip} ] || echo "replicaof $leader ${port.redis}" >> redis.conf.new
        mv redis.conf.new redis.conf
      fi
      exec /usr/bin/redis-server redis.conf --bind ${member.ip} --port ${port.redis} --protected-mode no --dir . \
        --appendonly yes --appendfsync always --replica-announce-ip ${member.ip} \
        --min-replicas-to-write 1 --min-replicas-max-lag 5 --maxmemory-policy noeviction
    EOT
    ]

    port "redis" { port = 6379 }

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

  process "sentinel" {
    command = ["/bin/sh", "-euc", <<-EOT
      cd '${volume.data}'
      if [ ! -e sentinel.conf ]; then
        leader=$('${volume.bin}/leader' sentinel.conf)
        [ -n "$leader" ] || { echo "no sentinel says who leads yet" >&2; exit 1; }
        {
          echo "sentinel monitor store $leader ${port.redis} 2"
          echo "sentinel down-after-milliseconds store 3000"
          echo "sentinel failover-timeout store 10000"
        } > sentinel.conf.new
        mv sentinel.conf.new sentinel.conf
      fi
      exec /usr/bin/redis-server sentinel.conf --sentinel --bind ${member.ip} --port ${port.sentinel} --protected-mode no \
        --dir '${volume.bin}' --sentinel announce-ip ${member.ip}
    EOT
    ]

    port "sentinel" { port = 26379 }

    readiness {
      exec    = ["/usr/bin/redis-cli", "-h", member.ip, "-p", "${port.sentinel}", "PING"]
      expect  = "^PONG"
      period  = "500ms"
      timeout = "2s"
    }
  }
}
