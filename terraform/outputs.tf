# Ansible's contract: `terraform output -json ansible`. Additions keep schema_version; a renamed or dropped field raises it.
output "ansible" {
  description = "All that playbooks need to know of the cloud; README.md describes each field."
  value = {
    schema_version = 1
    project        = var.project_id
    name           = var.name
    environment    = var.environment
    bucket         = module.artifacts.bucket
    listeners      = local.edge.listeners

    fleets = {
      for region, f in module.fleet : f.name => {
        region          = region
        zones           = f.group.zones
        uri             = f.uri
        group           = f.group.name
        autoscaler      = f.autoscaler.name
        min             = f.autoscaler.min
        max             = f.autoscaler.max
        max_surge       = f.group.surge
        standby         = f.group.standby
        templates       = f.templates
        service_account = f.service_account.email
        labels          = { "skfleet-fleet" = f.name }
        # Rollouts wait for both views of a VM's health; null while the region is out of the load balancers.
        external_backend_service = contains(keys(local.serving), region) ? module.edge_external.backend_service : null
        internal_backend_service = contains(keys(local.serving), region) ? module.edge_internal.backend_services[region] : null
      }
    }

    external = {
      url          = module.edge_external.url
      address      = module.edge_external.address
      certificates = module.edge_external.certificates
      iap_audience = module.edge_external.iap_audience
    }

    internal = {
      url       = module.edge_internal.url
      addresses = module.edge_internal.addresses
      identity  = var.internal.identity
      # Region => what IAP may sign for there; the doctor compares with a real call.
      iap_audiences = module.edge_internal.iap_audiences
    }

    loadgen = {
      service_account = module.loadgen.service_account.email
      instances       = module.loadgen.instances
    }
  }
}

output "environments" {
  description = "Fleet => the environment.json written for it."
  value       = { for region, e in local.environments : module.fleet[region].name => e }
}

output "delivery" {
  description = "What the workflows' variables are set to; null without delivery."
  value = var.delivery == null ? null : {
    workload_identity_provider = module.delivery[0].provider
    service_accounts           = { for role, sa in module.delivery[0].service_accounts : role => sa.email }
  }
}

output "bake_vm" {
  description = "Service account (e-mail address) that Packer gives to the VM it bakes on."
  value       = google_service_account.bake_vm.email
}

output "alerts" {
  description = "Objective => its alerts."
  value       = module.slo.alerts
}
