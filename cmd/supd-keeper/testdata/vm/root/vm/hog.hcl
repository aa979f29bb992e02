# A member that takes more memory than it may.
statefulset "hog" {
  process "hog" {
    command = ["/bin/sh", "-c", "sleep 1; exec tail /dev/zero"]
    limits { memory = "32Mi" }
  }
}
