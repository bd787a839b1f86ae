output "name" {
  description = "The fleet's name."
  value       = var.name
}

output "uri" {
  description = "The fleet's folder in the bucket, as the VMs' metadata names it."
  value       = "gs://${var.bucket}/fleets/${var.name}"
}

output "group" {
  description = "The managed group: its name, region and zones, and the instance group that backend services take."
  value = {
    name           = google_compute_region_instance_group_manager.this.name
    region         = var.region.name
    zones          = var.region.zones
    instance_group = google_compute_region_instance_group_manager.this.instance_group
    surge          = coalesce(var.update.max_surge, length(var.region.zones))
    standby        = var.standby.stopped
  }
}

output "autoscaler" {
  description = "The autoscaler's name and its declared bounds, to which a rollout returns."
  value = {
    name = google_compute_region_autoscaler.this.name
    min  = var.autoscaling.min
    max  = var.autoscaling.max
  }
}

output "templates" {
  description = "Image key => its template, image and machine type; playbooks/replace.yml takes the key."
  value = {
    for k, t in google_compute_instance_template.this : k => {
      template     = t.self_link_unique
      image        = var.images[k].source
      machine_type = var.images[k].machine_type
    }
  }
}

output "service_account" {
  description = "The VMs' identity."
  value = {
    email  = var.service_account.email
    member = var.service_account.member
  }
}

output "labels" {
  description = "Labels that every VM of the fleet bears; the inventory selects by skfleet-fleet."
  value       = local.labels
}
