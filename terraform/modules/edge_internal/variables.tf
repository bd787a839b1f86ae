variable "project" {
  description = "Project: its id, and its number, which IAP's audiences are made of."
  type        = object({ id = string, number = string })
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+$", var.project.number))
    error_message = "project.number must be the project's number, not its id: IAP's tokens carry the number."
  }
}

variable "name" {
  description = "Prefix of every name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 25 lower-case letters, digits or dashes, start with a letter and not end with a dash."
  }
}

variable "network" {
  description = "Id of the network whose members may call, and which sees the private zone."
  type        = string
  nullable    = false
}

variable "hostname" {
  description = "Private name of the service; it becomes a private zone of its own, and https://<hostname> the audience of callers' ID tokens."
  type        = string
  default     = "skfleet.internal"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)+$", var.hostname))
    error_message = "hostname must be a fully qualified host name in lower case."
  }
}

variable "regions" {
  description = "Region => its group, subnets and certificates. `proxy_subnetwork` is the proxy-only subnet, which must exist before and outlive the load balancer. `certificates` are regional Compute Engine certificates; `managed_certificates` are ids of regional Certificate Manager certificates. One of the two."
  type = map(object({
    instance_group       = string
    subnetwork           = string
    proxy_subnetwork     = string
    certificates         = optional(list(string), [])
    managed_certificates = optional(list(string), [])
  }))
  nullable = false

  validation {
    condition     = length(var.regions) > 0
    error_message = "regions must name at least one region."
  }

  validation {
    condition     = alltrue([for r in var.regions : (length(r.certificates) > 0) != (length(r.managed_certificates) > 0)])
    error_message = "every region needs certificates or managed_certificates, not both: a regional load balancer cannot use a global certificate. docs/deploy.md shows how to make one."
  }
}

variable "global_access" {
  description = "Whether clients in other regions of the network may call."
  type        = bool
  default     = true
  nullable    = false
}

variable "allowed_ranges" {
  description = "Client addresses that may connect; empty: every address of the network and of what is joined to it (the ID token decides)."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for r in var.allowed_ranges : can(cidrhost(r, 0)) && !endswith(r, "/0")])
    error_message = "allowed_ranges must be ranges in CIDR form; leave it empty to admit all instead of naming a /0."
  }
}

variable "iap" {
  description = "IAP on the internal load balancer. It then speaks to the IAP listener, which checks IAP's header always."
  type = object({
    enabled = optional(bool, false)
    members = optional(map(string), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for m in var.iap.members : !startswith(m, "allUsers") && !startswith(m, "allAuthenticatedUsers") && can(regex("^[a-zA-Z]+:", m))])
    error_message = "iap.members must be IAM members with a kind (user:, group:, serviceAccount:, …); the public is never one of them."
  }

  validation {
    condition     = var.iap.enabled || length(var.iap.members) == 0
    error_message = "iap.members admits nobody while iap.enabled is false: enable it or drop the members."
  }
}

variable "edge" {
  description = "Listener, readiness check, retries, outliers and timeouts, as edge.yml declares them."
  type = object({
    listeners = object({
      iap      = object({ name = string, port = number })
      internal = object({ name = string, port = number })
      health   = object({ name = string, port = number })
    })
    health_checks = object({
      readiness = object({
        path                = string
        interval_s          = number
        timeout_s           = number
        healthy_threshold   = number
        unhealthy_threshold = number
      })
    })
    retries = object({
      conditions        = list(string)
      attempts          = number
      per_try_timeout_s = number
    })
    outliers = object({
      consecutive_gateway_failures = number
      interval_s                   = number
      ejection_s                   = number
      max_ejection_percent         = number
    })
    timeouts = object({
      request_s           = number
      drain_s             = number
      client_keepalive_s  = number
      backend_keepalive_s = optional(number, 600)
    })
  })
  nullable = false

  validation {
    condition     = var.edge.timeouts.drain_s >= var.edge.timeouts.request_s
    error_message = "timeouts.drain_s must not be below request_s: draining would cut requests that may still be answered."
  }

  validation {
    condition     = var.edge.outliers.max_ejection_percent > 0 && var.edge.outliers.max_ejection_percent < 100
    error_message = "outliers.max_ejection_percent must lie between 0 and 100: above 0, or nothing is taken out; below 100, or nobody may be left."
  }

  validation {
    condition     = (var.edge.retries.attempts + 1) * var.edge.retries.per_try_timeout_s <= var.edge.timeouts.request_s
    error_message = "the first try and all retries must fit into timeouts.request_s: (attempts + 1) × per_try_timeout_s exceeds it."
  }

  validation {
    condition     = alltrue([for c in var.edge.retries.conditions : contains(["5xx", "gateway-error", "connect-failure", "retriable-4xx", "refused-stream"], c)])
    error_message = "retries.conditions knows 5xx, gateway-error, connect-failure, retriable-4xx and refused-stream: that is what Google's URL maps offer for HTTP."
  }

  validation {
    condition     = var.edge.health_checks.readiness.timeout_s <= var.edge.health_checks.readiness.interval_s
    error_message = "readiness.timeout_s must not exceed interval_s: Google refuses it."
  }
}

variable "max_rate_per_instance" {
  description = "Requests a second that one VM takes; load balancing and load-balancing autoscaling weigh by it. Both edges of a fleet must say the same: the group stands behind both, in one balancing mode."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.max_rate_per_instance > 0
    error_message = "max_rate_per_instance must be above 0."
  }
}

variable "log_sample_rate" {
  description = "Share of requests that are logged."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.log_sample_rate >= 0 && var.log_sample_rate <= 1
    error_message = "log_sample_rate is a share between 0 and 1."
  }
}
