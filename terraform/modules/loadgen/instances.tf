locals {
  instances = { for i in range(var.generators.count) : format("%02d", i + 1) => i == 0 ? "leader" : "worker" }
}

resource "google_compute_instance" "this" {
  for_each = local.instances

  project      = var.project_id
  name         = "${var.name}-loadgen-${each.key}"
  zone         = var.network.zone
  machine_type = var.generators.machine_type
  labels       = merge(var.generators.labels, { "skfleet-role" = "loadgen", "skfleet-loadgen" = each.value })

  allow_stopping_for_update = true

  boot_disk {
    #checkov:skip=CKV_GCP_38:Google's key: the disk holds a load test's scripts and figures, no data of users.
    auto_delete = true
    initialize_params {
      image = var.generators.image
      size  = var.generators.disk_gb
      type  = "pd-balanced"
    }
  }

  # No access_config: no public address.
  network_interface {
    subnetwork = var.network.subnetwork
  }

  metadata = {
    "enable-oslogin"          = "TRUE"
    "block-project-ssh-keys"  = "TRUE"
    "serial-port-enable"      = "FALSE"
    "enable-guest-attributes" = "TRUE"
  }

  service_account {
    email  = google_service_account.this.email
    scopes = ["cloud-platform"]
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  scheduling {
    automatic_restart           = false
    on_host_maintenance         = "TERMINATE" # a migrated generator would report its own pause as the service's latency
    provisioning_model          = "STANDARD"
    instance_termination_action = "STOP"
    max_run_duration {
      seconds = var.generators.max_hours * 3600
    }
  }
}
