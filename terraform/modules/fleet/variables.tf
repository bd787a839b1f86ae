variable "project_id" {
  description = "Project that holds the fleet."
  type        = string
  nullable    = false
}

variable "name" {
  description = "The fleet's name: that of its group, and of its folder in the bucket (fleets/<name>)."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,47}[a-z0-9]$", var.name))
    error_message = "name must have 6 to 49 lower-case letters, digits or dashes, start with a letter and not end with a dash."
  }
}

variable "region" {
  description = "Region of the group and the zones it spreads over. Zones cannot change afterwards without replacing the group."
  type = object({
    name  = string
    zones = list(string)
  })
  nullable = false

  validation {
    condition     = length(var.region.zones) > 0 && length(distinct(var.region.zones)) == length(var.region.zones)
    error_message = "region.zones must name at least one zone, none twice."
  }

  validation {
    condition     = alltrue([for z in var.region.zones : startswith(z, "${var.region.name}-")])
    error_message = "region.zones must lie in region.name."
  }
}

variable "subnetwork" {
  description = "Self link of the subnet for the VMs."
  type        = string
  nullable    = false
}

variable "bucket" {
  description = "Name of the bucket with releases and fleets; the VMs read it."
  type        = string
  nullable    = false
}

variable "service_account" {
  description = "Identity of the VMs: its e-mail address, IAM member and full name. Made outside, because the network's firewall rules name it before there is a fleet."
  type = object({
    email  = string
    member = string
    name   = string
  })
  nullable = false
}

variable "production" {
  description = "True for a fleet that must outlive a zone: its minimum then covers every zone."
  type        = bool
  default     = false
  nullable    = false
}

variable "labels" {
  description = "Labels of the VMs and disks, beside `skfleet-fleet` and `skfleet-role`, which the inventory selects by. A change makes new templates: see images."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "edge" {
  description = "Listeners and the liveness check, as edge.yml declares them."
  type = object({
    listeners = object({
      iap      = object({ name = string, port = number })
      internal = object({ name = string, port = number })
      health   = object({ name = string, port = number })
    })
    health_checks = object({
      readiness = object({
        interval_s          = number
        unhealthy_threshold = number
      })
      liveness = object({
        path                = string
        interval_s          = number
        timeout_s           = number
        healthy_threshold   = number
        unhealthy_threshold = number
        initial_delay_s     = number
      })
    })
  })
  nullable = false

  validation {
    condition     = var.edge.health_checks.liveness.timeout_s <= var.edge.health_checks.liveness.interval_s
    error_message = "liveness.timeout_s must not exceed interval_s: Google refuses it."
  }

  validation {
    condition = (
      var.edge.health_checks.liveness.interval_s * var.edge.health_checks.liveness.unhealthy_threshold >
      var.edge.health_checks.readiness.interval_s * var.edge.health_checks.readiness.unhealthy_threshold
    )
    error_message = "autohealing must be more lenient than the load balancers (interval × unhealthy_threshold): a VM is taken out of traffic before it is recreated."
  }
}

variable "images" {
  description = "Templates, keyed by a name for the image: a new image is a new entry; the old entry goes after playbooks/replace.yml has moved the group. Everything that shapes a VM belongs to the entry, for an entry in use cannot change."
  type = map(object({
    source       = string # projects/<project>/global/images/<name>: one image, never a family
    machine_type = optional(string, "e2-standard-2")
    spot         = optional(bool, false)
    disk = optional(object({
      size_gb = optional(number, 20)
      type    = optional(string, "pd-balanced")
      kms_key = optional(string)
    }), {})
  }))
  nullable = false

  validation {
    condition     = length(var.images) > 0
    error_message = "images must have at least one entry."
  }

  validation {
    condition     = alltrue([for i in var.images : can(regex("^projects/[^/]+/global/images/[a-z][a-z0-9-]*$", i.source))])
    error_message = "images[*].source must pin one image (projects/<project>/global/images/<name>); a family would give each new VM whatever is newest."
  }

  validation {
    condition     = alltrue([for k in keys(var.images) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", k))])
    error_message = "keys of images must be lower-case letters, digits and dashes."
  }

  validation {
    condition     = alltrue([for i in var.images : i.disk.size_gb >= 10])
    error_message = "images[*].disk.size_gb must be at least 10."
  }
}

variable "initial_image" {
  description = "Key of `images` that the group is created with. Afterwards playbooks/replace.yml decides; move this along before an entry is removed."
  type        = string
  nullable    = false

  validation {
    condition     = contains(keys(var.images), var.initial_image)
    error_message = "initial_image must be a key of images; when its entry goes, name the one the group runs now."
  }
}

variable "autoscaling" {
  description = "Bounds and signals of the autoscaler. Playbooks move `min` and the mode for the length of a rollout, so Terraform sets them at creation alone."
  type = object({
    min                   = number
    max                   = number
    cpu_target            = optional(number, 0.6) # two slots a VM wait little up to here
    predictive            = optional(bool, false) # needs three days of history
    load_balancing_target = optional(number)      # share of the backends' max_rate_per_instance
    measured_boot_s       = optional(number, 90)  # boot until ready, as measured
    cooldown_s            = optional(number, 120)
    stabilization_s       = optional(number, 600)
    scale_in = optional(object({
      replicas = optional(number) # at most so many VMs a window …
      percent  = optional(number) # … or this share of the group; one of the two
      window_s = optional(number, 600)
    }), { replicas = 1 })
    schedules = optional(map(object({
      min         = number
      cron        = string
      duration_s  = number
      time_zone   = optional(string, "Etc/UTC")
      description = optional(string)
      disabled    = optional(bool, false)
    })), {})
  })
  nullable = false

  validation {
    condition     = var.autoscaling.min >= 1 && var.autoscaling.min <= var.autoscaling.max
    error_message = "autoscaling.min must be at least 1 and not above autoscaling.max."
  }

  validation {
    condition     = !var.production || var.autoscaling.min >= length(var.region.zones)
    error_message = "a production fleet needs autoscaling.min of at least one VM a zone: raise min, or name fewer zones."
  }

  validation {
    condition     = var.autoscaling.cooldown_s >= max(1, var.autoscaling.measured_boot_s)
    error_message = "autoscaling.cooldown_s must be at least 1 and not below measured_boot_s: the load of a VM that still boots would count as the group's."
  }

  validation {
    condition     = var.autoscaling.cpu_target > 0 && var.autoscaling.cpu_target <= 1 && coalesce(var.autoscaling.load_balancing_target, 0.8) > 0 && coalesce(var.autoscaling.load_balancing_target, 0.8) <= 1
    error_message = "autoscaling.cpu_target and load_balancing_target are shares: above 0, at most 1."
  }

  validation {
    condition     = (var.autoscaling.scale_in.replicas == null) != (var.autoscaling.scale_in.percent == null)
    error_message = "autoscaling.scale_in must set one of replicas and percent: an unlimited scale-in drops a fleet at the end of a peak."
  }

  validation {
    # The provider does not send a 0; Google would take its default instead.
    condition = (
      coalesce(var.autoscaling.scale_in.replicas, 1) >= 1 && coalesce(var.autoscaling.scale_in.percent, 1) >= 1
      && coalesce(var.autoscaling.scale_in.percent, 100) <= 100 && var.autoscaling.scale_in.window_s >= 1 && var.autoscaling.scale_in.window_s <= 3600
    )
    error_message = "autoscaling.scale_in: replicas must be at least 1, percent between 1 and 100, window_s between 1 and 3600; a 0 does not reach Google."
  }

  validation {
    condition     = var.autoscaling.stabilization_s >= 1 && var.autoscaling.stabilization_s <= 3600
    error_message = "autoscaling.stabilization_s must lie between 1 and 3600: a 0 does not reach Google, which would wait 600 s instead."
  }

  validation {
    condition     = alltrue([for s in var.autoscaling.schedules : s.duration_s >= 300 && s.min <= var.autoscaling.max])
    error_message = "schedules last at least 300 s and ask for no more VMs than autoscaling.max."
  }
}

variable "update" {
  description = "How far a replacement of VMs may surge and thin the group; playbooks/replace.yml works within it. Surge defaults to one VM a zone."
  type = object({
    max_surge       = optional(number)
    max_unavailable = optional(number, 0)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains([0], coalesce(var.update.max_surge, length(var.region.zones))) || coalesce(var.update.max_surge, length(var.region.zones)) >= length(var.region.zones)
    error_message = "update.max_surge must be 0 or at least the number of zones: Google refuses less for a regional group."
  }

  validation {
    condition     = coalesce(var.update.max_surge, length(var.region.zones)) > 0 || var.update.max_unavailable > 0
    error_message = "update.max_surge and max_unavailable cannot both be 0: no VM could ever be replaced."
  }

  validation {
    condition     = var.update.max_unavailable == 0 || var.update.max_unavailable >= length(var.region.zones)
    error_message = "update.max_unavailable must be 0 or at least the number of zones: Google refuses less for a regional group."
  }
}

variable "standby" {
  description = "Stopped VMs held ready for scale-out. Stopped ones only: a suspended VM would resume on the release it went to sleep with."
  type = object({
    stopped         = optional(number, 0)
    initial_delay_s = optional(number, 300) # let a VM boot and converge once before it is stopped
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.standby.stopped >= 0 && var.standby.initial_delay_s >= 0 && var.standby.initial_delay_s <= 3600
    error_message = "standby.stopped cannot be negative, and initial_delay_s must lie between 0 and 3600."
  }
}

variable "operators" {
  description = "Who may act as the fleet's service account, which ssh by OS Login and a change of the group both ask for: free name => IAM member."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for m in var.operators : !startswith(m, "all") && can(regex("^[a-zA-Z]+:", m))])
    error_message = "operators must be IAM members with a kind (serviceAccount:, user:, group:, …); the public is never one of them."
  }
}
