module "slo" {
  source = "./modules/slo"

  project_id = var.project_id
  name       = var.name
  slo        = local.slo
  bucket     = module.artifacts.bucket
  fleets     = sort([for f in module.fleet : f.name])

  edges = {
    external = { kind = "external", url_map = module.edge_external.url_map }
    internal = { kind = "internal", url_map = module.edge_internal.url_map }
  }

  channels = var.observability.channels
  uptime = var.observability.uptime ? {
    host = var.external.domains[0]
    path = var.observability.uptime_path
    # Checkers are on nobody's allow list: what they get from outside one is Cloud Armor's refusal.
    status = length(var.external.armor.allowed_ranges) > 0 ? 403 : 401
  } : null
  long_lookback = var.observability.long_lookback
  project_wide  = var.observability.project_wide
  budget        = var.observability.budget

  depends_on = [google_project_service.this]
}
