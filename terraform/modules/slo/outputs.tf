output "alerts" {
  description = "Objective => display names of its alerts."
  value = {
    availability = sort([for p in google_monitoring_alert_policy.availability : p.display_name])
    latency      = sort([for p in google_monitoring_alert_policy.latency : p.display_name])
    health       = sort([for p in google_monitoring_alert_policy.health : p.display_name])
    uptime       = [for p in google_monitoring_alert_policy.uptime : p.display_name]
  }
}

output "dashboard" {
  description = "Id of the dashboard."
  value       = google_monitoring_dashboard.this.id
}

output "channels" {
  description = "Notification channels that the alerts use."
  value       = local.channels
}
