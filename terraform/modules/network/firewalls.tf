# One rule a listener, each with exactly the ranges that its traffic comes from. All else falls to the network's implied
# denial of ingress.
locals {
  # Google's front ends (they open the external load balancer's connections) and the probes of every health check.
  google_front_ends = ["130.211.0.0/22", "35.191.0.0/16"]
  # IAP's TCP forwarding.
  iap_tunnel   = "35.235.240.0/20"
  proxy_ranges = [for r in var.regions : r.proxy_range]

  ssh_targets = concat(var.service_accounts.fleet, var.service_accounts.ssh_targets)
}

resource "google_compute_firewall" "iap" {
  project     = var.project_id
  name        = "${var.name}-allow-${var.listeners.iap.name}"
  network     = google_compute_network.this.id
  description = "Predictions through IAP: the external load balancer's front ends${var.internal_iap ? ", and the internal one's proxies since it uses IAP" : ""}."
  direction   = "INGRESS"

  source_ranges           = var.internal_iap ? concat(local.google_front_ends, local.proxy_ranges) : local.google_front_ends
  target_service_accounts = var.service_accounts.fleet

  allow {
    protocol = "tcp"
    ports    = compact([var.listeners.iap.port, var.listeners.iap.also])
  }
}

resource "google_compute_firewall" "internal" {
  project     = var.project_id
  name        = "${var.name}-allow-${var.listeners.internal.name}"
  network     = google_compute_network.this.id
  description = "Predictions from inside the network: the internal load balancer's proxies."
  direction   = "INGRESS"

  source_ranges           = local.proxy_ranges
  target_service_accounts = var.service_accounts.fleet

  allow {
    protocol = "tcp"
    ports    = compact([var.listeners.internal.port, var.listeners.internal.also])
  }
}

resource "google_compute_firewall" "health" {
  project     = var.project_id
  name        = "${var.name}-allow-${var.listeners.health.name}"
  network     = google_compute_network.this.id
  description = "Health checks of both load balancers and of autohealing: Google's probes."
  direction   = "INGRESS"

  source_ranges           = local.google_front_ends
  target_service_accounts = var.service_accounts.fleet

  allow {
    protocol = "tcp"
    ports    = compact([var.listeners.health.port, var.listeners.health.also])
  }
}

resource "google_compute_firewall" "ssh_iap" {
  project     = var.project_id
  name        = "${var.name}-allow-ssh-iap"
  network     = google_compute_network.this.id
  description = "ssh through IAP's TCP forwarding alone; IAM decides who (roles/iap.tunnelResourceAccessor and OS Login)."
  direction   = "INGRESS"

  source_ranges           = [local.iap_tunnel]
  target_service_accounts = local.ssh_targets

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }

  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "ssh_runner" {
  count = length(var.service_accounts.ssh_runners) > 0 ? 1 : 0

  project     = var.project_id
  name        = "${var.name}-allow-ssh-runner"
  network     = google_compute_network.this.id
  description = "ssh from a deployment runner inside the network, told apart by its service account."
  direction   = "INGRESS"

  source_service_accounts = var.service_accounts.ssh_runners
  target_service_accounts = local.ssh_targets

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }

  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}
