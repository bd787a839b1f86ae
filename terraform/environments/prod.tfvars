# One region over three zones, alerts, budget, standby VMs, deliveries from workflows. Replace what says example.
project_id  = "example-skfleet-prod"
environment = "prod"

regions = {
  europe-west1 = {
    zones                         = ["europe-west1-b", "europe-west1-c", "europe-west1-d"]
    range                         = "10.10.0.0/22"
    proxy_range                   = "10.10.8.0/23"
    nat                           = { addresses = 2 }
    internal_managed_certificates = ["projects/example-skfleet-prod/locations/europe-west1/certificates/skfleet-internal"]
  }
}

fleet = {
  # A new image is a new entry; the old one goes after playbooks/replace.yml.
  images        = { "2026-01-15" = { source = "projects/example-skfleet-prod/global/images/skfleet-2026-01-15" } }
  initial_image = "2026-01-15"

  autoscaling = {
    min                   = 3
    max                   = 24
    load_balancing_target = 0.7
    predictive            = true
    scale_in              = { percent = 10, window_s = 600 }
    schedules = {
      working-day = { min = 6, cron = "0 7 * * 1-5", duration_s = 43200, time_zone = "Europe/Berlin" }
    }
  }

  standby = { stopped = 3 }
}

artifacts = {
  location       = "EU"
  data_locations = ["EUROPE-WEST1", "EUROPE-WEST4"]
}

external = {
  domains         = ["predict.example.com"]
  dns_zone        = "example-com"
  log_sample_rate = 0.1
}

internal = {
  allowed_callers = ["batch@example-skfleet-prod.iam.gserviceaccount.com"]
  allowed_ranges  = ["10.0.0.0/8"]
}

members = {
  deployers = { sre = "group:sre@example.com" }
  terraform = { sre = "group:sre@example.com" }
  accessors = { everyone = "domain:example.com" }
}

observability = {
  channels     = { emails = { oncall = "oncall@example.com" } }
  project_wide = { log_retention_days = 90 }
  budget       = { billing_account = "000000-000000-000000", amount = 1500, currency = "EUR" }
}

delivery = {
  repository    = "example/skfleet"
  repository_id = "1000000"
  owner_id      = "2000000"
  state_bucket  = "example-skfleet-prod-terraform"
}
