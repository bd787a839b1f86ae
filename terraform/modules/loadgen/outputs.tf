output "service_account" {
  description = "Identity of the load generators; both edges must admit it."
  value = {
    email  = google_service_account.this.email
    member = google_service_account.this.member
  }
}

output "instances" {
  description = "Name => zone, address inside the network and part in the test (leader or worker)."
  value = {
    for k, i in google_compute_instance.this : i.name => {
      zone    = i.zone
      address = i.network_interface[0].network_ip
      part    = local.instances[k]
    }
  }
}
