# A primary with streaming replicas on Debian's PostgreSQL 15 (apt-get install postgresql).
# The lowest ordinal is the primary, for good: nobody is promoted by itself. Needs root.
statefulset "postgres" {
  replicas = 3

  # PGDATA is a directory in the volume: initdb and pg_basebackup want to make it themselves.
  volume "data" { size = "10Gi" }

  # The socket is private to the member, where Debian's psql looks for it.
  scratch "run" { mount_path = "/run/postgresql" }

  # Once per directory, and able to run again after a crash at any moment: all is made in
  # pgdata.new, and named pgdata when it is complete.
  init "seed" {
    once    = true
    timeout = "1h"
    user    = "postgres"
    env = [
      { name = "BIN", value = "/usr/lib/postgresql/15/bin" },
      { name = "PRIMARY", value = "${members[0].fqdn}" },
      { name = "PGPASSWORD", from_file = "/etc/supd/secrets/postgres/replication" },
      { name = "PGCONNECT_TIMEOUT", value = "3" },
      # When the primary's directory is lost: the name of the member that has the newest data.
      { name = "RESTORE_FROM", value = "" },
    ]
    command = ["/bin/sh", "-euc", <<-EOT
      cd '${volume.data}'
      umask 0077
      [ ! -e pgdata ] || exit 0
      rm -rf pgdata.new
      # Fails cleanly while who is copied is not there: tried again. A slot keeps for this
      # member what it has not read yet.
      copy() {
        "$BIN/pg_basebackup" --dbname="host=$1 user=replication application_name=${member.name}" \
          --pgdata=pgdata.new --wal-method=stream --checkpoint=fast
        touch pgdata.new/standby.signal
      }
      slot='SELECT pg_create_physical_replication_slot($$%s$$, true) WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $$%s$$);'
      %{ if member.ordinal > members[0].ordinal ~}
      printf "$slot" supd_${member.ordinal} supd_${member.ordinal} |
        psql --no-psqlrc -v ON_ERROR_STOP=1 -q -o /dev/null "host=$PRIMARY user=replication dbname=postgres"
      copy "$PRIMARY"
      %{ else ~}
      if [ -n "$RESTORE_FROM" ]; then
        # It goes on from there, as a primary whom the others follow.
        copy "$RESTORE_FROM.${set.fqdn}"
        "$BIN/pg_ctl" start -D pgdata.new -w -o "-c listen_addresses= -c unix_socket_directories=/run/postgresql"
        "$BIN/pg_ctl" promote -D pgdata.new -w
        for n in ${join(" ", [for m in peers : m.ordinal])}; do
          printf "$slot" supd_$n supd_$n | psql --no-psqlrc -v ON_ERROR_STOP=1 -q -o /dev/null -h /run/postgresql -U postgres
        done
        "$BIN/pg_ctl" stop -D pgdata.new -w -m fast
      elif ${set.formed}; then
        # A new directory is no new database: replicas would refuse it, and clients find it empty.
        echo "the primary's directory is new, but its replicas have data: set RESTORE_FROM" >&2
        exit 1
      else
        "$BIN/initdb" --pgdata=pgdata.new --username=postgres --auth-local=peer --auth-host=scram-sha-256 \
          --data-checksums --encoding=UTF8 --locale=C.UTF-8
        echo "CREATE ROLE replication REPLICATION LOGIN PASSWORD '$PGPASSWORD'" |
          "$BIN/postgres" --single -D pgdata.new postgres
      fi
      %{ endif ~}
      sync -f .
      mv pgdata.new pgdata
      sync -f .
    EOT
    ]
  }

  process "postgres" {
    user = "postgres"
    command = [
      "/usr/lib/postgresql/15/bin/postgres",
      "-D", "${volume.data}/pgdata",
      "-c", "listen_addresses=${member.ip}",
      "-c", "port=${port.sql}",
      "-c", "unix_socket_directories=/run/postgresql",
      "-c", "hba_file=/run/postgresql/pg_hba.conf",
      "-c", "cluster_name=${member.name}",
      "-c", "wal_level=replica",
      "-c", "hot_standby=on",
      "-c", "max_wal_senders=10",
      "-c", "max_replication_slots=10",
      # How far a replica may fall behind: while it is here, and for a while when it was scaled away.
      "-c", "max_slot_wal_keep_size=10GB",
      "-c", "wal_keep_size=1GB",
      "-c", "primary_slot_name=%{ if member.ordinal > members[0].ordinal }supd_${member.ordinal}%{ endif }",
      "-c", "wal_retrieve_retry_interval=1s",
      "-c", "primary_conninfo=host=${members[0].fqdn} port=${members[0].port.sql} user=replication application_name=${member.name} connect_timeout=3",
      "-c", "work_mem=4MB",
    ]
    env = [{ name = "PGPASSWORD", from_file = "/etc/supd/secrets/postgres/replication" }]

    file "/run/postgresql/pg_hba.conf" {
      content = <<-EOT
        local all all peer
        host all all all scram-sha-256
        host replication replication all scram-sha-256
      EOT
    }

    port "sql" { port = 5432 }

    # A replica that answers queries but has lost its primary is not ready.
    readiness {
      exec = ["/usr/bin/psql", "--no-psqlrc", "--host=/run/postgresql", "--port=${port.sql}", "--username=postgres", "-Atqc",
        "SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT status FROM pg_stat_wal_receiver) ELSE 'primary' END", "postgres"]
      expect  = "^(primary|streaming)\\s*$"
      period  = "500ms"
      timeout = "2s"
    }

    # One that returns to its directory gets its slot again. One that is gone loses it, so that
    # nobody who is gone fills the primary's disk; run on the lowest member, which is the primary.
    hook "on_join" {
      command = ["/bin/sh", "-euc", <<-EOT
        %{ if member.ordinal > members[0].ordinal ~}
        psql --no-psqlrc -v ON_ERROR_STOP=1 -q -o /dev/null "host=${members[0].fqdn} user=replication dbname=postgres connect_timeout=3" \
          -c "SELECT pg_create_physical_replication_slot('supd_${member.ordinal}', true) WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'supd_${member.ordinal}')"
        %{ endif ~}
      EOT
      ]
    }
    hook "after_leave" {
      command = ["/usr/bin/psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "--host=/run/postgresql", "--port=${port.sql}", "--username=postgres", "-Atqc",
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'supd_${leaver.ordinal}'", "postgres"]
    }

    # SIGTERM would wait for clients to go, for ever.
    stop {
      signal  = "SIGINT"
      timeout = "5m"
    }
  }
}
