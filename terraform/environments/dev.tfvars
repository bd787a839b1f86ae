# One region, small, for trying things out. Replace what says example.
project_id  = "example-skfleet-dev"
environment = "dev"

regions = {
  europe-west1 = {
    zones       = ["europe-west1-b", "europe-west1-c", "europe-west1-d"]
    range       = "10.10.0.0/24"
    proxy_range = "10.10.8.0/23"
    # docs/deploy.md makes it.
    internal_certificates = ["projects/example-skfleet-dev/regions/europe-west1/sslCertificates/skfleet-internal"]
  }
}

fleet = {
  images        = { "2026-01-15" = { source = "projects/example-skfleet-dev/global/images/skfleet-2026-01-15" } }
  initial_image = "2026-01-15"
  autoscaling   = { min = 1, max = 4 }
}

artifacts = {
  location         = "europe-west1"
  soft_delete_days = 7
}

external = {
  domains = ["predict.dev.example.com"]
}

members = {
  publishers = { developers = "group:developers@example.com" }
  deployers  = { developers = "group:developers@example.com" }
  accessors  = { developers = "group:developers@example.com" }
}

# A dev fleet sleeps through the night without anybody being woken.
observability = {
  uptime = false
}
