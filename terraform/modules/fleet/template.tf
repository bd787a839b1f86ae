locals {
  labels = merge(var.labels, { "skfleet-fleet" = var.name, "skfleet-role" = "serving" })
}

# One template an image. A template in use cannot be destroyed, so nothing here may change for an entry that runs: a new
# machine type or disk is a new entry too. It references no bucket object and no release: what a VM runs comes from
# desired.json, and create_before_destroy is contagious to whatever a template references.
resource "google_compute_instance_template" "this" {
  for_each = var.images

  project     = var.project_id
  name_prefix = "${trimsuffix(substr(var.name, 0, 36), "-")}-" # the provider appends 26 characters
  description = "${var.name}, image ${each.key}"

  machine_type         = each.value.machine_type
  instance_description = "Serves the desired release of ${var.name}."
  labels               = local.labels
  can_ip_forward       = false

  disk {
    boot         = true
    auto_delete  = true
    source_image = each.value.source
    disk_size_gb = each.value.disk.size_gb
    disk_type    = each.value.disk.type
    labels       = local.labels

    dynamic "disk_encryption_key" {
      for_each = each.value.disk.kms_key == null ? [] : [1]
      content {
        kms_key_self_link = each.value.disk.kms_key
      }
    }
  }

  # No access_config: no public address.
  network_interface {
    subnetwork = var.subnetwork
  }

  # One key of ours; the others are Google's own. Guest attributes carry the host keys, which ssh then checks strictly.
  metadata = {
    "skfleet-fleet"           = "gs://${var.bucket}/fleets/${var.name}"
    "enable-oslogin"          = "TRUE"
    "block-project-ssh-keys"  = "TRUE"
    "serial-port-enable"      = "FALSE"
    "enable-guest-attributes" = "TRUE"
  }

  service_account {
    email  = var.service_account.email
    scopes = ["cloud-platform"] # IAM decides; scopes would only repeat it
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  scheduling {
    automatic_restart           = !each.value.spot
    on_host_maintenance         = each.value.spot ? "TERMINATE" : "MIGRATE"
    preemptible                 = each.value.spot
    provisioning_model          = each.value.spot ? "SPOT" : "STANDARD"
    instance_termination_action = each.value.spot ? "STOP" : null
  }

  lifecycle {
    create_before_destroy = true
  }
}
