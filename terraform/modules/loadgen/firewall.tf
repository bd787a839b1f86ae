# Locust's leader and workers speak to each other; nobody else reaches them but ssh (module network).
resource "google_compute_firewall" "locust" {
  project     = var.project_id
  name        = "${var.name}-allow-locust"
  network     = var.network.id
  description = "Locust's workers to their leader."
  direction   = "INGRESS"

  source_service_accounts = [google_service_account.this.email]
  target_service_accounts = [google_service_account.this.email]

  allow {
    protocol = "tcp"
    ports    = ["5557"]
  }
}
