# One global edge over fleets in two regions; each rolls out on its own. Load generators in the first. Replace what says
# example.
project_id  = "example-skfleet-world"
environment = "prod"

regions = {
  europe-west1 = {
    zones                 = ["europe-west1-b", "europe-west1-c", "europe-west1-d"]
    range                 = "10.10.0.0/22"
    proxy_range           = "10.10.8.0/23"
    nat                   = { addresses = 2 }
    internal_certificates = ["projects/example-skfleet-world/regions/europe-west1/sslCertificates/skfleet-internal"]
  }
  us-central1 = {
    zones                 = ["us-central1-a", "us-central1-b", "us-central1-c"]
    range                 = "10.20.0.0/22"
    proxy_range           = "10.20.8.0/23"
    internal_certificates = ["projects/example-skfleet-world/regions/us-central1/sslCertificates/skfleet-internal"]
    # It follows with a new image once the first region has proven it.
    initial_image = "2026-01-15"
    autoscaling   = { max = 8 }
  }
}

fleet = {
  images = {
    "2026-01-15" = { source = "projects/example-skfleet-world/global/images/skfleet-2026-01-15" }
    "2026-02-10" = { source = "projects/example-skfleet-world/global/images/skfleet-2026-02-10" }
  }
  initial_image = "2026-02-10"
  autoscaling   = { min = 3, max = 12 }
}

# Between the regions: one continent's pair would leave the other with the ocean in between.
artifacts = {
  location = "US"
}

external = {
  domains = ["predict.example.com", "models.example.com"]
  armor   = { allowed_ranges = ["198.51.100.0/24", "203.0.113.0/24"] }
}

members = {
  deployers = { sre = "group:sre@example.com" }
  accessors = { everyone = "domain:example.com" }
}

observability = {
  channels = { existing = ["projects/example-skfleet-world/notificationChannels/1234567890"] }
}

loadgen = {
  region = "europe-west1"
  count  = 3
  image  = "projects/example-skfleet-world/global/images/skfleet-loadgen-2026-02-10"
}
