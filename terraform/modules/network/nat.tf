locals {
  nat = { for region, r in var.regions : region => r.nat if r.nat.enabled }

  nat_addresses = merge([
    for region, nat in local.nat : {
      for i in range(nat.addresses) : "${region}-${i}" => region
    }
  ]...)
}

resource "google_compute_router" "this" {
  for_each = local.nat

  project = var.project_id
  name    = "${var.name}-${each.key}"
  network = google_compute_network.this.id
  region  = each.key
}

resource "google_compute_address" "nat" {
  for_each = local.nat_addresses

  project = var.project_id
  name    = "${var.name}-nat-${each.key}"
  region  = each.value

  # The NAT stops using an address before it is released; what Terraform has stored decides, so it is here from the start.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_router_nat" "this" {
  for_each = local.nat

  project = var.project_id
  name    = "${var.name}-${each.key}"
  router  = google_compute_router.this[each.key].name
  region  = each.key

  nat_ip_allocate_option = each.value.addresses > 0 ? "MANUAL_ONLY" : "AUTO_ONLY"
  nat_ips                = each.value.addresses > 0 ? [for k, r in local.nat_addresses : google_compute_address.nat[k].self_link if r == each.key] : []

  # Load generators open thousands of connections to the one address of the external load balancer.
  enable_dynamic_port_allocation      = true
  enable_endpoint_independent_mapping = false
  min_ports_per_vm                    = 64
  max_ports_per_vm                    = 8192

  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.this[each.key].self_link
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = each.value.log
  }
}
