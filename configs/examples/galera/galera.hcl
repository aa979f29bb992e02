# A Galera cluster of three on Debian's MariaDB 10.11 (apt-get install mariadb-server, which
# brings galera-4 and rsync). Every member takes writes. Needs root.
statefulset "galera" {
  replicas = 3

  # The data is a directory in the volume: whole when it has that name.
  volume "data" { size = "10Gi" }

  # The socket is private to the member, where Debian's mariadb looks for it.
  scratch "run" { mount_path = "/run/mysqld" }

  # Only who makes the very first cluster makes data; all others take theirs from it, into an
  # empty directory. A directory that is lost later is no new database, whoever's it was.
  init "seed" {
    once    = true
    timeout = "10m"
    user    = "mysql"
    command = ["/bin/sh", "-euc", <<-EOT
      cd '${volume.data}'
      umask 0077
      [ ! -e data ] || exit 0
      %{ if member.bootstrap && !set.formed ~}
      rm -rf data.new
      mariadb-install-db --no-defaults --datadir="$PWD/data.new" --skip-test-db \
        --auth-root-authentication-method=socket --auth-root-socket-user=mysql
      sync -f .
      mv data.new data
      %{ else ~}
      mkdir data
      %{ endif ~}
      sync -f .
    EOT
    ]
  }

  process "mariadb" {
    user        = "mysql"
    working_dir = volume.data
    command     = ["/bin/sh", "-eu", "/run/mysqld/start"]

    # --wsrep-new-cluster makes a cluster of one, so it is for the one member that the log has chosen
    # while nobody ran, and in the first start of an epoch only: whoever has joined it since may be
    # ahead of it, which grastate.dat tells.
    file "/run/mysqld/start" {
      content = <<-EOT
        set -- --defaults-file=/run/mysqld/my.cnf
        bootstrap=$(cat /run/mysqld/bootstrap)
        if [ "$(cat epoch 2>&1)" = "$SUP_EPOCH" ]; then
          sleep 6 # It crashed. While the others still count the one of before, this one would confuse them.
        elif $bootstrap && ${set.formed}; then
          [ "$(/bin/sh -eu /run/mysqld/position)" -ge 0 ] || { echo 'this member has no data to begin with' >&2; exit 1; }
          sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' data/grastate.dat
          sync -f .
        fi
        echo "$SUP_EPOCH" >epoch
        sync -f .
        if $bootstrap && ! grep -qs '^safe_to_bootstrap: 0' data/grastate.dat; then
          set -- "$@" --wsrep-new-cluster
        fi
        # After a crash the tables know better where they stand than grastate.dat.
        recovered=$(/bin/sh -eu /run/mysqld/recover)
        exec mariadbd "$@" $${recovered:+--wsrep-start-position="$recovered"}
      EOT
    }
    file "/run/mysqld/bootstrap" { content = "${member.bootstrap}" }

    # UUID:NUMBER of the last transaction, after a crash. Nothing if grastate.dat has the number,
    # or if it has no UUID: then a state transfer was broken off, and what is there is no data.
    file "/run/mysqld/recover" {
      content = <<-EOT
        grep -qs '^seqno: *-1$' data/grastate.dat && ! grep -q '^uuid: *00000000-0000' data/grastate.dat || exit 0
        log=$(mariadbd --defaults-file=/run/mysqld/my.cnf --wsrep-recover 2>&1) || { echo "$log" >&2; exit 1; }
        echo "$log" | sed -n 's/.*Recovered position: *//p' | grep -v '^00000000-0000' || true
      EOT
    }
    # How new the data is; -1: there is none.
    file "/run/mysqld/position" {
      content = <<-EOT
        n=$(sed -n 's/^seqno: *//p' data/grastate.dat || true)
        if [ "$${n:--1}" = -1 ]; then
          n=$(/bin/sh -eu /run/mysqld/recover)
          n=$${n##*:}
        fi
        echo "$${n:--1}"
      EOT
    }
    hook "position" {
      command = ["/bin/sh", "-eu", "/run/mysqld/position"]
      timeout = "1h"
    }

    file "/run/mysqld/my.cnf" {
      content = <<-EOT
        [mysqld]
        datadir = ${volume.data}/data
        bind_address = ${member.ip}
        port = ${port.sql}
        socket = /run/mysqld/mysqld.sock
        pid_file = /run/mysqld/mysqld.pid
        server_id = ${member.ordinal + 1}
        skip_name_resolve = ON
        innodb_buffer_pool_size = 128M

        binlog_format = ROW
        innodb_autoinc_lock_mode = 2
        wsrep_on = ON
        wsrep_provider = /usr/lib/galera/libgalera_smm.so
        wsrep_cluster_name = ${set.name}
        wsrep_cluster_address = gcomm://${join(",", [for m in members : "${m.ip}:${m.port.group}"])}
        wsrep_node_name = ${member.name}
        wsrep_node_address = ${member.ip}
        wsrep_node_incoming_address = ${member.ip}:${port.sql}
        # The donor writes nothing meanwhile; mariabackup (of its own package) lets it.
        wsrep_sst_method = rsync
        wsrep_sst_receive_address = ${member.ip}:${port.sst}
        wsrep_provider_options = "gmcast.listen_addr=tcp://${member.ip}:${port.group};ist.recv_addr=${member.ip}:${port.ist};ist.recv_bind=${member.ip}:${port.ist};gcache.size=128M"
      EOT
    }

    port "sql" { port = 3306 }
    port "sst" { port = 4444 }
    port "group" { port = 4567 }
    port "ist" { port = 4568 }

    # A real query: mariadb-admin ping says alive also when access is denied.
    readiness {
      exec = ["mariadb", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "-NBe",
        "SHOW STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_local_state_comment')"]
      expect  = "(?s)state_comment\\s+Synced\\s.*ready\\s+ON"
      period  = "500ms"
      timeout = "2s"
    }

    # While it looks for the others it hears no SIGTERM; a crash costs no data.
    stop { timeout = "1m" }
  }
}
