module "network" {
  source = "./modules/network"

  project_id = var.project_id
  name       = var.name
  listeners  = local.edge.listeners

  regions = {
    for region, r in var.regions : region => {
      range       = r.range
      proxy_range = r.proxy_range
      nat         = r.nat
    }
  }

  service_accounts = {
    fleet       = [for sa in google_service_account.fleet : sa.email]
    ssh_targets = [module.loadgen.service_account.email, google_service_account.bake_vm.email]
    ssh_runners = var.ssh_runners
  }

  internal_iap = var.internal.iap.enabled
  flow_logs    = var.flow_logs

  depends_on = [google_project_service.this]
}
