module "edge_external" {
  source = "./modules/edge_external"

  project      = local.project
  name         = var.name
  edge         = local.edge
  domains      = var.external.domains
  certificates = var.external.certificates
  dns_zone     = var.external.dns_zone

  backends              = { for region in keys(local.serving) : region => { instance_group = module.fleet[region].group.instance_group } }
  max_rate_per_instance = var.fleet.max_rate_per_instance
  log_sample_rate       = var.external.log_sample_rate

  iap = {
    members              = merge(var.members.accessors, { "loadgen" = module.loadgen.service_account.member })
    programmatic_clients = var.external.programmatic_clients
  }
  iap_oauth_client = var.iap_oauth_client

  # Load generators all come from the NAT's addresses; where those are reserved they skip the rate limit.
  armor = merge(var.external.armor, {
    exempt_ranges = concat(var.external.armor.exempt_ranges, [for a in local.nat_addresses : "${a}/32"])
  })

  depends_on = [google_project_service.this]
}

locals {
  nat_addresses = local.loadgen.count == 0 ? [] : lookup(module.network.nat_addresses, local.loadgen.region, [])
}

module "edge_internal" {
  source = "./modules/edge_internal"

  project  = local.project
  name     = var.name
  edge     = local.edge
  network  = module.network.network.id
  hostname = var.internal.hostname

  regions = {
    for region, r in local.serving : region => {
      instance_group       = module.fleet[region].group.instance_group
      subnetwork           = module.network.subnetworks[region]
      proxy_subnetwork     = module.network.proxy_subnetworks[region]
      certificates         = r.internal_certificates
      managed_certificates = r.internal_managed_certificates
    }
  }

  max_rate_per_instance = var.fleet.max_rate_per_instance
  log_sample_rate       = var.internal.log_sample_rate
  global_access         = var.internal.global_access
  allowed_ranges        = var.internal.allowed_ranges
  iap                   = var.internal.iap

  depends_on = [google_project_service.this]
}
