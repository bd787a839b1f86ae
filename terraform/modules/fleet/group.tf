resource "google_compute_region_instance_group_manager" "this" {
  project            = var.project_id
  name               = var.name
  region             = var.region.name
  base_instance_name = var.name
  description        = "VMs of the fleet ${var.name}."

  distribution_policy_zones        = var.region.zones
  distribution_policy_target_shape = "EVEN"

  # target_size stays unset: it belongs to the autoscaler.

  version {
    name              = var.initial_image
    instance_template = google_compute_instance_template.this[var.initial_image].self_link_unique
  }

  dynamic "named_port" {
    for_each = var.edge.listeners
    content {
      name = named_port.value.name
      port = named_port.value.port
    }
  }

  auto_healing_policies {
    health_check      = google_compute_health_check.liveness.id
    initial_delay_sec = var.edge.health_checks.liveness.initial_delay_s
  }

  # A repaired VM comes back on the image it had: only replace.yml moves images.
  instance_lifecycle_policy {
    default_action_on_failure = "REPAIR"
    force_update_on_repair    = "NO"
  }

  # Nothing happens on its own: a new template waits for replace.yml, and VMs are not moved between zones behind a
  # rollout's back.
  update_policy {
    type                           = "OPPORTUNISTIC"
    minimal_action                 = "REPLACE"
    most_disruptive_allowed_action = "REPLACE"
    replacement_method             = "SUBSTITUTE"
    instance_redistribution_type   = "NONE"
    max_surge_fixed                = coalesce(var.update.max_surge, length(var.region.zones))
    max_unavailable_fixed          = var.update.max_unavailable
  }

  # Written without a pool too: the provider keeps what Google holds when they are left out, and the VMs would stay.
  standby_policy {
    initial_delay_sec = var.standby.initial_delay_s
    mode              = var.standby.stopped > 0 ? "SCALE_OUT_POOL" : "MANUAL"
  }
  target_stopped_size = var.standby.stopped

  # VMs become ready only once a release is desired, which is after the first apply.
  wait_for_instances = false

  # No create_before_destroy: the name is fixed, a second group would answer 409.
  lifecycle {
    ignore_changes = [version]
  }

  # The first VM reads the bucket and writes logs within seconds of its boot.
  depends_on = [
    google_project_iam_member.this,
    google_storage_bucket_iam_member.reader,
  ]
}
