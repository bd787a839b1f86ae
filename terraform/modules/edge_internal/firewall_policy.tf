# The firewall of the VMs sees the proxies' addresses alone. Which clients may connect is therefore decided by a firewall
# policy whose target is the load balancer itself.
locals {
  guarded = length(var.allowed_ranges) > 0 ? var.regions : {}
}

resource "google_compute_region_network_firewall_policy" "clients" {
  for_each = local.guarded

  project     = var.project.id
  name        = "${var.name}-internal-clients"
  region      = each.key
  description = "Client addresses that may connect to the internal load balancer."
}

resource "google_compute_region_network_firewall_policy_rule" "allow" {
  for_each = local.guarded

  project                 = var.project.id
  region                  = each.key
  firewall_policy         = google_compute_region_network_firewall_policy.clients[each.key].name
  rule_name               = "allow-clients"
  priority                = 1000
  direction               = "INGRESS"
  action                  = "allow"
  target_type             = "INTERNAL_MANAGED_LB"
  target_forwarding_rules = [google_compute_forwarding_rule.this[each.key].self_link]

  match {
    src_ip_ranges = var.allowed_ranges
    layer4_configs {
      ip_protocol = "tcp"
      ports       = ["443"]
    }
  }

  # A forwarding rule that is made anew is let go of first.
  lifecycle {
    replace_triggered_by = [google_compute_forwarding_rule.this[each.key].id]
  }
}

resource "google_compute_region_network_firewall_policy_rule" "deny" {
  for_each = local.guarded

  project                 = var.project.id
  region                  = each.key
  firewall_policy         = google_compute_region_network_firewall_policy.clients[each.key].name
  rule_name               = "deny-others"
  priority                = 2000
  direction               = "INGRESS"
  action                  = "deny"
  target_type             = "INTERNAL_MANAGED_LB"
  target_forwarding_rules = [google_compute_forwarding_rule.this[each.key].self_link]

  match {
    src_ip_ranges = ["0.0.0.0/0"]
    layer4_configs {
      ip_protocol = "all"
    }
  }

  lifecycle {
    replace_triggered_by = [google_compute_forwarding_rule.this[each.key].id]
  }
}

resource "google_compute_region_network_firewall_policy_association" "clients" {
  for_each = local.guarded

  project           = var.project.id
  region            = each.key
  name              = "${var.name}-internal-clients"
  firewall_policy   = google_compute_region_network_firewall_policy.clients[each.key].name
  attachment_target = var.network

  # Attached once it is whole: denial without its exceptions would cut everybody off for a moment.
  depends_on = [
    google_compute_region_network_firewall_policy_rule.allow,
    google_compute_region_network_firewall_policy_rule.deny,
  ]
}
