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

variable "domains" {
  description = "Host names served, the first one being the service's own. Each managed certificate covers one of them, so that a new name never touches the certificate of another."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.domains) > 0 && length(distinct(var.domains)) == length(var.domains) && alltrue([for d in var.domains : can(regex("^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)+$", d))])
    error_message = "domains must name at least one fully qualified host name in lower case, none twice."
  }

  validation {
    # A target proxy holds 15 certificates.
    condition     = length(var.domains) + length(var.certificates) <= 15
    error_message = "a target proxy holds 15 certificates; domains and certificates together exceed that."
  }
}

variable "certificates" {
  description = "Self links of global Compute Engine certificates given by you; they replace Google-managed ones. Empty: Google manages one a domain, once DNS points at the address."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for c in var.certificates : can(regex("global/sslCertificates/", c))])
    error_message = "certificates must be self links of global sslCertificates."
  }
}

variable "dns_zone" {
  description = "Name of a public Cloud DNS zone of the project in which the domains' A records are kept; null when DNS is kept elsewhere."
  type        = string
  default     = null
}

variable "backends" {
  description = "Key => instance group, one a region."
  type        = map(object({ instance_group = string }))
  nullable    = false

  validation {
    condition     = length(var.backends) > 0
    error_message = "backends must have at least one instance group."
  }
}

variable "edge" {
  description = "Listener, readiness check, retries, outliers and timeouts, as edge.yml declares them."
  type = object({
    listeners = object({
      iap    = object({ name = string, port = number })
      health = object({ name = string, port = number })
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

variable "iap" {
  description = "Who passes IAP: free name => IAM member. `programmatic_clients` are OAuth client ids whose ID tokens IAP takes beside service-account JWTs."
  type = object({
    members              = optional(map(string), {})
    programmatic_clients = optional(list(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for m in var.iap.members : !startswith(m, "allUsers") && !startswith(m, "allAuthenticatedUsers") && can(regex("^[a-zA-Z]+:", m))])
    error_message = "iap.members must be IAM members with a kind (user:, group:, domain:, serviceAccount:, …); the public is never one of them."
  }
}

# Beside `iap` because it is secret: the client's secret lands in the state, as every argument that is not write-only does.
variable "iap_oauth_client" {
  description = "OAuth client of your own; needed to admit users from outside the organisation. Empty: Google's managed client. The secret is kept in the state: guard the state as you would guard it."
  type = object({
    client_id     = optional(string)
    client_secret = optional(string)
  })
  default   = {}
  nullable  = false
  sensitive = true

  validation {
    condition     = (var.iap_oauth_client.client_id == null) == (var.iap_oauth_client.client_secret == null)
    error_message = "iap_oauth_client needs both client_id and client_secret, or neither."
  }
}

variable "armor" {
  description = "Cloud Armor. `allowed_ranges` empty: everyone may knock (IAP decides). `exempt_ranges` skip the rate limit (load generators) and are always allowed. `waf` are preconfigured rule sets; `preview` logs their verdicts without enforcing them."
  type = object({
    allowed_ranges = optional(list(string), [])
    exempt_ranges  = optional(list(string), [])
    rate_limit = optional(object({
      requests   = optional(number, 6000) # a client address …
      interval_s = optional(number, 60)   # … within this time; beyond: 429, which no load balancer retries
    }), {})
    waf = optional(map(object({
      sensitivity = optional(number, 1)
      preview     = optional(bool, false)
      })), {
      "sqli-v33-stable"             = {}
      "xss-v33-stable"              = {}
      "lfi-v33-stable"              = {}
      "rce-v33-stable"              = {}
      "protocolattack-v33-stable"   = {}
      "scannerdetection-v33-stable" = {}
    })
    adaptive = optional(bool, true)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for r in var.armor.allowed_ranges : can(cidrhost(r, 0)) && !endswith(r, "/0")])
    error_message = "armor.allowed_ranges must be ranges in CIDR form; leave it empty to admit all addresses instead of naming a /0."
  }

  validation {
    condition     = alltrue([for w in var.armor.waf : w.sensitivity >= 1 && w.sensitivity <= 4])
    error_message = "armor.waf[*].sensitivity must lie between 1 and 4."
  }

  validation {
    condition     = contains([10, 30, 60, 120, 180, 240, 300, 600, 900, 1200, 1800, 2700, 3600], var.armor.rate_limit.interval_s) && var.armor.rate_limit.requests > 0
    error_message = "armor.rate_limit: requests must be above 0 and interval_s one of 10, 30, 60, 120, 180, 240, 300, 600, 900, 1200, 1800, 2700, 3600 (Cloud Armor's list)."
  }
}
