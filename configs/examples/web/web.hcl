# Three members that need nothing but a shell. Each writes its name and the time of
# every start into its own directory, and is ready as long as the file "ready" is there.
statefulset "web" {
  replicas = 3

  volume "data" { size = "1Mi" }

  process "web" {
    command = ["/bin/sh", "-c", <<-EOT
      cd "$DATA" || exit 1
      echo "$SUP_MEMBER $(date -u +%Y-%m-%dT%H:%M:%S.%NZ)" >> starts
      echo "$SUP_MEMBER" > name
      trap 'rm -f ready; kill $! 2>/dev/null; echo "$SUP_MEMBER stops"; exit 0' TERM INT
      touch ready
      echo "$SUP_MEMBER runs in $DATA"
      while :; do
        sleep 3600 &
        wait $!
      done
    EOT
    ]
    env = { DATA = "${volume.data}" }

    readiness {
      exec              = ["/usr/bin/test", "-f", "${volume.data}/ready"]
      period            = "200ms"
      failure_threshold = 1
    }

    stop { timeout = "10s" }
  }
}
