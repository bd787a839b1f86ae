resource "google_monitoring_notification_channel" "email" {
  for_each = var.channels.emails

  project      = var.project_id
  display_name = "${var.name} ${each.key}"
  type         = "email"
  labels       = { email_address = each.value }

  # Alerts stop naming a channel before it is deleted; what Terraform has stored decides, so it is here from the start.
  lifecycle {
    create_before_destroy = true
  }
}

locals {
  channels = concat([for c in google_monitoring_notification_channel.email : c.name], var.channels.existing)
}
