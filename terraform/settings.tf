# A key that no variable declares would vanish without a word. So the tfvars files are read a second time, as they were written, and compared:
# those in environments/ that name this project, and those beside this file, which Terraform loads by itself.
locals {
  # A file that cannot be read is Terraform's own to refuse, where it is this plan's.
  tfvars = {
    for name in setunion([for pattern in ["*.tfvars", "*.tfvars.json", "environments/*.tfvars", "environments/*.tfvars.json"] : fileset(path.root, pattern)]...) :
    name => try(provider::terraform::decode_tfvars(file("${path.root}/${name}")), jsondecode(file("${path.root}/${name}")), {})
  }
}

module "settings" {
  source = "./modules/settings"

  given = { for name, settings in local.tfvars : name => settings if !startswith(name, "environments/") || try(settings.project_id, "") == var.project_id }

  maps = [
    "labels", "regions", "fleet.images", "fleet.autoscaling.schedules",
    "members.publishers", "members.deployers", "members.terraform", "members.accessors",
    "external.armor.waf", "internal.iap.members", "observability.channels.emails",
  ]

  declared = {
    project_id    = var.project_id
    name          = var.name
    environment   = var.environment
    labels        = var.labels
    regions       = var.regions
    flow_logs     = var.flow_logs
    fleet         = var.fleet
    artifacts     = var.artifacts
    members       = var.members
    external      = var.external
    internal      = var.internal
    ssh_runners   = var.ssh_runners
    observability = var.observability
    loadgen       = var.loadgen
    delivery      = var.delivery
    # Sensitive: its keys alone.
    iap_oauth_client = { for k in keys(nonsensitive(var.iap_oauth_client)) : k => null }
  }
}
