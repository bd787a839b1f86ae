# Who may call, for the service on the VMs. It cannot travel in the template: the audience holds an id that exists only after
# the backend service, which needs the group, which needs the template. So it is written last, and the VMs reread it.
locals {
  allowed_callers = sort(distinct(concat(
    var.internal.allowed_callers,
    [module.loadgen.service_account.email],
  )))

  environments = {
    for region, fleet in module.fleet : region => {
      schema_version = 1
      fleet          = fleet.name
      iap = {
        audiences = concat(
          [module.edge_external.iap_audience],
          contains(keys(local.serving), region) && var.internal.iap.enabled ? module.edge_internal.iap_audiences[region] : [],
        )
      }
      internal = {
        identity  = var.internal.identity
        audiences = concat([module.edge_internal.url], var.internal.audiences)
        # The VM's own account too: before traffic returns, a rollout's gate asks the service over the internal listener.
        allowed_callers = sort(distinct(concat(local.allowed_callers, [fleet.service_account.email])))
      }
    }
  }
}

resource "google_storage_bucket_object" "environment" {
  for_each = module.fleet

  bucket        = module.artifacts.bucket
  name          = "fleets/${each.value.name}/environment.json"
  content       = jsonencode(local.environments[each.key])
  content_type  = "application/json"
  cache_control = "no-store"
}

check "internal_identity" {
  assert {
    condition     = var.internal.identity == "id-token"
    error_message = "The internal listener asks nobody for identity (internal.identity = none): anything that reaches the internal load balancer may call."
  }
}
