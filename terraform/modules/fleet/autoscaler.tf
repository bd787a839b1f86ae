resource "google_compute_region_autoscaler" "this" {
  project = var.project_id
  name    = var.name
  region  = var.region.name
  target  = google_compute_region_instance_group_manager.this.id

  autoscaling_policy {
    mode                 = "ON"
    min_replicas         = var.autoscaling.min
    max_replicas         = var.autoscaling.max
    cooldown_period      = var.autoscaling.cooldown_s
    stabilization_period = var.autoscaling.stabilization_s

    cpu_utilization {
      target            = var.autoscaling.cpu_target
      predictive_method = var.autoscaling.predictive ? "OPTIMIZE_AVAILABILITY" : "NONE"
    }

    dynamic "load_balancing_utilization" {
      for_each = var.autoscaling.load_balancing_target == null ? [] : [1]
      content {
        target = var.autoscaling.load_balancing_target
      }
    }

    scale_in_control {
      time_window_sec = var.autoscaling.scale_in.window_s
      max_scaled_in_replicas {
        fixed   = var.autoscaling.scale_in.replicas
        percent = var.autoscaling.scale_in.percent
      }
    }

    dynamic "scaling_schedules" {
      for_each = var.autoscaling.schedules
      content {
        name                  = scaling_schedules.key
        description           = scaling_schedules.value.description
        min_required_replicas = scaling_schedules.value.min
        schedule              = scaling_schedules.value.cron
        duration_sec          = scaling_schedules.value.duration_s
        time_zone             = scaling_schedules.value.time_zone
        disabled              = scaling_schedules.value.disabled
      }
    }
  }

  lifecycle {
    # A rollout raises the minimum by its batch and may set ONLY_SCALE_OUT. Terraform in the middle would undo that. A new
    # minimum reaches Google with -replace of this resource, which leaves the VMs alone.
    ignore_changes = [
      autoscaling_policy[0].mode,
      autoscaling_policy[0].min_replicas,
    ]
  }
}
