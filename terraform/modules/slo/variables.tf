variable "project_id" {
  description = "Project whose metrics are judged."
  type        = string
  nullable    = false
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

variable "slo" {
  description = "Objectives and alerts, as slo.yml declares them."
  type = object({
    window_days = number
    objectives = object({
      availability = object({ target = number })
      latency = object({
        percentile    = number
        threshold_ms  = number
        slice_seconds = number
        slices_target = number
      })
      memory = object({ max_mib = number })
    })
    alerts = map(list(object({
      long_window    = string
      short_window   = string
      factor         = number
      budget_percent = number
    })))
  })
  nullable = false

  validation {
    condition     = var.slo.objectives.availability.target > 0 && var.slo.objectives.availability.target < 1
    error_message = "objectives.availability.target is a share below 1: a target of 1 leaves no budget to alert on."
  }

  validation {
    # google_monitoring_slo refuses more. Availability is alerted on without one, so only the slices are bound by it.
    condition     = var.slo.objectives.latency.slices_target > 0 && var.slo.objectives.latency.slices_target <= 0.999
    error_message = "objectives.latency.slices_target must be at most 0.999: Cloud Monitoring refuses a higher goal."
  }

  validation {
    condition     = var.slo.objectives.latency.slice_seconds >= 60 && var.slo.objectives.latency.slice_seconds % 60 == 0 && 86400 % var.slo.objectives.latency.slice_seconds == 0
    error_message = "objectives.latency.slice_seconds must be whole minutes that divide a day: load balancers report once a minute, and Cloud Monitoring takes no other windows."
  }

  validation {
    condition     = alltrue([for a in flatten(values(var.slo.alerts)) : can(regex("^[0-9]+[mhd]$", a.long_window)) && can(regex("^[0-9]+[mhd]$", a.short_window))])
    error_message = "alert windows must be a number with m, h or d, such as 5m or 6h."
  }

  validation {
    condition     = alltrue([for a in flatten(values(var.slo.alerts)) : a.factor * (1 - var.slo.objectives.availability.target) < 1 && a.factor * (1 - var.slo.objectives.latency.slices_target) < 1])
    error_message = "an alert's factor times the error budget reaches 1: it could never fire."
  }

  validation {
    condition     = length(setsubtract(keys(var.slo.alerts), ["page", "ticket"])) == 0
    error_message = "alerts knows the severities page and ticket."
  }
}

variable "edges" {
  description = "Key => a load balancer to judge: its kind and the name of its URL map."
  type = map(object({
    kind    = string
    url_map = string
  }))
  nullable = false

  validation {
    condition     = alltrue([for e in var.edges : contains(["external", "internal"], e.kind)])
    error_message = "edges[*].kind must be external or internal."
  }
}

variable "channels" {
  description = "Who hears of alerts: free name => e-mail address, and ids of channels that exist already (PagerDuty, chat)."
  type = object({
    emails   = optional(map(string), {})
    existing = optional(list(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for e in var.channels.emails : can(regex("^[^@ ]+@[^@ ]+$", e))])
    error_message = "channels.emails must be e-mail addresses."
  }

  validation {
    condition     = alltrue([for c in var.channels.existing : can(regex("^projects/[^/]+/notificationChannels/", c))])
    error_message = "channels.existing must be ids of the form projects/<project>/notificationChannels/<number>."
  }
}

variable "uptime" {
  description = "Host that Google's checkers ask over HTTPS from outside; null: no uptime check. `status` is the answer that they must get: IAP's 401, which proves DNS, certificate, load balancer and IAP, not the VMs; or Cloud Armor's 403 where an allow list keeps them out."
  type = object({
    host   = string
    path   = optional(string, "/readyz")
    status = optional(number, 401)
  })
  default = null

  validation {
    condition     = var.uptime == null ? true : contains([401, 403], var.uptime.status) && startswith(var.uptime.path, "/")
    error_message = "uptime.status must be 401 (IAP) or 403 (Cloud Armor's allow list): checkers follow redirects, and a 200 would mean that IAP is off. uptime.path must start with a slash."
  }
}

variable "fleets" {
  description = "Names of the fleets, for the dashboard."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "bucket" {
  description = "Bucket whose writes tell of rollouts."
  type        = string
  nullable    = false
}

variable "memory_metric" {
  description = "Prometheus metric of the service's control group in bytes, as the Ops Agent collects it."
  type        = string
  default     = "skfleet_memory_bytes"
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z_:][a-zA-Z0-9_:]*$", var.memory_metric))
    error_message = "memory_metric must be a Prometheus metric name."
  }
}

variable "long_lookback" {
  description = "Whether PromQL alerts may look back further than a day. Google offers that as a preview; without it a longer window is judged over 24 hours with the same factor, which fires earlier."
  type        = bool
  default     = false
  nullable    = false
}

variable "project_wide" {
  description = "Settings that exist once a project: data access logs of Cloud Storage and IAP, and the retention of the _Default log bucket. Exactly one fleet of a project manages them."
  type = object({
    enabled            = optional(bool, true)
    log_retention_days = optional(number, 30)  # beyond 30 days Google charges for keeping
    audit_reads        = optional(bool, false) # every read of the bucket, too: much
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.project_wide.log_retention_days >= 1 && var.project_wide.log_retention_days <= 3650
    error_message = "project_wide.log_retention_days must lie between 1 and 3650 (Google's bounds)."
  }
}

variable "budget" {
  description = "Monthly budget of the project with its warnings; null: none. Google warns, it does not stop anything: autoscaling.max is the cap."
  type = object({
    billing_account = string
    amount          = number
    currency        = optional(string, "USD")
    thresholds      = optional(list(number), [0.5, 0.9, 1])
  })
  default = null

  validation {
    condition     = var.budget == null ? true : var.budget.amount >= 1 && alltrue([for t in var.budget.thresholds : t > 0])
    error_message = "budget.amount must be at least 1, and thresholds shares above 0."
  }
}
