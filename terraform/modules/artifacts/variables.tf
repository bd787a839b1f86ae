variable "project_id" {
  description = "Project that holds the bucket."
  type        = string
  nullable    = false
}

variable "bucket" {
  description = "The bucket: a globally unique name, and where it lies. `data_locations` (two regions of a continent `location`) makes it dual-region, with `turbo` replication within 15 minutes."
  type = object({
    name             = string
    location         = string
    data_locations   = optional(list(string), [])
    turbo            = optional(bool, false)
    labels           = optional(map(string), {})
    soft_delete_days = optional(number, 30)
    kms_key          = optional(string) # a Cloud KMS key of the same location; empty: Google's keys
    noncurrent = optional(object({
      days = optional(number, 90) # versions replaced longer ago than this go …
      keep = optional(number, 20) # … except the newest so many of each object
    }), {})
  })
  nullable = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.bucket.name))
    error_message = "bucket.name must have 3 to 63 lower-case letters, digits, dashes or underscores."
  }

  validation {
    condition     = contains([0, 2], length(var.bucket.data_locations))
    error_message = "bucket.data_locations must name two regions (dual-region), or none."
  }

  validation {
    condition     = !var.bucket.turbo || length(var.bucket.data_locations) == 2
    error_message = "bucket.turbo needs data_locations: turbo replication exists for dual-region buckets alone."
  }

  validation {
    condition     = var.bucket.soft_delete_days >= 7 && var.bucket.soft_delete_days <= 90
    error_message = "bucket.soft_delete_days must lie between 7 and 90 (Google's bounds)."
  }

  validation {
    # Ten releases of history are never deleted; their documents are rewritten at every rollout.
    condition     = var.bucket.noncurrent.days >= 30 && var.bucket.noncurrent.keep >= 10
    error_message = "bucket.noncurrent must keep replaced versions at least 30 days and the newest 10 of them."
  }
}

variable "members" {
  description = "Who does what, as a free name => IAM member. The names key the grants, so that a member not yet made can be granted."
  type = object({
    readers    = optional(map(string), {}) # read everything
    publishers = optional(map(string), {}) # create models, builds, bundles, releases; move models/<name>/latest.json
    deployers  = optional(map(string), {}) # create releases; change fleets/ except environment.json
    terraform  = optional(map(string), {}) # write fleets/<fleet>/environment.json
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for m in concat(values(var.members.readers), values(var.members.publishers), values(var.members.deployers), values(var.members.terraform)) :
      !startswith(m, "allUsers") && !startswith(m, "allAuthenticatedUsers") && can(regex("^[a-zA-Z]+:", m))
    ])
    error_message = "members must be IAM members with a kind (serviceAccount:, user:, group:, principalSet:, …); the public is never one of them."
  }
}
