locals {
  slo  = yamldecode(file("${path.root}/../slo.yml"))
  edge = yamldecode(file("${path.root}/../edge.yml"))

  project = { id = var.project_id, number = tostring(data.google_project.this.number) }
  labels  = merge(var.labels, { "skfleet" = var.name, "skfleet-environment" = var.environment })

  serving = { for region, r in var.regions : region => r if r.serving }

  # Identities of the workflows, under names that are known before they exist.
  workload = {
    planner   = var.delivery == null ? {} : { "workflow-plan" = module.delivery[0].service_accounts["planner"].member }
    publisher = var.delivery == null ? {} : { "workflow-publish" = module.delivery[0].service_accounts["publisher"].member }
    deployer  = var.delivery == null ? {} : { "workflow-deploy" = module.delivery[0].service_accounts["deployer"].member }
  }

  # A runner inside the network rolls out, too; one that is named among the deployers already is granted once.
  ssh_runners = { for e in var.ssh_runners : "ssh-runner-${e}" => "serviceAccount:${e}" if !contains(values(var.members.deployers), "serviceAccount:${e}") }

  deployers = merge(var.members.deployers, local.workload.deployer, local.ssh_runners)
}
