# Members that note on their disks what happens to them. web-1 takes five seconds to stop.
statefulset "web" {
  replicas = 3

  volume "data" { size = "1Mi" }

  process "web" {
    command = ["/bin/bash", "-c", <<-EOT
      cd "$SUP_VOLUME_DATA" || exit 1
      echo "$SUP_EPOCH" >> epochs
      trap 'echo "term $SUP_MEMBER $(date +%s%N)" >> stops
        if [ "$SUP_ORDINAL" = 1 ]; then sleep 5; fi
        echo "done $SUP_MEMBER $(date +%s%N)" >> stops; sync; exit 0' TERM
      n=$(wc -l < numbers 2>/dev/null || echo 0)
      while :; do
        n=$((n + 1))
        echo "$n" >> numbers && sync numbers && echo "$n" > synced
        sleep 1 & wait $!
      done
    EOT
    ]
    stop { timeout = "30s" }
  }
}
